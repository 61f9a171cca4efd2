"""Points from several views, and how well the views' directions pin them down."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import directions_in_camera
from recon.geometry.se3 import inverse_se3


def triangulate_dlt(
    uv: Float[Tensor, "V P 2"],
    cam_from_world: Float[Tensor, "V 4 4"],
    Ks: Float[Tensor, "V 3 3"],
    visible: Bool[Tensor, "V P"] | None = None,
) -> Float[Tensor, "P 3"]:
    """Linear triangulation (Hartley & Zisserman 2004, section 12.2) on normalised image coordinates.

    Worked out in float64, in a world shifted to the mean camera centre, so that the answer does not depend on where
    the origin lies. Exact for exact data; with noise it minimises an algebraic error. Points seen by fewer than two
    views, or by parallel rays, come out as NaN or very far away: test the parallax.
    """
    dtype = uv.dtype
    uv, cam_from_world, Ks = uv.double(), cam_from_world.double(), Ks.double()
    rays = directions_in_camera(uv, Ks)
    shift = inverse_se3(cam_from_world)[:, :3, 3].mean(0)
    R = cam_from_world[:, :3, :3]
    t = cam_from_world[:, :3, 3] + R @ shift
    P = torch.cat([R, t[..., None]], dim=-1)
    rows = rays[..., :2, None] * P[:, None, 2:3] - P[:, None, :2]  # [V, P, 2, 4]
    rows = torch.nn.functional.normalize(rows, dim=-1)
    if visible is not None:
        rows = rows * visible[..., None, None]
    A = rows.permute(1, 0, 2, 3).flatten(1, 2)  # [P, 2V, 4]
    solution = torch.linalg.svd(A, full_matrices=A.shape[1] < 4).Vh[:, -1]
    xyz = solution[:, :3] / solution[:, 3:] + shift
    if visible is not None:
        xyz = torch.where((visible.sum(0) >= 2)[:, None], xyz, torch.full_like(xyz, torch.nan))
    return xyz.to(dtype)


def angle_between(a: Float[Tensor, "*b 3"], b: Float[Tensor, "*c 3"]) -> Float[Tensor, "*d"]:
    """Angle in [0, pi] rad between two directions, accurate for tiny and for straight angles."""
    a, b = torch.broadcast_tensors(a, b)
    return torch.atan2(torch.linalg.vector_norm(torch.linalg.cross(a, b), dim=-1), (a * b).sum(-1))


def parallax_angles(
    xyz: Float[Tensor, "P 3"], center_a: Float[Tensor, "3"], center_b: Float[Tensor, "3"]
) -> Float[Tensor, " P"]:
    """Angle in rad at each point between the rays to two camera centres."""
    return angle_between(xyz - center_a, xyz - center_b)


def max_parallax(
    xyz: Float[Tensor, "P 3"], centers: Float[Tensor, "V 3"], visible: Bool[Tensor, "V P"] | None = None
) -> Float[Tensor, " P"]:
    """Largest angle in rad between any two rays that see a point; 0 where fewer than two do."""
    best = torch.zeros_like(xyz[:, 0])
    for i in range(centers.shape[0]):
        for j in range(i + 1, centers.shape[0]):
            angle = parallax_angles(xyz, centers[i], centers[j])
            if visible is not None:
                angle = torch.where(visible[i] & visible[j], angle, torch.zeros_like(angle))
            best = torch.maximum(best, angle)
    return best
