"""Pinhole projection and back. Pixels with the centre of the first one at (0.5, 0.5); depth is z in camera axes."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import inverse_se3, transform_points


def pixel_grid(
    height: int, width: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Float[Tensor, "H W 2"]:
    """(x, y) of every pixel centre: the first is (0.5, 0.5)."""
    x = torch.arange(width, dtype=dtype, device=device) + 0.5
    y = torch.arange(height, dtype=dtype, device=device) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def project(
    points: Float[Tensor, "*a P 3"], cam_from_world: Float[Tensor, "*b 4 4"], Ks: Float[Tensor, "*b 3 3"]
) -> tuple[Float[Tensor, "*c P 2"], Float[Tensor, "*c P"]]:
    """Pixel positions and z-depths of world points; `[P, 3]` points and `[V, ...]` cameras give `[V, P, ...]`.

    Where z <= 0 the point is behind the camera and its position means nothing (but is finite): test z.
    """
    in_camera = transform_points(cam_from_world, points)
    z = in_camera[..., 2]
    z_safe = torch.where(z.abs() < 1e-12, torch.full_like(z, 1e-12), z)  # keeps x / z^2 finite in float32
    return (in_camera / z_safe[..., None] @ Ks.transpose(-1, -2))[..., :2], z


def unproject(
    uv: Float[Tensor, "*b P 2"],
    z: Float[Tensor, "*b P"],
    K: Float[Tensor, "*c 3 3"],
    cam_from_world: Float[Tensor, "*c 4 4"],
) -> Float[Tensor, "*d P 3"]:
    """World points at pixel positions `uv` and z-depths `z`. Inverse of `project`."""
    return transform_points(inverse_se3(cam_from_world), directions_in_camera(uv, K) * z[..., None])


def unproject_depth(
    depth: Float[Tensor, "*b H W"], K: Float[Tensor, "*b 3 3"], cam_from_world: Float[Tensor, "*b 4 4"]
) -> Float[Tensor, "*b H W 3"]:
    """World points of every pixel of a z-depth map."""
    height, width = depth.shape[-2:]
    uv = pixel_grid(height, width, depth.dtype, depth.device).reshape(-1, 2).expand(*depth.shape[:-2], -1, 2)
    return unproject(uv, depth.flatten(-2), K, cam_from_world).unflatten(-2, (height, width))


def directions_in_camera(uv: Float[Tensor, "*b P 2"], K: Float[Tensor, "*c 3 3"]) -> Float[Tensor, "*d P 3"]:
    """Viewing directions with z = 1 of pixel positions, in camera axes: `K^-1 (u, v, 1)`."""
    fx, skew, cx, fy, cy = (K[..., i, j, None] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    y = (uv[..., 1] - cy) / fy
    x = (uv[..., 0] - cx - skew * y) / fx
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def pixel_rays(
    height: int, width: int, K: Float[Tensor, "3 3"], cam_from_world: Float[Tensor, "4 4"]
) -> tuple[Float[Tensor, "3"], Float[Tensor, "H W 3"]]:
    """Camera centre and, per pixel, the unit viewing direction in the world."""
    grid = pixel_grid(height, width, K.dtype, K.device)
    local = directions_in_camera(grid.reshape(-1, 2), K)
    world_from_cam = inverse_se3(cam_from_world)
    directions = torch.nn.functional.normalize(local @ world_from_cam[:3, :3].T, dim=-1)
    return world_from_cam[:3, 3], directions.unflatten(0, (height, width))
