import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from recon.geometry import exp_so3, hat, log_so3, quat_to_rotmat, rotation_angle, rotmat_to_quat

F64 = torch.float64
# Around every switch of formula: the identity, the series thresholds (1e-4 half-sine, 0.5 rad), a half turn.
ANGLES = [0.0, 1e-12, 1e-8, 1e-5, 1.9e-4, 2.1e-4, 0.49, 0.51, 1.0, 2.0, 3.0, math.pi - 1e-4, math.pi - 1e-9]


def axes(n: int = 20) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 3, dtype=F64), dim=-1)


def tolerance(dtype: torch.dtype) -> float:
    return 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("angle", ANGLES)
def test_exp_agrees_with_scipy(angle):
    rotvec = axes() * angle
    expected = torch.from_numpy(Rotation.from_rotvec(rotvec.numpy()).as_matrix())
    assert torch.allclose(exp_so3(rotvec), expected, rtol=0, atol=2e-15)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("angle", ANGLES)
def test_log_inverts_exp(angle, dtype):
    rotvec = (axes() * angle).to(dtype)
    again = log_so3(exp_so3(rotvec))
    # At half a turn the axis' sign is free to float error: compare the rotations too.
    if angle < 3.1:
        assert torch.allclose(again, rotvec, rtol=tolerance(dtype), atol=tolerance(dtype))
    assert torch.allclose(exp_so3(again), exp_so3(rotvec), rtol=0, atol=tolerance(dtype))


def test_group_axioms():
    R = exp_so3(torch.randn(50, 3, dtype=F64) * 2)
    identity = torch.eye(3, dtype=F64).expand(50, 3, 3)
    assert torch.allclose(R @ R.transpose(1, 2), identity, atol=1e-14)
    assert torch.allclose(torch.det(R), torch.ones(50, dtype=F64), atol=1e-14)
    assert torch.allclose(exp_so3(-log_so3(R)), R.transpose(1, 2), atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-10, 1e-5, 0.4999, 0.5001, 2.0, 3.1])
def test_jacobian_of_exp_matches_finite_differences(angle):
    rotvec = axes(1)[0] * angle
    assert torch.autograd.gradcheck(exp_so3, rotvec.requires_grad_(), atol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-10, 1e-5, 1.0, 3.0, math.pi - 1e-3])
def test_jacobian_of_log_matches_finite_differences(angle):
    R = exp_so3(axes(1)[0] * angle)

    def log_of_perturbed(step):  # stays on the group, where the logarithm is defined
        return log_so3(exp_so3(step) @ R)

    assert torch.autograd.gradcheck(log_of_perturbed, torch.zeros(3, dtype=F64, requires_grad=True), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_gradients_at_identity_and_half_turn_are_finite(dtype):
    for matrix in (torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.diag(torch.tensor([-1.0, 1, -1]))):
        R = matrix.to(dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(log_so3(R).sum(), R)
        assert gradient.isfinite().all()


def test_quaternions_agree_with_scipy():
    R = exp_so3(torch.randn(200, 3, dtype=F64) * 2)
    quat = rotmat_to_quat(R)
    expected = torch.from_numpy(Rotation.from_matrix(R.numpy()).as_quat(scalar_first=True))
    expected = torch.where(expected[:, :1] < 0, -expected, expected)
    assert torch.allclose(quat, expected, atol=1e-14)
    assert torch.allclose(quat_to_rotmat(quat * 3.7), R, atol=1e-14)
    assert torch.allclose(quat_to_rotmat(-quat), R, atol=1e-14)


def test_every_branch_of_rotmat_to_quat_is_taken_and_right():
    quats = torch.eye(4, dtype=F64) + 0.1 * torch.randn(4, 4, dtype=F64)
    quats = torch.nn.functional.normalize(quats, dim=-1)
    again = rotmat_to_quat(quat_to_rotmat(quats))
    assert torch.allclose(again, quats * quats[:, :1].sign(), atol=1e-14)


def test_quaternion_gradient_matches_finite_differences():
    quat = torch.randn(5, 4, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(quat_to_rotmat, quat, atol=1e-7)


@pytest.mark.parametrize("angle", ANGLES)
def test_rotation_angle(angle):
    assert torch.allclose(
        rotation_angle(exp_so3(axes() * angle)), torch.tensor(angle, dtype=F64), rtol=1e-9, atol=1e-15
    )


def test_hat_is_the_cross_product():
    a, b = torch.randn(2, 7, 3, dtype=F64)
    assert torch.allclose((hat(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))


def test_leading_dimensions_pass_through():
    rotvec = torch.randn(2, 3, 4, 3)
    assert exp_so3(rotvec).shape == (2, 3, 4, 3, 3)
    assert log_so3(exp_so3(rotvec)).shape == (2, 3, 4, 3)
    assert rotmat_to_quat(exp_so3(rotvec[:0])).shape == (0, 3, 4, 4)
