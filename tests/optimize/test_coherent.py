"""Common changes of depth: bilinear cells, motion along the rays of one photo, and nothing else moved."""

import torch
from optimize_scenes import SIZE, arc_cameras, wall
from reference.growth_naive import bilinear, variation

from recon.geometry.projection import project
from recon.optimize.coherent import CoherentConfig, CoherentDepth, tie, total_variation
from recon.optimize.parameters import RateConfig, SplatParameters


def test_cells_are_those_of_the_naive_loop() -> None:
    cameras, births = arc_cameras(3), wall(200).means
    grids = torch.rand(3, 4, 5)
    ties = tie(births, cameras, 16.0, grids.shape)
    decoded = ties.decode(grids)
    uv, z = project(births, cameras.cam_from_world, cameras.Ks)
    for n in range(200):
        views = [v for v in range(3) if 0 <= uv[v, n, 0] < SIZE[0] and 0 <= uv[v, n, 1] < SIZE[1] and z[v, n] > 0]
        if not views:
            assert float(decoded[n]) == 0
            continue
        view = min(views, key=lambda v: float(z[v, n]))
        expected = bilinear(grids[view].tolist(), float(uv[view, n, 0]) / 16, float(uv[view, n, 1]) / 16)
        assert abs(float(decoded[n]) - expected) < 1e-4
        assert torch.equal(ties.center[n], cameras.centers[view])


def test_variation_is_that_of_the_naive_loop() -> None:
    grids = torch.rand(2, 3, 4)
    assert abs(float(total_variation(grids)) - variation(grids.tolist())) < 1e-6


def pulled(config: CoherentConfig, gradient: torch.Tensor) -> tuple[SplatParameters, SplatParameters]:
    """(as it was, after 20 steps of a constant gradient of the means)."""
    before, after = (SplatParameters(wall(400), RateConfig(), 4.0) for _ in range(2))
    coherent = CoherentDepth(arc_cameras(1), config)
    after.tensors()["means"].grad = gradient
    for _ in range(20):
        coherent.step(after, 0.0)
    return before, after


def test_a_common_pull_moves_a_surface_along_its_rays_and_keeps_its_footprint() -> None:
    before, after = pulled(CoherentConfig(cell_px=16.0), torch.tensor([0.0, 0.0, 0.1]).repeat(400, 1))
    camera = arc_cameras(1)
    show = lambda p: project(p.tensors()["means"].detach(), camera.cam_from_world, camera.Ks)  # noqa: E731
    (uv, z), (uv_after, z_after) = show(before), show(after)
    framed = ((uv[0] >= 0) & (uv[0] < torch.tensor(SIZE))).all(-1)
    assert torch.allclose(uv, uv_after, atol=1e-3)
    ratio = (z_after / z)[0]
    assert torch.allclose(ratio[framed], torch.full_like(ratio[framed], torch.tensor(-0.02).exp()), atol=2e-3)
    assert torch.equal(ratio[~framed], torch.ones_like(ratio[~framed]))
    scale = (after.tensors()["log_scales"] - before.tensors()["log_scales"]).detach().exp()[:, 0]
    assert torch.allclose(scale, ratio, atol=1e-5)


def test_variation_holds_back_a_pull_on_one_corner() -> None:
    gradient = torch.zeros(400, 3)
    gradient[wall(400).means[:, 0] < -1.0, 2] = 1e-6
    spread = []
    for weight in (0.0, 10.0):
        before, after = pulled(CoherentConfig(cell_px=16.0, variation=weight), gradient)
        moved = (after.tensors()["means"] - before.tensors()["means"]).detach()[:, 2]
        spread.append(float(moved.max() - moved.min()))
    assert spread[1] < 0.7 * spread[0]


def test_a_cell_has_at_least_a_pixel() -> None:
    before, after = pulled(CoherentConfig(cell_px=0.5), torch.ones(400, 3))
    assert torch.isfinite(after.tensors()["means"]).all()
    assert not torch.equal(before.tensors()["means"], after.tensors()["means"])


def test_off_means_nothing_moves_and_a_state_comes_back() -> None:
    before, after = pulled(CoherentConfig(), torch.ones(400, 3))
    assert torch.equal(before.tensors()["means"], after.tensors()["means"])
    one, other = (CoherentDepth(arc_cameras(2), CoherentConfig(cell_px=8.0)) for _ in range(2))
    parameters = SplatParameters(wall(50), RateConfig(), 4.0)
    parameters.tensors()["means"].grad = torch.randn(50, 3)
    one.step(parameters, 0.0)
    other.load_state_dict(one.state_dict())
    assert float(one.grids.detach().abs().max()) > 0
    assert torch.equal(one.grids, other.grids)
