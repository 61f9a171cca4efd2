"""Paths stay in the hull of the cameras, move smoothly and keep the scene in view."""

import math

import pytest
import torch
from scipy.spatial import ConvexHull, Delaunay

from recon import paths
from recon.geometry import look_at
from recon.types import Cameras


def arc(n: int, degrees: float, radius: float = 4.0, jitter: float = 0.3) -> Cameras:
    """Cameras on an arc around the origin, looking at it, y down, at uneven heights."""
    angles = torch.linspace(-math.radians(degrees) / 2, math.radians(degrees) / 2, n + (degrees == 360))[:n]
    heights = jitter * torch.sin(5 * torch.arange(n))
    eyes = torch.stack([radius * angles.sin(), heights, -radius * angles.cos()], dim=1)
    poses = look_at(eyes, torch.zeros(n, 3), torch.tensor([0.0, -1.0, 0.0]).expand(n, 3))
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]).expand(n, 3, 3)
    return Cameras.create(poses, K, 100, 100)


def centers_of(poses: torch.Tensor) -> torch.Tensor:
    return -(poses[:, :3, :3].transpose(1, 2) @ poses[:, :3, 3:])[..., 0]


@pytest.mark.parametrize("kind", paths.PATH_KINDS)
@pytest.mark.parametrize("cameras", [arc(2, 30), arc(3, 40), arc(6, 60), arc(12, 360)], ids=len)
def test_every_pose_is_rigid_and_sees_the_scene(kind: str, cameras: Cameras) -> None:
    poses = paths.along(kind, cameras, 50)
    assert poses.shape == (50, 4, 4)
    identity = poses[:, :3, :3] @ poses[:, :3, :3].transpose(1, 2)
    assert torch.allclose(identity, torch.eye(3).expand(50, 3, 3), atol=1e-5)
    assert (torch.linalg.det(poses[:, :3, :3]) > 0.99).all()
    origin = poses[:, :3, 3]
    assert (origin[:, 2] > 0.5).all()
    assert (origin[:, :2].abs() / origin[:, 2:] < 0.3).all()


def test_the_fly_through_stays_in_the_hull_of_the_cameras() -> None:
    cameras = arc(7, 90)
    eyes = centers_of(paths.interpolate(cameras, 80)).numpy()
    hull = Delaunay(cameras.centers.numpy())
    shrunk = cameras.centers.mean(0).numpy() + (eyes - cameras.centers.mean(0).numpy()) * (1 - 1e-4)
    assert (hull.find_simplex(shrunk) >= 0).all()
    assert ConvexHull(cameras.centers.numpy()).volume > 0


@pytest.mark.parametrize("kind", paths.PATH_KINDS)
def test_motion_is_smooth(kind: str) -> None:
    eyes = centers_of(paths.along(kind, arc(6, 60), 120))
    speed = torch.linalg.vector_norm(torch.diff(eyes, dim=0), dim=1)
    jerk = torch.linalg.vector_norm(torch.diff(eyes, n=2, dim=0), dim=1)
    assert jerk.max() < 0.35 * speed.max()
    assert speed.max() < 8 * speed.mean()


def test_it_starts_and_ends_at_the_outer_cameras() -> None:
    cameras = arc(5, 50, jitter=0.0)
    eyes = centers_of(paths.interpolate(cameras, 60))
    step = torch.linalg.vector_norm(torch.diff(cameras.centers, dim=0), dim=1).mean()
    ends = {0, 4}
    for eye in (eyes[0], eyes[-1]):
        distance = torch.linalg.vector_norm(cameras.centers - eye, dim=1)
        assert int(distance.argmin()) in ends
        assert distance.min() < 0.2 * step


def test_cameras_are_visited_in_a_short_order() -> None:
    cameras = arc(8, 80, jitter=0.0)
    shuffled = torch.tensor([3, 0, 6, 1, 7, 4, 2, 5])
    order = paths.visiting_order(cameras.centers[shuffled])
    assert shuffled[order].tolist() in ([*range(8)], [*range(7, -1, -1)])


def test_a_ring_is_closed_and_an_arc_is_not() -> None:
    assert paths.is_ring(arc(12, 360))
    assert not paths.is_ring(arc(12, 200))
    eyes = centers_of(paths.interpolate(arc(12, 360), 60))
    assert torch.linalg.vector_norm(eyes[0] - eyes[-1]) < 0.6


def test_an_orbit_of_an_arc_stays_on_the_cameras_side() -> None:
    cameras = arc(5, 70)
    eyes = centers_of(paths.orbit(cameras, 60))
    heading = torch.atan2(eyes[:, 0], -eyes[:, 2]).rad2deg()
    assert heading.min() > -36
    assert heading.max() < 36
    assert heading.max() - heading.min() > 60


@pytest.mark.parametrize("keys", [1, 2, 5])
@pytest.mark.parametrize("closed", [False, True])
def test_blend_weights_are_a_partition_of_unity(keys: int, closed: bool) -> None:
    weights = paths.blend_weights(keys, 33, closed)
    assert weights.shape == (33, keys)
    assert (weights >= -1e-7).all()
    assert torch.allclose(weights.sum(1), torch.ones(33), atol=1e-5)


def test_one_camera_and_cameras_at_one_place_give_a_path() -> None:
    single = arc(3, 40)[1]
    for kind in paths.PATH_KINDS:
        assert torch.isfinite(paths.along(kind, single, 10)).all()
    same = arc(3, 40)[[1, 1, 1]]
    for kind in paths.PATH_KINDS:
        assert torch.isfinite(paths.along(kind, same, 10)).all()


def test_long_films_are_no_harder_than_short_ones() -> None:
    short, long = (paths.blend_weights(5, frames, closed=False) for frames in (60, 1501))
    assert torch.allclose(long.sum(1), torch.ones(1501), atol=1e-5)
    assert float(long.min()) >= 0
    ends = torch.tensor([0, 750, 1500])
    assert torch.allclose(long[ends[[0, 2]]], short[[0, 59]], atol=1e-3)
    assert torch.allclose(long[750], long[750].flip(0), atol=1e-3), "the middle of a film is the middle of its way"
