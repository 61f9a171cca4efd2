"""A ball seen by cameras around it: the hull of its masks is known."""

import math
from dataclasses import replace

import torch
from reference.geometry_loops import project_point

from recon.geometry.se3 import look_at
from recon.optimize.hull import HullConfig, carve, hull_box, inside_masks, mean_colors
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

SIDE, FOCAL, DISTANCE, RADIUS = 64, 80.0, 4.0, 0.6
ON = 40  # points on the ball; two more are off it


def ring(n: int = 6) -> Cameras:
    angles = torch.arange(n) * 2 * math.pi / n
    centers = DISTANCE * torch.stack([angles.sin(), torch.zeros(n), -angles.cos()], dim=1)
    poses = torch.stack([look_at(c, torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])) for c in centers])
    K = torch.tensor([[FOCAL, 0, SIDE / 2], [0, FOCAL, SIDE / 2], [0, 0, 1]])
    return Cameras.create(poses, K.repeat(n, 1, 1), SIDE, SIDE)


def ball(cameras: Cameras) -> tuple[PosedScene, DepthMaps]:
    """Red photos and masks of a ball at the origin, its depth, and points on and off it."""
    grid = (torch.arange(SIDE) + 0.5 - SIDE / 2) / FOCAL
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    a, b, c = x**2 + y**2 + 1, -2 * DISTANCE, DISTANCE**2 - RADIUS**2
    inside = b * b - 4 * a * c
    depth = torch.where(inside > 0, (-b - inside.clamp_min(0).sqrt()) / (2 * a), 0.0)
    mask = (inside > 0).float()
    n = len(cameras)
    image = torch.stack([mask * 0.8, mask * 0.2, mask * 0.1], dim=-1)
    on = RADIUS * torch.nn.functional.normalize(torch.randn(ON, 3), dim=1)
    xyz = torch.cat([on, torch.tensor([[1.5, 0.0, 0.0], [0.0, 2.0, 0.5]])])
    points = PointCloud(
        xyz, torch.rand(ON + 2, 3), torch.ones(ON + 2), torch.zeros(ON + 2, 3), torch.full((ON + 2,), 0.05)
    )
    posed = PosedScene(tuple(map(str, range(n))), (image,) * n, cameras, points, (mask,) * n)
    return posed, DepthMaps((depth,) * n, (mask.clone(),) * n)


def test_inside_means_on_every_mask_that_frames_the_point() -> None:
    cameras = ring(4)
    posed, _ = ball(cameras)
    xyz = torch.rand(200, 3) * 3 - 1.5
    found = inside_masks(xyz, cameras, list(posed.masks))
    for point, value in zip(xyz.tolist(), found.tolist()):
        on, frames = True, 0
        for view in range(4):
            (u, v), z = project_point(point, cameras.cam_from_world[view].tolist(), cameras.Ks[view].tolist())
            if z > 0 and 0 <= u < SIDE and 0 <= v < SIDE:
                frames += 1
                on &= bool(posed.masks[view][int(v), int(u)] > 0.5)
        assert value == (on and frames > 2)
    assert 0 < int(found.sum()) < 200


def test_the_box_holds_the_ball_tightly() -> None:
    cameras = ring(8)
    posed, _ = ball(cameras)
    box = hull_box(cameras, list(posed.masks), torch.zeros(3), grid=48)
    assert box is not None
    assert (box[0] <= -RADIUS + 0.05).all()
    assert (box[1] >= RADIUS - 0.05).all()
    assert float(box.abs().max()) < 1.35 * RADIUS
    nothing = [torch.zeros(SIDE, SIDE)] * 8
    assert hull_box(cameras, nothing, torch.zeros(3), grid=16) is None


def test_points_off_the_object_go_and_the_hull_is_filled_in_its_colour() -> None:
    posed, _ = ball(ring())
    points = carve(posed, None, posed.points, HullConfig(drop=True, points=2000, grid=32), seed=0)
    assert torch.equal(points.xyz[:ON], posed.points.xyz[:ON])
    fresh = points.xyz[ON:]
    assert len(fresh) == 2000
    assert float(fresh.norm(dim=1).max()) < 1.4 * RADIUS
    assert torch.allclose(points.rgb[ON:].mean(0), torch.tensor([0.8, 0.2, 0.1]), atol=0.02)
    assert (points.confidence[ON:] == 0).all()
    assert torch.allclose(mean_colors(torch.zeros(1, 3), posed), torch.tensor([[0.8, 0.2, 0.1]]), atol=1e-5)


def test_nothing_is_added_where_stereo_is_sure_and_nothing_hides_it() -> None:
    posed, depths = ball(ring())
    assert len(carve(posed, depths, posed.points, HullConfig(drop=True, points=800, grid=32), seed=0)) <= ON + 20
    unsure = tuple(torch.where(torch.arange(SIDE)[:, None] < SIDE // 2, c, 0.0) for c in depths.confidence)
    half = carve(
        posed, replace(depths, confidence=unsure), posed.points, HullConfig(drop=True, points=800, grid=32), seed=0
    )
    fresh = half.xyz[ON:]
    assert len(fresh) > 200
    assert float((fresh[:, 1] > -0.05).float().mean()) > 0.97  # +y is down, where stereo was blind


def test_without_masks_or_without_an_object_points_stay_as_they_are() -> None:
    posed, depths = ball(ring())
    assert carve(posed, depths, posed.points, HullConfig(), seed=0) is posed.points
    bare = replace(posed, masks=None)
    assert carve(bare, depths, posed.points, HullConfig(points=100, grid=16), seed=0) is posed.points
    empty = replace(posed, masks=(torch.zeros(SIDE, SIDE),) * 6)
    assert carve(empty, depths, posed.points, HullConfig(points=100, grid=16), seed=0) is posed.points


def test_points_can_be_dropped_alone_or_kept_beside_new_ones() -> None:
    posed, _ = ball(ring())
    assert torch.equal(carve(posed, None, posed.points, HullConfig(drop=True, grid=32), 0).xyz, posed.points.xyz[:ON])
    added = carve(posed, None, posed.points, HullConfig(points=50, grid=32), seed=0)
    assert torch.equal(added.xyz[: ON + 2], posed.points.xyz)
    assert len(added) == ON + 2 + 50


def test_a_deep_hull_is_filled_only_where_the_object_was_seen() -> None:
    """Two cameras ten degrees apart: their hull is a long spindle."""
    posed, _ = ball(ring(36)[[0, 1]])
    added = carve(posed, None, posed.points, HullConfig(points=300, grid=48), seed=0).xyz[ON + 2 :]
    assert len(added) == 300
    assert float(added.abs().max()) < 1.3 * RADIUS
    box = hull_box(posed.cameras, list(posed.masks), torch.zeros(3), grid=48)
    assert box is not None
    assert float(box.abs().max()) > 2 * RADIUS
