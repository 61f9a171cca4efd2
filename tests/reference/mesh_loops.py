"""The plainest way to say which pixels a triangle covers, and how deep it is there."""

import numpy as np


def covered(xy: np.ndarray, width: int, height: int) -> set[tuple[int, int]]:
    """(pixel, triangle) for all pixel centres in the triangles [F, 3, 2], edge by edge."""
    found = set()
    for face, corners in enumerate(xy):
        for y in range(height):
            for x in range(width):
                p = np.array([x + 0.5, y + 0.5])
                sides = [
                    np.cross(np.append(b - a, 0), np.append(p - a, 0))[2]
                    for a, b in zip(corners, np.roll(corners, -1, 0))
                ]
                if all(s > 0 for s in sides) or all(s < 0 for s in sides):
                    found.add((y * width + x, face))
    return found


def depth_of(corners: np.ndarray, K: np.ndarray, width: int, height: int) -> np.ndarray:
    """Depth [H, W] of one triangle in camera axes, by meeting each pixel's ray with its plane; infinite beside it."""
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    projected = corners @ K.T
    inside = covered((projected[:, :2] / projected[:, 2:])[None], width, height)
    out = np.full((height, width), np.inf)
    for pixel, _ in inside:
        y, x = divmod(pixel, width)
        ray = np.linalg.inv(K) @ np.array([x + 0.5, y + 0.5, 1.0])
        out[y, x] = corners[0] @ normal / (ray @ normal)
    return out
