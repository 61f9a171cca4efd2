import math

import pytest
import torch

from recon.geometry import (
    exp_so3,
    focus_point,
    fov_rad,
    look_at,
    make_se3,
    normalizing_sim3,
    scene_center,
    viewing_angles,
)
from recon.types import Cameras

F64 = torch.float64
K = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], dtype=F64)


def arc(n: int = 5, target: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> Cameras:
    """Cameras on an arc of 1.2 rad about `target`, 4 units away, world up along +z."""
    angle = torch.linspace(-0.6, 0.6, n, dtype=F64)
    center = torch.tensor(target, dtype=F64)
    eyes = center + 4 * torch.stack([angle.sin(), -angle.cos(), torch.zeros_like(angle)], -1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=F64).expand(n, 3)
    return Cameras.create(look_at(eyes, center.expand(n, 3), up), K.repeat(n, 1, 1), 640, 480)


def parallel() -> Cameras:
    t = torch.tensor([[0.0, 0, 0], [-1.0, 0, 0], [-2.0, 0, 0]], dtype=F64)
    return Cameras.create(make_se3(torch.eye(3, dtype=F64).repeat(3, 1, 1), t), K.repeat(3, 1, 1), 640, 480)


def test_field_of_view():
    fov = fov_rad(arc(2))
    assert fov[0, 0].item() == pytest.approx(2 * math.atan(320 / 500))
    assert fov[0, 1].item() == pytest.approx(2 * math.atan(240 / 500))


def test_axes_meet_at_the_target():
    cameras = arc()
    point, firmness = focus_point(cameras)
    assert torch.allclose(point, torch.tensor([1.0, 2.0, 3.0], dtype=F64), atol=1e-12)
    assert firmness > 0.1


def test_parallel_axes_meet_nowhere_and_points_decide():
    cameras = parallel()
    point, firmness = focus_point(cameras)
    assert point.isfinite().all()
    assert firmness < 1e-12
    points = torch.tensor([[0.0, 0, 5], [1.0, 0, 6], [2.0, 0, 100]], dtype=F64)
    assert scene_center(cameras, points).tolist() == [1.0, 0.0, 6.0]
    assert scene_center(cameras)[2] > 0  # ahead of the cameras


def test_unregistered_cameras_have_no_say():
    cameras = arc()
    cameras.cam_from_world[0] = torch.eye(4, dtype=F64)
    cameras.registered[0] = False
    assert torch.allclose(focus_point(cameras)[0], torch.tensor([1.0, 2.0, 3.0], dtype=F64), atol=1e-12)


def test_tidy_world_is_centred_unit_sized_and_upright():
    cameras = arc()
    tidy = normalizing_sim3(cameras).apply_cameras(cameras)
    assert torch.allclose(tidy.centers.norm(dim=-1), torch.ones(5, dtype=F64), atol=1e-12)
    assert focus_point(tidy)[0].abs().max() < 1e-12
    down = tidy.world_from_cam[:, :3, 1]
    assert torch.allclose(down, torch.tensor([0.0, 1.0, 0.0], dtype=F64).expand(5, 3), atol=1e-12)
    forward = tidy.world_from_cam[:, :3, 2].mean(0)
    assert forward[2] > 0.5
    assert forward[0].abs() < 1e-12


def test_tidy_world_does_not_depend_on_the_first_one():
    from recon.geometry import Sim3

    cameras = arc()
    moved = Sim3(
        torch.tensor(3.0, dtype=F64), exp_so3(torch.randn(3, dtype=F64)), torch.randn(3, dtype=F64)
    ).apply_cameras(cameras)
    a = normalizing_sim3(cameras).apply_cameras(cameras)
    b = normalizing_sim3(moved).apply_cameras(moved)
    assert torch.allclose(a.cam_from_world, b.cam_from_world, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_cameras_are_enough(n):
    cameras = arc(5)[:n]
    sim = normalizing_sim3(cameras)
    assert sim.apply_cameras(cameras).cam_from_world.isfinite().all()
    assert torch.det(sim.R).item() == pytest.approx(1.0)
    assert sim.scale > 0


def test_cameras_looking_straight_down_get_some_heading():
    eyes = torch.tensor([[0.0, -3, 0], [1.0, -3, 0]], dtype=F64)
    R = torch.stack([torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=F64)] * 2)
    cameras = Cameras.create(make_se3(R, -(R @ eyes[..., None])[..., 0]), K.repeat(2, 1, 1), 640, 480)
    sim = normalizing_sim3(cameras)
    assert torch.allclose(sim.R @ sim.R.T, torch.eye(3, dtype=F64), atol=1e-12)


def test_viewing_angles():
    angles = viewing_angles(arc(3))
    assert angles[0, 2].item() == pytest.approx(1.2)
    assert angles.diagonal().abs().max() < 1e-7
