"""A synthetic scene that asks of a rasterizer what a trained one does: a furnished room, seen from inside."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

ROOM = np.array([5.0, 3.0, 6.0])  # width, height, depth
N_SPHERES = 8
# Chosen so that about 40 Gaussians blend per pixel (37 to 46) from 5k to 300k of them, as in trained scenes.
SPREAD = 1.0
SURFACE_NOISE = 1.0  # metres at one Gaussian; falls with the spacing between Gaussians
FLATNESS = 0.35


@dataclass(frozen=True)
class RasterScene:
    """Arguments for a rasterizer: activated values, one camera."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def args(self, instead: dict[str, Tensor] | None = None) -> tuple[Any, ...]:
        """The nine leading arguments of `rasterization`, some of them replaced by name."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return tuple((own | (instead or {})).values())

    def to(self, dtype: torch.dtype) -> "RasterScene":
        """The same scene in another precision."""
        names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")
        return replace(self, **{name: getattr(self, name).to(dtype) for name in names})


def room(n: int, width: int, height: int, seed: int = 0) -> RasterScene:
    """`n` Gaussians on the walls of a room and on spheres in it, with scales from the distance to their neighbours."""
    rng = np.random.default_rng(seed)
    n_spheres = n // 3
    xyz = np.concatenate([_walls(n - n_spheres, rng), _spheres(n_spheres, rng)])
    xyz += rng.normal(scale=SURFACE_NOISE / np.sqrt(n), size=xyz.shape)
    distance = cKDTree(xyz).query(xyz, k=4)[0][:, 1:].mean(axis=1)
    scales = SPREAD * distance[:, None] * np.exp(rng.normal(scale=0.4, size=(n, 3)))
    scales[:, 2] *= FLATNESS
    color = 0.5 + 0.4 * np.sin(xyz * [3.0, 4.0, 2.5] + [0.0, 1.0, 2.0]) + rng.normal(scale=0.05, size=(n, 3))

    viewmat = torch.eye(4)
    viewmat[:3, 3] = torch.tensor([0.2, 0.1, ROOM[2] / 2 - 0.5])  # half a metre in front of the back wall
    focal = 0.8 * width
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return RasterScene(
        means=torch.from_numpy(xyz).float(),
        quats=torch.from_numpy(rng.normal(size=(n, 4))).float(),
        scales=torch.from_numpy(scales).float(),
        opacities=torch.from_numpy(rng.beta(0.8, 1.6, size=n)).float().clamp(0.005, 0.995),
        colors=torch.from_numpy(color).float().clamp(0.0, 1.0),
        viewmats=viewmat[None],
        Ks=K[None],
        width=width,
        height=height,
    )


def _walls(n: int, rng: np.random.Generator) -> np.ndarray:
    """Points on the six faces of the room, in proportion to their areas."""
    areas = np.array([ROOM[1] * ROOM[2], ROOM[0] * ROOM[2], ROOM[0] * ROOM[1]])
    axis = rng.choice(3, size=n, p=areas / areas.sum())
    xyz = (rng.random((n, 3)) - 0.5) * ROOM
    side = np.where(rng.random(n) < 0.5, -0.5, 0.5)
    xyz[np.arange(n), axis] = side * ROOM[axis]
    return xyz


def _spheres(n: int, rng: np.random.Generator) -> np.ndarray:
    """Points on spheres of 0.2 to 0.6 m standing about in the far half of the room."""
    layout = np.random.default_rng(3)  # the same furniture whatever the number of Gaussians
    centers = (layout.random((N_SPHERES, 3)) - 0.5) * (ROOM - 1.4) * [1.0, 1.0, 0.5] + [0.0, 0.0, 1.0]
    radii = layout.uniform(0.2, 0.6, size=N_SPHERES)
    which = rng.choice(N_SPHERES, size=n, p=radii**2 / (radii**2).sum())
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return centers[which] + radii[which, None] * direction
