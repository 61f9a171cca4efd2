import math

import pytest
import torch
from stereo_scenes import plane_scene

from recon.geometry.projection import unproject_depth
from recon.stereo import StereoConfig, fuse, reprojection_error, warp_to_view
from recon.stereo.consistency import Agreement, agreement, seen_through
from recon.stereo.fill import fill
from recon.stereo.planes import depth_of, enlarge, normals_in_world, slopes_of, smoothed
from recon.stereo.reconstruct import _completed
from recon.types import DepthMaps


def exact_planes(depth: torch.Tensor) -> torch.Tensor:
    w = 1 / depth
    return torch.cat([w[..., None], slopes_of(w)], dim=-1)


def exact_maps(n_views: int = 3) -> tuple:
    scene, depths, normal = plane_scene(n_views)
    confidence = tuple(torch.full_like(depth, 0.9) for depth in depths)
    normals = tuple(normal.expand(*depth.shape, 3).clone() for depth in depths)
    return scene, DepthMaps(tuple(depths), confidence, normals), normal


def test_right_depth_agrees_and_wrong_depth_does_not():
    scene, depths, _ = plane_scene()
    wrong = [depths[0].clone(), *depths[1:]]
    wrong[0][40:80, 60:100] *= 1.1
    agreed = agreement(0, wrong, scene.cameras, (1, 2), StereoConfig())
    assert int(agreed.count[45:75, 65:95].max()) == 0
    assert float((agreed.count[10:30, 60:100] == 2).float().mean()) > 0.95
    assert float(agreed.support[45:75, 65:95].max()) == 0


def test_a_point_in_free_space_is_seen_through():
    scene, depths, _ = plane_scene()
    floating = [depths[0].clone(), *depths[1:]]
    floating[0][40:80, 60:100] *= 0.8
    sure = [torch.full_like(depth, 0.9) for depth in depths]
    against = seen_through(0, floating, sure, scene.cameras, (1, 2), StereoConfig())
    assert int(against[45:75, 65:95].min()) >= 1
    assert int(against[:30].max()) == 0
    unsure = [0.1 * s for s in sure]
    assert int(seen_through(0, floating, unsure, scene.cameras, (1, 2), StereoConfig()).max()) == 0


def test_reprojection_error_of_exact_depth_is_small_and_unknown_is_infinite():
    scene, depths, _ = plane_scene(2)
    hole = depths[0].clone()
    hole[:20] = 0
    error, relative = reprojection_error(hole, scene.cameras[0], depths[1], scene.cameras[1])
    assert bool(torch.isinf(error[:20]).all())
    inside = torch.isfinite(error)
    assert float(inside[20:].float().mean()) > 0.6
    assert float(error[inside].max()) < 0.05
    assert float(relative[inside].max()) < 0.01


def test_warp_brings_the_other_photo_here():
    scene, depths, _ = plane_scene(2)
    warped, valid = warp_to_view(scene.images[1], depths[0], scene.cameras[0], scene.cameras[1])
    assert float(valid.float().mean()) > 0.6
    assert float((warped - scene.images[0]).abs()[valid].max()) < 0.05
    assert float(warped[~valid].abs().max()) == 0
    _, visible = warp_to_view(
        scene.images[1], depths[0], scene.cameras[0], scene.cameras[1], depth_other=0.5 * depths[1]
    )
    assert not bool(visible.any()), "everything is hidden behind a nearer surface"


def test_fusion_makes_each_surface_point_once():
    scene, maps, normal = exact_maps()
    cloud = fuse(scene, maps, StereoConfig())
    pixels = maps.depth[0].numel()
    assert pixels < len(cloud) < 2 * pixels, "three photos of one plane overlap for the most part"
    away = ((cloud.xyz - torch.tensor([0, 0, 4.0])) @ normal).abs()
    assert float(torch.quantile(away, 0.95)) < 1e-5
    assert float(away.max()) < 0.01, "at the borders depth is not interpolated"
    assert cloud.normals is not None
    assert cloud.spacing is not None
    assert float((cloud.normals @ normal).min()) > 0.999
    first = unproject_depth(maps.depth[0], scene.cameras.Ks[0], scene.cameras.cam_from_world[0])
    across = (first[60, 81] - first[60, 80]).norm()
    assert abs(float(cloud.spacing[:pixels].reshape(120, 160)[60, 80] / across) - 1) < 0.3
    seen_by_all = cloud.confidence[:pixels].reshape(120, 160)[50:70, 70:90]
    assert float(seen_by_all.min()) > 0.98
    own = cloud.rgb[:pixels].reshape(120, 160, 3)
    assert float((own - scene.images[0]).abs().max()) < 0.03


def test_fusion_keeps_to_stride_cap_and_confidence():
    scene, maps, _ = exact_maps()
    everything = len(fuse(scene, maps, StereoConfig()))
    strided = fuse(scene, maps, StereoConfig(stride=2))
    assert 0.15 * everything < len(strided) < 0.35 * everything
    capped = fuse(scene, maps, StereoConfig(max_points=500))
    again = fuse(scene, maps, StereoConfig(max_points=500))
    other = fuse(scene, maps, StereoConfig(max_points=500, seed=1))
    assert len(capped) == 500
    assert torch.equal(capped.xyz, again.xyz)
    assert not torch.equal(capped.xyz, other.xyz)
    doubtful = DepthMaps(maps.depth, tuple(0.1 * c for c in maps.confidence), maps.normals)
    assert len(fuse(scene, doubtful, StereoConfig())) == 0


def test_normals_of_a_plane():
    scene, depths, normal = plane_scene(2)
    normals = normals_in_world(exact_planes(depths[1]), scene.cameras.Ks[1], scene.cameras.cam_from_world[1])
    assert float((normals[1:-1, 1:-1] @ normal).min()) > 0.9999


def test_enlarged_planes_stay_on_the_plane():
    _, depths, _ = plane_scene(2)
    planes = exact_planes(depths[0])[1:-1, 1:-1]
    big = enlarge(planes, 2 * planes.shape[0], 2 * planes.shape[1])
    again = torch.nn.functional.avg_pool2d(big[None, None, ..., 0], 2)[0, 0]
    assert torch.allclose(again, planes[..., 0], rtol=1e-4)
    assert torch.allclose(big[::2, ::2, 1], 0.5 * planes[..., 1])


def test_fill_continues_a_plane_into_a_hole_and_beyond_the_border():
    _, depths, _ = plane_scene(2)
    planes, guide = exact_planes(depths[0]), torch.full_like(depths[0], 100.0)
    confidence = torch.ones_like(guide)
    confidence[40:80, 50:110] = 0
    confidence[:, :12] = 0
    broken = torch.where((confidence > 0)[..., None], planes, torch.zeros_like(planes))
    filled = fill(broken, confidence, guide)
    error = (depth_of(filled) - depths[0]).abs() / depths[0]
    assert float(error[40:80, 50:110].max()) < 0.02
    assert float(error[:, :12].max()) < 0.04


def test_fill_stops_at_edges_of_the_photo():
    guide = torch.full((64, 96), 50.0)
    guide[:, 48:] = 200
    planes = torch.zeros(64, 96, 3)
    planes[..., 0] = torch.where(guide < 100, 0.2, 0.4)
    confidence = torch.ones(64, 96)
    confidence[:, 30:66] = 0
    filled = fill(planes, confidence, guide)[..., 0]
    assert float((filled[:, 30:46] - 0.2).abs().max()) < 0.02
    assert float((filled[:, 50:66] - 0.4).abs().max()) < 0.04


def test_fill_covers_what_is_not_finite():
    planes, confidence, guide = torch.full((20, 30, 3), 0.2), torch.ones(20, 30), torch.zeros(20, 30)
    planes[..., 1:] = 0.0
    planes[5, 5:9] = math.nan
    filled = fill(planes, confidence, guide)[..., 0]
    assert float((filled - 0.2).abs().max()) < 1e-3
    assert torch.equal(fill(torch.full_like(planes, math.nan), confidence, guide), torch.zeros_like(planes))


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.4])
def test_what_is_filled_is_never_sure(threshold: float) -> None:
    planes = exact_planes(torch.full((32, 32), 4.0))
    sure = torch.zeros(32, 32)
    sure[:, :16] = 0.9
    nowhere = Agreement(torch.zeros(32, 32), torch.zeros(32, 32, dtype=torch.int64))
    _, trust = _completed(planes, sure, torch.zeros(32, 32), nowhere, 0.01, StereoConfig(min_confidence=threshold))
    assert float(trust[:, 16:].max()) < threshold
    assert float(trust[:, 16:].min()) > 0


def test_fill_without_any_match_changes_nothing():
    planes = torch.rand(20, 30, 3)
    assert torch.equal(fill(planes, torch.zeros(20, 30), torch.zeros(20, 30)), planes)


def test_smoothing_lowers_noise_and_keeps_a_step():
    generator = torch.Generator().manual_seed(0)
    w = torch.where(torch.arange(60) < 30, 0.2, 0.4).expand(40, 60)
    noisy = torch.zeros(40, 60, 3)
    noisy[..., 0] = w + 0.002 * torch.randn(40, 60, generator=generator)
    out = smoothed(noisy, torch.ones(40, 60), torch.zeros(40, 60), step=0.004)
    assert float((out[..., 0] - w).std()) < 0.6 * float((noisy[..., 0] - w).std())
    assert float((out[..., 0] - w).abs().max()) < 0.01
