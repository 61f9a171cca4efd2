"""Rotations: exponential and logarithm, quaternions (w, x, y, z), all batched and differentiable.

Vocabulary: `rotvec` is a rotation vector in radians (axis times angle), `theta` its length, `theta2` its square. Every
function that divides by an angle switches to a Taylor series near zero; the unused branch is fed a harmless value
first (the "double where"), so that gradients at the identity are finite.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Below this squared angle (0.5 rad) the closed forms that cancel are replaced by series with a truncation error
# under 4e-15 relative, well below float64 noise of the closed forms there.
SERIES_THETA2 = 0.25


def hat(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The skew-symmetric matrix with `hat(v) @ x = cross(v, x)`."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def series(theta2: Tensor, coefficients: list[float]) -> Tensor:
    """`sum_k coefficients[k] * theta2^k` by Horner's rule."""
    total = torch.full_like(theta2, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * theta2 + coefficient
    return total


def angle_away_from_zero(theta2: Tensor) -> tuple[Tensor, Tensor]:
    """`small`, where the series must be used, and the angle, set to 1 there to keep gradients finite."""
    small = theta2 < SERIES_THETA2
    return small, torch.where(small, torch.ones_like(theta2), theta2).sqrt()


def sin_over_angle(theta2: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """`sin(theta) / theta` from the squared angle."""
    small, theta = angle_away_from_zero(theta2)
    return torch.where(
        small, series(theta2, [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)]), theta.sin() / theta
    )


def exp_so3(rotvec: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrix of a rotation vector in radians (Rodrigues' formula).

    `(1 - cos theta) / theta^2` is taken as half the square of `sin(theta/2) / (theta/2)`, which does not cancel.
    """
    theta2 = (rotvec * rotvec).sum(-1)
    a = sin_over_angle(theta2)
    b = 0.5 * sin_over_angle(theta2 / 4) ** 2
    K = hat(rotvec)
    identity = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return identity + a[..., None, None] * K + b[..., None, None] * (K @ K)


def log_so3(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Rotation vector in radians, of length at most pi. Accurate from the identity up to half turns.

    Goes through the quaternion, whose vector part is well conditioned near pi where `trace(R)` is not.
    """
    quat = rotmat_to_quat(R)
    w, v = quat[..., 0], quat[..., 1:]
    sin2 = (v * v).sum(-1)  # sin^2 of half the angle; w = cos of half the angle >= 0
    small = sin2 < 1e-8
    sine = torch.where(small, torch.ones_like(sin2), sin2).sqrt()
    w_safe = torch.where(small, w, torch.ones_like(w))
    # theta / sin(theta/2): 2 atan(r)/r / w with r = sin/cos of the half angle, to second order below 2e-4 rad.
    near = 2 / w_safe - 2 * sin2 / (3 * w_safe**3)
    ratio = torch.where(small, near, 2 * torch.atan2(sine, w) / sine)
    return v * ratio[..., None]


def quat_to_rotmat(quat: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrix of a quaternion (w, x, y, z) of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quat, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def rotmat_to_quat(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternion (w, x, y, z) with w >= 0.

    The matrix `4 q q^T` is linear in R (Shepperd 1978); its row with the largest diagonal is q up to length, and is
    never shorter than 2, so neither the value nor the gradient degenerates anywhere.
    """
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = R.flatten(-2).unbind(-1)
    rows = [
        *(1 + r00 + r11 + r22, r21 - r12, r02 - r20, r10 - r01),
        *(r21 - r12, 1 + r00 - r11 - r22, r01 + r10, r02 + r20),
        *(r02 - r20, r01 + r10, 1 - r00 + r11 - r22, r12 + r21),
        *(r10 - r01, r02 + r20, r12 + r21, 1 - r00 - r11 + r22),
    ]
    outer = torch.stack(rows, dim=-1).unflatten(-1, (4, 4))
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quat = torch.nn.functional.normalize(row, dim=-1)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def rotation_angle(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    """Angle of a rotation in [0, pi] rad. Accurate at both ends, unlike `acos((trace - 1) / 2)`."""
    quat = rotmat_to_quat(R)
    return 2 * torch.atan2(torch.linalg.vector_norm(quat[..., 1:], dim=-1), quat[..., 0])
