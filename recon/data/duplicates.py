"""The same photo twice: byte for byte, or saved again at another quality, size or format.

A copy adds nothing to a reconstruction and misleads it: two cameras at one place look like a perfect pair.
"""

import hashlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from torch import Tensor

THUMBNAIL = 64
SAME_PICTURE = 8 / 255
"""Largest colour difference, at the 99th percentile of thumbnail pixels, between copies of one photo.

Measured on eleven sets: copies (JPEG quality 40 to 95, WebP, HEIC) of photos of 500 px and more differ by 0.3 to 5.1
steps of 1/255; the closest two different photos (turntables on white and video frames included) by 45 or more.
"""
SAME_ASPECT = 0.01


def content_hash(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def thumbnail(rgb: Float[Tensor, "H W 3"]) -> Float[np.ndarray, "64 64 3"]:
    """Block means: what re-encoding and resizing leave unchanged."""
    return cv2.resize(rgb.numpy(), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)


def difference(a: Float[np.ndarray, "64 64 3"], b: Float[np.ndarray, "64 64 3"]) -> float:
    """99th percentile of the absolute difference, in [0, 1]."""
    return float(np.percentile(np.abs(a - b), 99))


def same_picture(
    a: Float[Tensor, "Ha Wa 3"],
    b: Float[Tensor, "Hb Wb 3"],
    thumbnail_a: Float[np.ndarray, "64 64 3"],
    thumbnail_b: Float[np.ndarray, "64 64 3"],
) -> bool:
    """Whether two pictures show the same photo."""
    aspect_a, aspect_b = (x.shape[1] / x.shape[0] for x in (a, b))
    return abs(aspect_a / aspect_b - 1) < SAME_ASPECT and difference(thumbnail_a, thumbnail_b) < SAME_PICTURE
