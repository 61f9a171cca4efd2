"""Which pixels triangles cover: the one loop behind depth maps of meshes and the filling of textures."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

CANDIDATES = 1_500_000
"""Pixels of bounding boxes that are tested at once: bounds the memory."""


def cover(
    xy: Float[np.ndarray, "F 3 2"], width: int, height: int
) -> Iterator[tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"], Float[np.ndarray, "K 3"]]]:
    """Pixels whose centres lie in triangles, in portions.

    Args:
        xy: corners in pixels, the first centre at (0.5, 0.5), of either orientation.

    Yields:
        Pixel (row * width + column), triangle, and barycentric coordinates. Several triangles may cover a pixel.
    """
    low = np.ceil(xy.min(1) - 0.5).clip(0, None)
    high = np.floor(xy.max(1) - 0.5).clip(None, [width - 1, height - 1])
    extent = (high - low + 1).clip(0, None)
    counts = (extent[:, 0] * extent[:, 1]).astype(np.int64)
    present = np.flatnonzero(counts)
    ends = np.cumsum(counts[present])
    starts = np.searchsorted(ends, np.arange(0, ends[-1] if len(ends) else 0, CANDIDATES), side="left")
    for chosen in np.split(present, np.unique(starts)[1:]):
        yield _inside(xy, chosen, low[chosen].astype(np.int64), extent[chosen].astype(np.int64), counts[chosen], width)


def _inside(
    xy: np.ndarray, faces: np.ndarray, low: np.ndarray, extent: np.ndarray, counts: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pixels of the boxes of `faces`, less those outside the triangles."""
    owner = np.repeat(np.arange(len(faces)), counts)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    x = low[owner, 0] + step % extent[owner, 0]
    y = low[owner, 1] + step // extent[owner, 0]
    a, b, c = xy[faces].transpose(1, 0, 2).astype(np.float64)
    ab, ac = b - a, c - a
    twice_area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    scale = 1 / np.where(twice_area == 0, np.inf, twice_area)
    px, py = x + 0.5 - a[owner, 0], y + 0.5 - a[owner, 1]
    v = (px * ac[owner, 1] - py * ac[owner, 0]) * scale[owner]
    w = (py * ab[owner, 0] - px * ab[owner, 1]) * scale[owner]
    inside = (v >= 0) & (w >= 0) & (v + w <= 1) & (twice_area != 0)[owner]
    v, w = v[inside], w[inside]
    return (y * width + x)[inside], faces[owner[inside]], np.stack([1 - v - w, v, w], axis=1)


def depth_map(
    xy: Float[np.ndarray, "V 2"], z: Float[np.ndarray, " V"], faces: Int[np.ndarray, "F 3"], width: int, height: int
) -> Float[np.ndarray, "H W"]:
    """Depth of the nearest triangle at each pixel; infinite where there is none.

    Args:
        xy, z: vertices in pixels, and their depths. Triangles that reach behind the camera are left out.
    """
    inverse = np.zeros(width * height)
    front = faces[(z[faces] > 1e-6).all(1)]
    for pixel, face, weights in cover(xy[front], width, height):
        # 1 / z is linear on the screen
        np.maximum.at(inverse, pixel, (weights / z[front[face]]).sum(1))
    with np.errstate(divide="ignore"):
        return (1 / inverse).reshape(height, width)
