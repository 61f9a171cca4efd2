"""Which Gaussians are meant: by a volume, by an area of the window, by likeness. All masks are over rows."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry import project
from recon.types import Cameras, Splats

Mode = Literal["New", "Add", "Remove"]
NEIGHBOURS = 8
LINK = 3.0
"""Two like Gaussians touch when they are nearer than so many times the median distance to the nearest like one."""
_SHIFT = 4
"""Bits of a pixel to which an outline is kept."""


@dataclass(frozen=True)
class Box:
    """A box anywhere in the world."""

    center: Float[Tensor, "3"]
    R: Float[Tensor, "3 3"]
    """World from box."""
    size: Float[Tensor, "3"]
    """Length of its sides, world units."""


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in shares of its width and height from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


def combine(before: Bool[Tensor, " N"], found: Bool[Tensor, " N"], mode: Mode) -> Bool[Tensor, " N"]:
    """The selection after `found` was chosen with the mode New, Add or Remove."""
    return {"New": found, "Add": before | found, "Remove": before & ~found}[mode]


def in_box(means: Float[Tensor, "N 3"], box: Box) -> Bool[Tensor, " N"]:
    """Centres inside the box."""
    inside = ((means - box.center.to(means)) @ box.R.to(means)).abs() <= 0.5 * box.size.to(means)
    return inside.all(dim=1)


def in_sphere(means: Float[Tensor, "N 3"], center: Float[Tensor, "3"], radius: float) -> Bool[Tensor, " N"]:
    """Centres inside the sphere."""
    return torch.linalg.vector_norm(means - center.to(means), dim=1) <= radius


def in_window(means: Float[Tensor, "N 3"], camera: Cameras, window: Window) -> Bool[Tensor, " N"]:
    """Centres that one camera sees inside the rectangle, however deep."""
    uv, z = project(means, camera.cam_from_world[0], camera.Ks[0])
    share = uv / torch.tensor([float(camera.width[0]), float(camera.height[0])]).to(uv)
    low, high = torch.tensor([window.left, window.top]).to(uv), torch.tensor([window.right, window.bottom]).to(uv)
    return (z > 0) & ((share >= low) & (share <= high)).all(dim=1)


def in_outline(means: Float[Tensor, "N 3"], camera: Cameras, outline: Float[np.ndarray, "P 2"]) -> Bool[Tensor, " N"]:
    """Centres that one camera sees inside a closed line, however deep; where it crosses itself, parity decides.

    Args:
        outline: in shares of the picture's width and height from the upper left corner.
    """
    size = np.array([int(camera.width[0]), int(camera.height[0])])
    area = np.zeros(size[::-1], dtype=np.uint8)
    # OpenCV counts pixel centres from 0 and takes fractions as whole numbers of 1 / 2^SHIFT.
    corners = np.rint((outline * size - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(area, [corners], 1, shift=_SHIFT)
    uv, z = project(means, camera.cam_from_world[0], camera.Ks[0])
    u, v = uv.unbind(dim=1)
    found = (z > 0) & (u >= 0) & (u < float(size[0])) & (v >= 0) & (v < float(size[1]))
    found[found.clone()] = torch.from_numpy(area).bool().to(found.device)[v[found].long(), u[found].long()]
    return found


@torch.no_grad()
def similar(splats: Splats, point: Float[Tensor, "3"], color_distance: float, reach: float) -> Bool[Tensor, " N"]:
    """Gaussians of the colour at `point` that hang together with it.

    Args:
        point: on the surface meant, in the world; its colour is that of the Gaussian nearest to it.
        color_distance: largest difference of a channel, in [0, 1].
        reach: how far from `point`, world units.
    """
    means = splats.means.cpu()
    distance = torch.linalg.vector_norm(means - point.to(means), dim=1)
    if not len(means):
        return distance < 0
    seed = int(distance.argmin())
    rgb = splats.rgb.cpu()
    like = ((rgb - rgb[seed]).abs().amax(1) <= color_distance) & (distance <= max(reach, float(distance[seed])))
    rows = torch.nonzero(like)[:, 0].numpy()
    together = _piece(means[rows].double().numpy(), int(np.searchsorted(rows, seed)))
    found = torch.zeros(len(means), dtype=torch.bool)
    found[rows[together]] = True
    return found


def _piece(xyz: Float[np.ndarray, "P 3"], seed: int) -> Bool[np.ndarray, " P"]:
    """The points that are linked to point `seed` through near neighbours."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if len(xyz) < 3:
        return np.ones(len(xyz), dtype=bool)
    distance, neighbour = cKDTree(xyz).query(xyz, k=min(NEIGHBOURS + 1, len(xyz)))
    distance, neighbour = distance[:, 1:], neighbour[:, 1:]
    near = distance <= LINK * max(float(np.median(distance[:, 0])), 1e-12)
    row = np.broadcast_to(np.arange(len(xyz))[:, None], neighbour.shape)[near]
    links = coo_array((np.ones(len(row)), (row, neighbour[near])), shape=(len(xyz), len(xyz)))
    label = connected_components(links, directed=False)[1]
    return label == label[seed]
