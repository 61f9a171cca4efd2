"""Rigid motions as 4x4 matrices that compose as `a_from_b @ b_from_c`; batched and differentiable.

A twist is `(v, w)`: translation part first (world units), rotation vector second (radians).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.so3 import angle_away_from_zero, exp_so3, hat, log_so3, series, sin_over_angle

# Taylor coefficients in theta^2 of 1/theta^2 - sin(theta) / (2 theta (1 - cos theta)), from the Bernoulli numbers.
INVERSE_JACOBIAN_SERIES = [1 / 12, 1 / 720, 1 / 30240, 1 / 1209600, 1 / 47900160, 691 / 1307674368000]


def make_se3(R: Float[Tensor, "*b 3 3"], t: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4 4"]:
    """The matrix of `x -> R x + t`."""
    top = torch.cat([R, t[..., None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=R.dtype, device=R.device).expand(*R.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def exp_se3(twist: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 4 4"]:
    """Rigid motion of a twist `(v, w)`: `t = V v` with `V = I + b K + c K^2` (Sola et al. 2018, eq. 174)."""
    v, rotvec = twist[..., :3], twist[..., 3:]
    theta2 = (rotvec * rotvec).sum(-1)
    b = 0.5 * sin_over_angle(theta2 / 4) ** 2
    small, theta = angle_away_from_zero(theta2)
    c_series = series(theta2, [(-1) ** k / math.factorial(2 * k + 3) for k in range(7)])
    c = torch.where(small, c_series, (theta - theta.sin()) / theta**3)
    K_v = torch.linalg.cross(rotvec, v)
    t = v + b[..., None] * K_v + c[..., None] * torch.linalg.cross(rotvec, K_v)
    return make_se3(exp_so3(rotvec), t)


def log_se3(a_from_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 6"]:
    """Twist `(v, w)` with `exp_se3(twist) = a_from_b` and `|w| <= pi`."""
    rotvec = log_so3(a_from_b[..., :3, :3])
    theta2 = (rotvec * rotvec).sum(-1)
    small, theta = angle_away_from_zero(theta2)
    # 1 - a/(2b) over theta^2, with a = sin(theta)/theta and b = (1 - cos(theta))/theta^2; finite up to theta = pi.
    half_cot = 0.5 * theta * (0.5 * theta).cos() / (0.5 * theta).sin()
    d = torch.where(small, series(theta2, INVERSE_JACOBIAN_SERIES), (1 - half_cot) / theta**2)
    t = a_from_b[..., :3, 3]
    K_t = torch.linalg.cross(rotvec, t)
    v = t - 0.5 * K_t + d[..., None] * torch.linalg.cross(rotvec, K_t)
    return torch.cat([v, rotvec], dim=-1)


def inverse_se3(a_from_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """`b_from_a`, by transposition (exact for rotations; no matrix solve)."""
    R_inv = a_from_b[..., :3, :3].transpose(-1, -2)
    return make_se3(R_inv, -(R_inv @ a_from_b[..., :3, 3:]).squeeze(-1))


def transform_points(a_from_b: Float[Tensor, "*#b 4 4"], points: Float[Tensor, "*#b P 3"]) -> Float[Tensor, "*c P 3"]:
    """Points of frame b, in frame a. Leading dimensions broadcast."""
    return points @ a_from_b[..., :3, :3].transpose(-1, -2) + a_from_b[..., None, :3, 3]


def adjoint(a_from_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 6 6"]:
    """The 6x6 matrix with `T exp(x) T^-1 = exp(adjoint(T) x)` for twists `(v, w)`."""
    R, t = a_from_b[..., :3, :3], a_from_b[..., :3, 3]
    top = torch.cat([R, hat(t) @ R], dim=-1)
    return torch.cat([top, torch.cat([torch.zeros_like(R), R], dim=-1)], dim=-2)


def look_at(
    eye: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"], up: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """`cam_from_world` of a camera at `eye` that sees `target` in its centre, with `up` pointing up in the image.

    OpenCV axes: x right, y down, z forward. When `up` is parallel to the line of sight, the world axis farthest from
    it is taken instead. `eye` and `target` must differ.
    """
    z = torch.nn.functional.normalize(target - eye, dim=-1)
    up = torch.nn.functional.normalize(up, dim=-1)
    parallel = torch.linalg.vector_norm(torch.linalg.cross(z, up), dim=-1, keepdim=True) < 1e-6
    spare = torch.nn.functional.one_hot(z.abs().argmin(-1), 3).to(z)
    x = torch.nn.functional.normalize(torch.linalg.cross(z, torch.where(parallel, spare, up)), dim=-1)
    y = torch.linalg.cross(z, x)
    R = torch.stack([x, y, z], dim=-2)
    return make_se3(R, -(R @ eye[..., None]).squeeze(-1))


def interpolate_poses(
    start: Float[Tensor, "*b 4 4"], end: Float[Tensor, "*b 4 4"], fraction: Float[Tensor, "*c"] | float
) -> Float[Tensor, "*d 4 4"]:
    """`cam_from_world` between two cameras: the centre moves on a straight line, the rotation along the shortest arc
    at constant speed (slerp).

    Args:
        fraction: 0.0 gives `start`, 1.0 gives `end`; values outside extrapolate. Broadcasts against the leading
            dimensions: `[T]` fractions between two single poses give `[T, 4, 4]`.
    """
    fraction = torch.as_tensor(fraction, dtype=start.dtype, device=start.device)[..., None]
    world_from_start, world_from_end = inverse_se3(start), inverse_se3(end)
    center = torch.lerp(world_from_start[..., :3, 3], world_from_end[..., :3, 3], fraction)
    turn = log_so3(end[..., :3, :3] @ world_from_start[..., :3, :3])
    R = exp_so3(turn * fraction) @ start[..., :3, :3]
    return make_se3(R, -(R @ center[..., None]).squeeze(-1))
