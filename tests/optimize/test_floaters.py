"""Floaters planted in front of a wall go, the wall stays. Synthetic because the truth must be known."""

import math

import torch
from optimize_scenes import arc_cameras, rasterizer, wall
from reference.growth_naive import depth_histogram

from recon.optimize.growth.config import FloaterConfig
from recon.optimize.growth.floaters import depth_peaks, find_floaters
from recon.types import Splats


def planted(opacity: float) -> Splats:
    """Three blots half way between the cameras (z = -4) and the wall."""
    return Splats(
        means=torch.tensor([[0.1, 0.1, -2.0], [-0.5, 0.3, -2.2], [0.4, -0.4, -1.8]]),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(3, 1),
        log_scales=torch.tensor([0.08, 0.08, 0.08]).log().repeat(3, 1),
        logit_opacities=torch.full((3,), opacity).logit(),
        sh0=torch.ones(3, 1, 3),
        shN=torch.zeros(3, 0, 3),
    )


def test_planted_floaters_are_found_and_the_surface_is_not() -> None:
    surface = wall()
    found = find_floaters(Splats.cat([surface, planted(0.45)]), arc_cameras(3), rasterizer(), FloaterConfig(at=(1.0,)))
    assert found[-3:].all()
    assert int(found[:-3].sum()) <= 5  # of 5000


def test_a_surface_alone_has_no_floaters_and_an_opaque_near_thing_is_a_surface() -> None:
    assert int(find_floaters(wall(), arc_cameras(3), rasterizer(), FloaterConfig()).sum()) <= 5
    solid = Splats.cat([wall(), planted(0.97)])
    assert not find_floaters(solid, arc_cameras(3), rasterizer(), FloaterConfig())[-3:].any()


def test_peaks_of_a_ray_are_those_of_its_histogram() -> None:
    """Large discs at known depths on the axis: what each adds to the middle pixel follows from opacity alone."""
    depths, opacities = [2.0, 2.05, 3.0, 5.0], [0.2, 0.15, 0.1, 0.9]
    camera = arc_cameras(3)[[1]]
    splats = Splats(
        means=torch.tensor([[0.0, 0.0, d - 4.0] for d in depths]),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(4, 1),
        log_scales=torch.tensor([5.0, 5.0, 1e-3]).log().repeat(4, 1),
        logit_opacities=torch.tensor(opacities).logit(),
        sh0=torch.zeros(4, 1, 3),
        shN=torch.zeros(4, 0, 3),
    )
    peaks = depth_peaks(splats, camera, rasterizer(), width=2 * math.log(2.5) / 8)
    left, rays = 1.0, []
    for depth, opacity in zip(depths, opacities):
        rays.append((left * opacity, depth))
        left *= 1 - opacity
    counts = depth_histogram(rays, [2.0 * 2.5 ** (i / 8) for i in range(9)])
    mean = sum(w * d for w, d in rays) / sum(w for w, _ in rays)
    row, column = peaks.mode.shape[0] // 2, peaks.mode.shape[1] // 2
    assert counts.index(max(counts)) == 7
    assert abs(float(peaks.mode[row, column]) - 5.0) < 1e-3
    assert abs(float(peaks.mean[row, column]) - mean) < 5e-3


def test_cameras_that_see_nothing_find_nothing() -> None:
    behind = wall(30)
    behind.means[:, 2] = -9.0
    assert not find_floaters(behind, arc_cameras(3), rasterizer(), FloaterConfig()).any()
