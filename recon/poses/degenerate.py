"""Pairs of photos that carry no depth: taken from one spot, or as good as."""

import cv2
import numpy as np
from numpy.typing import NDArray

from recon.poses.features import Pair
from recon.poses.matches import Tracks, Verified

MAX_TURN_ERROR_PX = 1.0
"""Median distance, in working pixels, between a homography and the closest turn of a camera. Homographies of hundreds
of matches are known to a few tenths."""
FOCALS = np.geomspace(0.4, 4.0, 33)
"""Longest sides: the lenses with which a homography is tried as a turn."""
PLANAR, PANORAMIC, PLANAR_OR_PANORAMIC = 4, 5, 6
"""COLMAP's two-view classes in which a homography explains the matches. It tells them apart with a guessed lens."""


def is_turn(pair: Pair, tracks: Tracks, verified: Verified, sizes: NDArray, focal_px: NDArray | None = None) -> bool:
    """Whether a camera that only turned explains the pair's matches (Hartley & Zisserman 8.4.2: H ~ K R K^-1).

    Args:
        sizes: [V, 2] width and height in working pixels.
        focal_px: [V] where lenses are known; otherwise any lens that explains them counts.
    """
    if verified.kind[pair] not in (PLANAR, PANORAMIC, PLANAR_OR_PANORAMIC) or not len(verified.inliers[pair]):
        return False
    H = verified.homography[pair]
    if not np.isfinite(H).all():
        return False
    uv = tracks.keypoints[pair[0]][verified.inliers[pair][:, 0]]
    longest = sizes[list(pair)].max(axis=1)

    def error(focal: NDArray) -> float:
        return _turn_error(H, uv, pair, sizes, focal)

    if focal_px is not None:
        return error(focal_px[list(pair)]) < MAX_TURN_ERROR_PX
    best = min(FOCALS, key=lambda f: error(f * longest))
    step = FOCALS[1] / FOCALS[0]
    return min(error(best * step**k * longest) for k in np.linspace(-1, 1, 41)) < MAX_TURN_ERROR_PX


def _turn_error(H: NDArray, uv: NDArray, pair: Pair, sizes: NDArray, focal: NDArray) -> float:
    """Median distance in pixels between where H and the turn closest to it send the points."""
    K_i, K_j = (np.array([[f, 0, sizes[v][0] / 2], [0, f, sizes[v][1] / 2], [0, 0, 1]]) for v, f in zip(pair, focal))
    M = np.linalg.inv(K_j) @ H @ K_i
    U, _, Vt = np.linalg.svd(M * np.sign(np.linalg.det(M)))
    R = U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt
    turned, observed = (cv2.perspectiveTransform(uv[None], G)[0] for G in (K_j @ R @ np.linalg.inv(K_i), H))
    return float(np.median(np.linalg.norm(turned - observed, axis=1)))
