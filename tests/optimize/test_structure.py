"""Displacements on the graph of neighbours."""

import torch
from optimize_scenes import wall
from reference.growth_naive import neighbours_by_sorting

from recon.optimize.config import RateConfig
from recon.optimize.parameters import SplatParameters
from recon.optimize.structure import DisplacementSmoother, StructureConfig, neighbour_graph, smoothed


def test_the_graph_is_that_of_the_naive_loop() -> None:
    points = torch.rand(50, 3)
    graph = neighbour_graph(points, 4)
    assert graph.tolist() == neighbours_by_sorting(points.tolist(), 4)
    assert neighbour_graph(points[:3], 8).shape == (3, 2)


def test_smoothing_takes_the_mean_of_the_neighbours() -> None:
    graph = torch.tensor([[1, 2], [0, 2], [0, 1]])
    moved = smoothed(torch.tensor([[3.0, 0, 0], [0.0, 0, 0], [0.0, 6, 0]]), graph, 0.5)
    assert torch.allclose(moved, torch.tensor([[1.5, 1.5, 0], [0.75, 1.5, 0], [0.75, 3, 0]]))


def test_a_lone_wanderer_is_called_back_and_a_common_move_is_let_go() -> None:
    parameters = SplatParameters(wall(200), RateConfig(), 4.0)
    births = parameters.births.clone()
    smoother = DisplacementSmoother(StructureConfig(every=10, neighbours=6, strength=0.5))
    means = parameters.tensors()["means"]
    with torch.no_grad():
        means.add_(torch.tensor([0.3, 0.0, 0.1]))
    before = means.detach().clone()
    smoother(parameters, 10)
    assert torch.allclose(means, before, atol=1e-6)
    with torch.no_grad():
        means[7] += 1.0
    smoother(parameters, 15)
    assert torch.allclose(means[7], before[7] + 1.0)  # not due
    smoother(parameters, 20)
    assert torch.allclose(means[7] - births[7] - torch.tensor([0.3, 0.0, 0.1]), torch.full((3,), 0.5), atol=1e-5)


def test_births_follow_the_rows_and_the_graph_follows_births() -> None:
    parameters = SplatParameters(wall(60), RateConfig(), 4.0)
    smoother = DisplacementSmoother(StructureConfig(every=1))
    smoother(parameters, 1)
    kept, born = torch.arange(0, 60, 2), wall(5, seed=9)
    births = parameters.births[kept]
    parameters.rewrite(kept, born)
    assert torch.equal(parameters.births, torch.cat([births, born.means]))
    smoother(parameters, 2)
    assert smoother.graph.shape == (35, 8)
    saved = parameters.state_dict()
    other = SplatParameters(wall(10), RateConfig(), 4.0)
    other.load_state_dict(saved)
    assert torch.equal(other.births, parameters.births)
