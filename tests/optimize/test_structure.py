"""Displacements on the graph of neighbours, and the half that is stored."""

import torch
from optimize_scenes import arc_cameras, rasterizer, wall
from reference.growth_naive import neighbours_by_sorting

from recon.metrics import psnr
from recon.optimize.config import RateConfig
from recon.optimize.parameters import SplatParameters
from recon.optimize.structure import (
    DisplacementSmoother,
    StructureConfig,
    every_second,
    neighbour_graph,
    smoothed,
    with_midpoints,
)
from recon.render import render
from recon.types import Splats

EXACT = "donot_use_mm_for_euclid_dist"


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


def test_midpoints_stand_between_and_each_pair_makes_its_own_once() -> None:
    splats = wall(300)
    doubled = with_midpoints(splats)
    assert len(doubled) == 600
    middle = doubled[slice(300, None)]
    assert len(middle.means.unique(dim=0)) == 300
    assert torch.allclose(doubled.means[:300], splats.means)
    graph = neighbour_graph(splats.means, 2)
    candidates = 0.5 * (splats.means[:, None] + splats.means[graph])
    assert float(torch.cdist(middle.means, candidates.reshape(-1, 3), compute_mode=EXACT).amin(1).max()) < 1e-6


def test_opposite_signs_of_one_rotation_do_not_cancel() -> None:
    splats = wall(40)
    splats.quats[::2] *= -1
    assert torch.allclose(with_midpoints(splats).quats.norm(dim=1), torch.ones(80), atol=1e-6)


def test_midpoints_close_the_holes_that_the_other_half_leaves() -> None:
    """On a smooth, evenly sampled surface; where samples lie at random, the nearest neighbour is not across a hole."""
    xy = torch.cartesian_prod(torch.linspace(-2.4, 2.4, 48), torch.linspace(-1.8, 1.8, 36))
    n = len(xy)
    splats = Splats(
        means=torch.cat([xy, 0.02 * torch.rand(n, 1)], dim=1),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        log_scales=torch.tensor([0.05, 0.05, 0.01]).log().repeat(n, 1),
        logit_opacities=torch.full((n,), 2.0),
        sh0=torch.sin(xy @ torch.tensor([[1.0, 0.3, 0.7], [0.2, 0.9, -0.6]]))[:, None],
        shN=torch.zeros(n, 0, 3),
    )
    half = every_second(splats)
    assert len(half) == n // 2
    show = lambda s: render(s, arc_cameras(2), rasterizer()).rgb  # noqa: E731
    truth = show(splats)
    light, bare = (float(psnr(show(s), truth).mean()) for s in (with_midpoints(half), half))
    assert light > bare + 1, (light, bare)
