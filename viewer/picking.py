"""What is under the pointer: points on the surface, and the plane through several of them."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from recon.geometry import unproject
from recon.types import Cameras
from viewer.display import Vector
from viewer.edit import Window
from viewer.looks import SOLID, Model, rasterize

PATCH = 5
"""Pixels on a side of what is drawn around the pointer."""
AREA_SIDE = 160
TRIMS, TRIMMED = 4, 2.5
"""Rounds of leaving out what lies farther from the plane than so many times the median distance."""


@torch.no_grad()
def surface_point(model: Model, camera: Cameras, at: tuple[float, float]) -> Vector | None:
    """The point of the surface, in the world, that one camera sees at `at`; None where there is nothing.

    Args:
        at: shares of the picture's width and height from the upper left corner.
    """
    half = PATCH / 2.0
    uv = torch.tensor([at[0] * float(camera.width[0]), at[1] * float(camera.height[0])])
    patch = _patch(camera, float(uv[0]) - half, float(uv[1]) - half, (PATCH, PATCH))
    colors = torch.zeros(len(model.splats), 3, device=model.rasterizer.device)
    _, alpha, depth = rasterize(model, patch, colors, None, "RGB+ED")
    solid = alpha > SOLID
    if not solid[PATCH // 2, PATCH // 2]:
        return None
    z = torch.tensor([float(np.median(depth[solid]))])
    return unproject(uv[None], z, camera.Ks[0], camera.cam_from_world[0])[0].double().numpy()


@torch.no_grad()
def area_points(model: Model, camera: Cameras, window: Window) -> Float[np.ndarray, "P 3"]:
    """Points of the surface, in the world, inside a rectangle of the picture."""
    scale = AREA_SIDE / max(int(camera.width[0]), int(camera.height[0]))
    small = camera.resized(*((edge * scale).round().long().clamp(min=1) for edge in (camera.width, camera.height)))
    width, height = int(small.width[0]), int(small.height[0])
    colors = torch.zeros(len(model.splats), 3, device=model.rasterizer.device)
    _, alpha, depth = rasterize(model, small, colors, None, "RGB+ED")
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    inside = (x >= window.left) & (x <= window.right) & (y >= window.top) & (y <= window.bottom) & (alpha > SOLID)
    uv = torch.from_numpy(np.stack([x[inside] * width, y[inside] * height], axis=1)).float()
    z = torch.from_numpy(depth[inside])
    return unproject(uv, z, small.Ks[0], small.cam_from_world[0]).double().numpy()


def fit_plane(points: Float[np.ndarray, "P 3"], towards: Vector) -> tuple[Vector, Vector]:
    """A point of the plane through most of `points`, and its unit normal on the side of the point `towards`.

    Least squares, repeated without what lies far off: a chair's leg on the floor does not tilt the floor.

    Raises:
        ValueError: fewer than three points, or all on a line.
    """
    if len(points) < 3:
        raise ValueError("a plane needs three points")
    kept = points
    for _ in range(TRIMS):
        middle = kept.mean(axis=0)
        _, sizes, axes = np.linalg.svd(kept - middle, full_matrices=False)
        if sizes[1] < 1e-6 * max(sizes[0], 1e-30):
            raise ValueError("the points lie on a line")
        offset = np.abs((points - middle) @ axes[2])
        near = offset <= max(TRIMMED * float(np.median(offset)), 1e-9 * float(sizes[0]))
        if near.sum() < 3 or len(points) == 3:
            break
        kept = points[near]
    normal = axes[2] if axes[2] @ (towards - middle) >= 0 else -axes[2]
    return middle, normal


def _patch(camera: Cameras, left: float, top: float, size: tuple[int, int]) -> Cameras:
    """The camera of a piece of its picture, `size` (width, height) pixels from (left, top) on."""
    Ks = camera.Ks.clone()
    Ks[:, 0, 2] -= left
    Ks[:, 1, 2] -= top
    width, height = (torch.full_like(camera.width, edge) for edge in size)
    return replace(camera, Ks=Ks, width=width, height=height)
