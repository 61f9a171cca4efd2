"""Two-view geometry: fundamental matrices and distances from epipolar lines, in pixels."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import inverse_se3
from recon.geometry.so3 import hat


def essential_from_poses(
    a_from_world: Float[Tensor, "*b 4 4"], b_from_world: Float[Tensor, "*b 4 4"]
) -> Float[Tensor, "*b 3 3"]:
    """E with `d_b^T E d_a = 0` for viewing directions of one point (Hartley & Zisserman 2004, eq. 9.12)."""
    b_from_a = b_from_world @ inverse_se3(a_from_world)
    return hat(b_from_a[..., :3, 3]) @ b_from_a[..., :3, :3]


def fundamental_from_cameras(
    a_from_world: Float[Tensor, "*b 4 4"],
    K_a: Float[Tensor, "*b 3 3"],
    b_from_world: Float[Tensor, "*b 4 4"],
    K_b: Float[Tensor, "*b 3 3"],
) -> Float[Tensor, "*b 3 3"]:
    """F with `x_b^T F x_a = 0` for pixels of one point in two photos. Zero when the centres coincide."""
    E = essential_from_poses(a_from_world, b_from_world)
    return torch.linalg.inv(K_b).transpose(-1, -2) @ E @ torch.linalg.inv(K_a)


def epipolar_distance(
    F: Float[Tensor, "*b 3 3"], uv_a: Float[Tensor, "*b P 2"], uv_b: Float[Tensor, "*b P 2"]
) -> Float[Tensor, "*b P"]:
    """Distance in pixels of each `uv_b` from the epipolar line of `uv_a` in photo b. Swap with `F^T` for photo a."""
    line = homogeneous(uv_a) @ F.transpose(-1, -2)
    return (homogeneous(uv_b) * line).sum(-1).abs() / safe_norm(line[..., :2])


def sampson_distance(
    F: Float[Tensor, "*b 3 3"], uv_a: Float[Tensor, "*b P 2"], uv_b: Float[Tensor, "*b P 2"]
) -> Float[Tensor, "*b P"]:
    """First-order geometric error in pixels, shared by both photos (Hartley & Zisserman 2004, eq. 11.9, its root)."""
    a, b = homogeneous(uv_a), homogeneous(uv_b)
    line_b, line_a = a @ F.transpose(-1, -2), b @ F
    gradient = torch.cat([line_a[..., :2], line_b[..., :2]], dim=-1)
    return (b * line_b).sum(-1).abs() / safe_norm(gradient)


def homogeneous(uv: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 3"]:
    """(u, v, 1)."""
    return torch.cat([uv, torch.ones_like(uv[..., :1])], dim=-1)


def safe_norm(x: Tensor) -> Tensor:
    """Length of the last dimension, at least tiny: at an epipole there is no line, and the distance is 0."""
    return torch.linalg.vector_norm(x, dim=-1).clamp_min(torch.finfo(x.dtype).tiny)
