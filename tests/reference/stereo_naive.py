"""The matching cost of the stereo kernel, one pixel and one sample at a time, in double precision."""

import math

import numpy as np


def window_offsets() -> list[tuple[int, int]]:
    """A checkerboard inside a disc of radius sqrt(18)."""
    reach = range(-4, 5)
    return [(dx, dy) for dy in reach for dx in reach if (dx + dy) % 2 == 0 and dx * dx + dy * dy <= 18]


def bilinear(grey: np.ndarray, x: float, y: float) -> float:
    """Grey level at index coordinates, edges repeated."""
    height, width = grey.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    ix, iy = int(x), int(y)
    jx, jy = min(ix + 1, width - 1), min(iy + 1, height - 1)
    fx, fy = x - ix, y - iy
    top = (1 - fx) * grey[iy, ix] + fx * grey[iy, jx]
    bottom = (1 - fx) * grey[jy, ix] + fx * grey[jy, jx]
    return (1 - fy) * top + fy * bottom


def cost(
    reference: np.ndarray,
    other: np.ndarray,
    M: np.ndarray,
    m: np.ndarray,
    x: int,
    y: int,
    plane: tuple[float, float, float],
    noise: float,
) -> float:
    """1 - NCC of the window around pixel (x, y) under the plane (w, a, b); 2 where the other photo cannot see it
    or has it within a pixel of its border."""
    height, width = reference.shape
    w, a, b = plane
    centre = M @ [x + 0.5, y + 0.5, 1.0] + m * w
    if centre[2] <= 1e-6:
        return 2.0
    u, v = centre[:2] / centre[2]
    if not (1 <= u <= other.shape[1] - 1 and 1 <= v <= other.shape[0] - 1):
        return 2.0
    weights, left, right = [], [], []
    for dx, dy in window_offsets():
        if not (0 <= x + dx < width and 0 <= y + dy < height):
            continue
        difference = float(reference[y + dy, x + dx]) - float(reference[y, x])
        spatial = math.exp(-(dx * dx + dy * dy) / 32.0)
        weights.append(spatial / (1 + (difference / 25.0) ** 2) ** 2)
        left.append(float(reference[y + dy, x + dx]))
        at = M @ [x + dx + 0.5, y + dy + 0.5, 1.0] + m * (w + a * dx + b * dy)
        right.append(bilinear(other, at[0] / at[2] - 0.5, at[1] / at[2] - 0.5))
    total = sum(weights)
    mean_left = sum(k * p for k, p in zip(weights, left)) / total
    mean_right = sum(k * q for k, q in zip(weights, right)) / total
    var_left = sum(k * (p - mean_left) ** 2 for k, p in zip(weights, left)) / total
    var_right = sum(k * (q - mean_right) ** 2 for k, q in zip(weights, right)) / total
    both = sum(k * (p - mean_left) * (q - mean_right) for k, p, q in zip(weights, left, right)) / total
    ncc = (both + noise) / math.sqrt((var_left + noise) * (var_right + noise))
    return min(max(1 - ncc, 0.0), 2.0)
