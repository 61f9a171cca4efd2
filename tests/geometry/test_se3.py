import math

import pytest
import torch
from scipy.linalg import expm

from recon.geometry import (
    adjoint,
    exp_se3,
    exp_so3,
    interpolate_poses,
    inverse_se3,
    log_se3,
    look_at,
    make_se3,
    rotation_angle,
    transform_points,
)

F64 = torch.float64


def twists(angle: float, n: int = 10) -> torch.Tensor:
    axis = torch.nn.functional.normalize(torch.randn(n, 3, dtype=F64), dim=-1)
    return torch.cat([torch.randn(n, 3, dtype=F64), axis * angle], dim=-1)


def random_poses(*batch: int) -> torch.Tensor:
    return exp_se3(torch.randn(*batch, 6, dtype=F64))


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-3, 0.499, 0.501, 1.5, 3.0, math.pi])
def test_exp_is_the_matrix_exponential(angle):
    for twist in twists(angle):
        generator = torch.zeros(4, 4, dtype=F64)
        x, y, z = twist[3:]
        generator[:3, :3] = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        generator[:3, 3] = twist[:3]
        assert torch.allclose(exp_se3(twist), torch.from_numpy(expm(generator.numpy())), atol=2e-14)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 5e-6), (F64, 1e-13)])
@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-3, 0.499, 0.501, 1.5, 3.0])
def test_log_inverts_exp(angle, dtype, atol):
    twist = twists(angle).to(dtype)
    assert torch.allclose(log_se3(exp_se3(twist)), twist, rtol=0, atol=atol)


def test_half_turn_round_trip():
    T = exp_se3(twists(math.pi))
    assert torch.allclose(exp_se3(log_se3(T)), T, atol=1e-13)


def test_group_axioms():
    A, B, C = random_poses(3, 20)
    identity = torch.eye(4, dtype=F64).expand(20, 4, 4)
    assert torch.allclose((A @ B) @ C, A @ (B @ C), atol=1e-13)
    assert torch.allclose(A @ inverse_se3(A), identity, atol=1e-14)
    assert torch.allclose(inverse_se3(A @ B), inverse_se3(B) @ inverse_se3(A), atol=1e-13)
    points = torch.randn(20, 5, 3, dtype=F64)
    assert torch.allclose(transform_points(A @ B, points), transform_points(A, transform_points(B, points)), atol=1e-13)


def test_adjoint_moves_twists_between_frames():
    T, twist = random_poses(10), torch.randn(10, 6, dtype=F64)
    moved = exp_se3((adjoint(T) @ twist[..., None])[..., 0])
    assert torch.allclose(moved, T @ exp_se3(twist) @ inverse_se3(T), atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-10, 1e-4, 0.4999, 0.5001, 2.0])
def test_jacobians_match_finite_differences(angle):
    twist = twists(angle, 1)[0]
    assert torch.autograd.gradcheck(exp_se3, twist.clone().requires_grad_(), atol=1e-7)
    T = exp_se3(twist)

    def log_of_perturbed(step):
        return log_se3(exp_se3(step) @ T)

    assert torch.autograd.gradcheck(log_of_perturbed, torch.zeros(6, dtype=F64, requires_grad=True), atol=1e-6)


def test_derivative_at_identity_is_the_generator():
    jacobian = torch.autograd.functional.jacobian(exp_se3, torch.zeros(6))
    assert torch.equal(jacobian[:3, 3, :3], torch.eye(3))
    assert jacobian[2, 1, 3] == 1
    assert jacobian[1, 2, 3] == -1


def test_look_at_puts_the_target_ahead_and_up_up():
    eye, target = torch.tensor([3.0, -1.0, 2.0], dtype=F64), torch.tensor([0.5, 0.2, -1.0], dtype=F64)
    up = torch.tensor([0.0, -1.0, 0.0], dtype=F64)
    T = look_at(eye, target, up)
    in_camera = transform_points(T, torch.stack([eye, target, target + up]))
    assert torch.allclose(in_camera[0], torch.zeros(3, dtype=F64), atol=1e-14)
    assert torch.allclose(in_camera[1, :2], torch.zeros(2, dtype=F64), atol=1e-14)
    assert torch.allclose(in_camera[1, 2], (target - eye).norm())
    assert in_camera[2, 1] < 0  # image y points down
    assert abs(in_camera[2, 0]) < 1e-14
    assert torch.allclose(torch.det(T[:3, :3]), torch.ones((), dtype=F64))


def test_look_at_along_up_is_still_a_rotation():
    T = look_at(torch.zeros(3), torch.tensor([0.0, 5.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    assert torch.allclose(T[:3, :3] @ T[:3, :3].T, torch.eye(3), atol=1e-6)
    assert torch.allclose(T[2, :3], torch.tensor([0.0, 1.0, 0.0]))


def test_interpolation_ends_and_constant_speed():
    start, end = random_poses(2)
    fractions = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=F64)
    path = interpolate_poses(start, end, fractions)
    assert torch.allclose(path[0], start, atol=1e-14)
    assert torch.allclose(path[-1], end, atol=1e-13)
    centers = inverse_se3(path)[:, :3, 3]
    assert torch.allclose(centers[2], (centers[0] + centers[3]) / 2, atol=1e-13)
    turned = rotation_angle(path[:, :3, :3] @ start[:3, :3].T)
    assert torch.allclose(turned, fractions * turned[-1], atol=1e-12)


def test_interpolation_of_equal_poses_is_that_pose():
    pose = random_poses(4)
    assert torch.allclose(interpolate_poses(pose, pose, 0.3), pose, atol=1e-14)


def test_make_se3_keeps_gradients():
    R, t = exp_so3(torch.randn(3)), torch.randn(3, requires_grad=True)
    make_se3(R, t)[0, 3].backward()
    assert torch.equal(t.grad, torch.tensor([1.0, 0.0, 0.0]))
