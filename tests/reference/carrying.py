"""Carrying a photo into a view through the view's depth, pixel by pixel: truth for `recon.priors.diffusion.warps`."""

import math

import torch
from torch import Tensor

from recon.types import Cameras, Rendering


def carry(depth: Tensor, alpha: Tensor, camera: Cameras, photo: Tensor, own: Rendering, other: Cameras) -> tuple:
    """(photo, splats in its place, validity) as the view sees them; `own` without a leading dimension."""
    height, width = depth.shape
    colors, shows, valid = torch.zeros(height, width, 3), torch.zeros(height, width, 3), torch.zeros(height, width)
    K, K_other = camera.Ks[0].double(), other.Ks[0].double()
    for row in range(height):
        for column in range(width):
            z = float(depth[row, column])
            ray = torch.linalg.inv(K) @ torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64)
            world = camera.world_from_cam[0].double() @ torch.cat([ray * z, torch.ones(1, dtype=torch.float64)])
            there = (other.cam_from_world[0].double() @ world)[:3]
            uv = K_other @ (there / there[2])
            u, v = float(uv[0]), float(uv[1])
            colors[row, column] = bilinear(photo, u, v)
            shows[row, column] = bilinear(own.rgb, u, v)
            valid[row, column] = alpha[row, column] * surely_same(own, u, v, float(there[2]), camera, other)
    return colors, shows, valid


def surely_same(own: Rendering, u: float, v: float, z: float, camera: Cameras, other: Cameras) -> float:
    height, width = own.depth.shape
    if z <= 0 or not (0 <= u <= width and 0 <= v <= height):
        return 0.0
    row, column = min(int(v), height - 1), min(int(u), width - 1)
    surface = float(own.depth[row, column])
    if surface <= 0:
        return 0.0
    rim = min(u, v, width - u, height - v) / (0.005 * max(width, height))
    meant, shown = (seen_at(u, v, depth, other, camera) for depth in (z, surface))
    if meant is None or shown is None:
        return 0.0
    off = math.dist(meant, shown) / max(int(camera.width[0]), int(camera.height[0]))
    return min(1.0, rim) * math.exp(-((off / 0.03) ** 2)) * float(own.alpha[row, column])


def seen_at(u: float, v: float, z: float, camera: Cameras, other: Cameras) -> tuple[float, float] | None:
    """Where `other` sees what `camera` has at (u, v) and depth z; None behind it."""
    ray = torch.linalg.inv(camera.Ks[0].double()) @ torch.tensor([u, v, 1.0], dtype=torch.float64)
    world = camera.world_from_cam[0].double() @ torch.cat([ray * z, torch.ones(1, dtype=torch.float64)])
    there = (other.cam_from_world[0].double() @ world)[:3]
    x, y, depth = (other.Ks[0].double() @ there).tolist()
    return (x / depth, y / depth) if depth > 0 else None


def bilinear(image: Tensor, u: float, v: float) -> Tensor:
    """At a pixel position, first centre at (0.5, 0.5); edges repeated."""
    height, width = image.shape[:2]
    x, y = min(max(u - 0.5, 0.0), width - 1.0), min(max(v - 0.5, 0.0), height - 1.0)
    left, top = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    a, b = x - left, y - top
    upper = (1 - a) * image[top, left] + a * image[top, left + 1]
    lower = (1 - a) * image[top + 1, left] + a * image[top + 1, left + 1]
    return (1 - b) * upper + b * lower
