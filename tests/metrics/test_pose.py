import itertools
import json
import math

import pytest
import torch

from recon.errors import InputError
from recon.geometry import Sim3, exp_so3, inverse_se3, look_at, make_se3
from recon.metrics import pose_errors
from recon.metrics.pose import recall_auc
from recon.types import Cameras

F64 = torch.float64


def arc(n: int = 5) -> Cameras:
    angle = torch.linspace(0, 1.5, n, dtype=F64)
    eyes = 3 * torch.stack([angle.sin(), 0.2 * angle**2, -angle.cos()], -1)
    up = torch.tensor([0.0, -1.0, 0.0], dtype=F64).expand(n, 3)
    K = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], dtype=F64)
    return Cameras.create(look_at(eyes, torch.zeros(n, 3, dtype=F64), up), K.repeat(n, 1, 1), 640, 480)


def with_poses(cameras: Cameras, poses: torch.Tensor) -> Cameras:
    return Cameras.create(poses, cameras.Ks.clone(), 640, 480)


def test_the_choice_of_world_does_not_matter():
    true = arc()
    world = Sim3(torch.tensor(7.0, dtype=F64), exp_so3(torch.randn(3, dtype=F64)), torch.randn(3, dtype=F64))
    errors = pose_errors(world.apply_cameras(true), true)
    assert errors.pairs.shape == (10, 2)
    assert errors.worst_deg.max() < 1e-6
    assert errors.position.max() < 1e-12
    assert errors.ate < 1e-12
    assert errors.focal.max() == 0
    assert errors.rra(5) == errors.rta(5) == 1.0
    assert errors.auc(5) == pytest.approx(1.0, abs=1e-6)


def test_turning_one_camera_by_ten_degrees():
    true = arc(4)
    poses = true.cam_from_world.clone()
    turn = exp_so3(torch.tensor([0.0, math.radians(10), 0.0], dtype=F64))
    poses[0] = make_se3(turn, torch.zeros(3, dtype=F64)) @ poses[0]  # about its own centre
    errors = pose_errors(with_poses(true, poses), true)
    touched = (errors.pairs == 0).any(-1)
    assert torch.allclose(errors.rotation_deg[touched], torch.tensor(10.0, dtype=F64))
    assert errors.rotation_deg[~touched].max() < 1e-6
    assert errors.rra(5) == 0.5
    assert errors.rra(15) == 1.0
    assert errors.ate < 1e-12  # centres did not move


def test_translation_error_is_the_angle_between_directions_in_the_second_camera():
    true = arc(2)
    poses = true.cam_from_world.clone()
    # Move the second camera so that the direction from it to the first turns by 90 degrees.
    world_from_cam = inverse_se3(poses)
    towards = world_from_cam[0, :3, 3] - world_from_cam[1, :3, 3]
    axis = torch.nn.functional.normalize(torch.linalg.cross(towards, torch.randn(3, dtype=F64)), dim=0)
    turned = exp_so3(axis * math.pi / 2) @ towards
    moved = inverse_se3(make_se3(world_from_cam[1, :3, :3], world_from_cam[0, :3, 3] - turned))
    errors = pose_errors(with_poses(true, torch.stack([poses[0], moved])), true)
    assert errors.rotation_deg.item() < 1e-6
    assert errors.translation_deg.item() == pytest.approx(90.0)


def test_opposite_directions_with_and_without_sign():
    true = arc(2)
    world_from_cam = inverse_se3(true.cam_from_world)
    mirrored = world_from_cam[0, :3, 3] * 2 - world_from_cam[1, :3, 3]
    poses = torch.stack([true.cam_from_world[0], inverse_se3(make_se3(world_from_cam[1, :3, :3], mirrored))])
    assert pose_errors(with_poses(true, poses), true).translation_deg.item() == pytest.approx(180.0)
    assert pose_errors(with_poses(true, poses), true, sign_free=True).translation_deg.item() == pytest.approx(
        0, abs=1e-6
    )


def test_unregistered_photos_count_as_failures():
    true = arc(4)
    estimated = with_poses(true, true.cam_from_world.clone())
    estimated.registered[3] = False
    errors = pose_errors(estimated, true)
    failed = (errors.pairs == 3).any(-1)
    assert (errors.rotation_deg[failed] == 180).all()
    assert (errors.translation_deg[failed] == 180).all()
    assert errors.rra(30) == errors.rta(30) == 0.5
    assert errors.auc(30) == pytest.approx(0.5, abs=1e-6)
    assert errors.position[3].isnan()
    assert errors.focal[3].isnan()
    assert errors.ate < 1e-12


def test_nothing_registered():
    true = arc(3)
    estimated = with_poses(true, true.cam_from_world.clone())
    estimated.registered[:] = False
    summary = pose_errors(estimated, true).summary()
    assert summary["ate"] is None
    assert summary["auc@30"] == 0.0


def test_cameras_on_one_spot_have_no_direction():
    true = arc(3)
    poses = true.cam_from_world.clone()
    spot = inverse_se3(poses)[0, :3, 3]
    R = inverse_se3(poses)[:, :3, :3]
    fixed = inverse_se3(make_se3(R, torch.stack([spot, spot, inverse_se3(poses)[2, :3, 3]])))
    errors = pose_errors(true, with_poses(true, fixed))
    assert errors.translation_deg[0].isnan()
    assert errors.worst_deg[0] < 1e-6  # the rotation alone
    assert not errors.translation_deg[1:].isnan().any()
    # Estimated on one spot although they stood apart: wrong.
    assert pose_errors(with_poses(true, fixed), true).translation_deg[0] == 180


def test_position_error_in_true_units():
    true = arc(5)
    centers = true.centers.clone()
    noise = 0.05 * torch.randn(5, 3, dtype=F64)
    poses = inverse_se3(make_se3(inverse_se3(true.cam_from_world)[:, :3, :3], centers + noise))
    errors = pose_errors(with_poses(true, poses), true)
    assert 0 < errors.ate <= noise.square().sum(-1).mean().sqrt()  # alignment can only help


def test_focal_error_ignores_the_image_size():
    true = arc(2)
    estimated = Cameras.create(true.cam_from_world, true.Ks * 0.5, 320, 240)
    assert pose_errors(estimated, true).focal.max() < 1e-12
    estimated = Cameras.create(true.cam_from_world, true.Ks * 1.1, 640, 480)
    assert torch.allclose(pose_errors(estimated, true).focal, torch.tensor(0.1, dtype=F64))


def test_float32_cameras_are_scored_in_float64():
    true = arc(3)
    low = Cameras.create(true.cam_from_world.float(), true.Ks.float(), 640, 480)
    errors = pose_errors(low, true)
    assert errors.rotation_deg.dtype == F64
    assert errors.worst_deg.max() < 1e-4


def test_auc_against_a_fine_sum_under_the_curve():
    errors = torch.tensor([0.5, 1.0, 1.0, 2.5, 7.0, 30.0], dtype=F64)
    corners = [(0.0, 0.0), (0.5, 1 / 6), (1.0, 2 / 6), (1.0, 3 / 6), (2.5, 4 / 6), (5.0, 4 / 6)]

    def recall(x: float) -> float:
        for (x0, y0), (x1, y1) in itertools.pairwise(corners):
            if x0 <= x < x1:
                return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        raise AssertionError(x)

    n = 100_000
    area = sum(recall((k + 0.5) * 5 / n) for k in range(n)) / n
    assert recall_auc(errors, 5.0) == pytest.approx(area, rel=1e-6)


def test_auc_at_the_ends():
    assert recall_auc(torch.zeros(4, dtype=F64), 5) == 1.0
    assert recall_auc(torch.full((4,), 90.0, dtype=F64), 5) == 0.0
    assert math.isnan(recall_auc(torch.zeros(0, dtype=F64), 5))


def test_summary_is_json():
    summary = pose_errors(arc(), arc()).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["rra@15"] == 1.0


def test_too_few_or_unmatched_cameras_are_refused():
    with pytest.raises(InputError, match="got 1 and 1"):
        pose_errors(arc(3)[0], arc(3)[0])
    with pytest.raises(InputError, match="got 3 and 4"):
        pose_errors(arc(3), arc(4))
