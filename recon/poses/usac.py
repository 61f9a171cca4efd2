"""OpenCV's MAGSAC++ (Barath et al., CVPR 2020), with "none" for an answer.

OpenCV 5.0 ends some hopeless sets with an assertion of its own instead of saying that there is no model.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def fundamental(
    a: NDArray, b: NDArray, threshold_px: float, confidence: float, iterations: int
) -> tuple[NDArray | None, int]:
    """(F with b^T F a = 0, its inliers) of matched pixels [N, 2]; (None, 0) where there is none."""
    try:
        F, mask = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, threshold_px, confidence, iterations)
    except cv2.error:
        return None, 0
    return _model(F, mask)


def homography(
    a: NDArray, b: NDArray, threshold_px: float, confidence: float, iterations: int
) -> tuple[NDArray | None, int]:
    """(H with b ~ H a, its inliers) of matched pixels [N, 2]; (None, 0) where there is none."""
    try:
        H, mask = cv2.findHomography(a, b, cv2.USAC_MAGSAC, threshold_px, maxIters=iterations, confidence=confidence)
    except cv2.error:
        return None, 0
    return _model(H, mask)


def _model(model: NDArray | None, mask: NDArray | None) -> tuple[NDArray | None, int]:
    if model is None or mask is None or np.shape(model) != (3, 3):
        return None, 0
    return model, int(mask.sum())
