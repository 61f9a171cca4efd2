"""What EXIF says about the lens: a focal length in pixels and an identity to group photos by."""

import math
from typing import Any

from PIL import Image

EXIF_IFD = 0x8769
MAKE, MODEL, ORIENTATION = 0x010F, 0x0110, 0x0112
FOCAL_MM, FOCAL_35MM, LENS_MODEL = 0x920A, 0xA405, 0xA434
FOCAL_PLANE_X_RESOLUTION, FOCAL_PLANE_UNIT = 0xA20E, 0xA210
PIXEL_X, PIXEL_Y = 0xA002, 0xA003
MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF 2.3, FocalPlaneResolutionUnit, with TIFF/EP's 4 and 5

DIAGONAL_35MM = math.hypot(36.0, 24.0)
FOCAL_RANGE = (0.3, 10.0)
"""Believable focal lengths in multiples of the longest side: a 12 mm to a 400 mm lens on 35 mm film, with slack."""
AGREEMENT = 0.15
"""Relative difference up to which the sensor's resolution and the 35 mm equivalent confirm each other."""
SAME_SHAPE = 0.02
"""Relative difference in aspect above which a photo must have been cropped since it was taken."""

Tags = dict[int, Any]


def read_tags(exif: Image.Exif) -> Tags:
    """The main and the photo directory as one dictionary; a damaged one is as good as none."""
    tags: Tags = {}
    try:
        tags.update(exif)
        tags.update(exif.get_ifd(EXIF_IFD))
    except Exception:  # Pillow parses vendors' malformed directories lazily, in many ways to fail
        pass
    return tags


def lens_key(tags: Tags) -> tuple[str, ...]:
    """Photos taken with the same lens at the same zoom have equal keys; `()` without EXIF."""
    keys = [str(tags.get(tag, "")).strip("\0 ") for tag in (MAKE, MODEL, LENS_MODEL)]
    keys += [f"{value:g}" if value else "" for value in (_number(tags, FOCAL_MM), _number(tags, FOCAL_35MM))]
    return tuple(keys) if any(keys) else ()


def focal_px(tags: Tags, width: int, height: int) -> float:
    """Focal length in pixels of the file as stored (`width` by `height`, before any rotation), or NaN.

    The resolution of the focal plane is exact where a camera gives it rightly; the 35 mm equivalent is a whole number
    of millimetres and rarely wrong. So the first is used where the second does not contradict it.
    """
    if _was_cropped(tags, width, height):
        return math.nan
    longest = max(width, height)
    candidates = [_from_focal_plane(tags, longest), _from_35mm(tags, width, height)]
    low, high = (bound * longest for bound in FOCAL_RANGE)
    plane, film = (value if low <= value <= high else math.nan for value in candidates)
    if math.isnan(plane) or math.isnan(film):
        return film if math.isnan(plane) else plane
    return plane if abs(plane - film) <= AGREEMENT * film else film


def _from_35mm(tags: Tags, width: int, height: int) -> float:
    """CIPA DCG-001: the 35 mm equivalent compares diagonals, so orientation and aspect do not matter."""
    film_mm = _number(tags, FOCAL_35MM)
    return film_mm / DIAGONAL_35MM * math.hypot(width, height) if film_mm else math.nan


def _from_focal_plane(tags: Tags, longest: int) -> float:
    """The resolution counts pixels as taken; EXIF keeps that size when a photo is shrunk."""
    focal_mm, resolution = _number(tags, FOCAL_MM), _number(tags, FOCAL_PLANE_X_RESOLUTION)
    unit_mm = MM_PER_UNIT.get(int(_number(tags, FOCAL_PLANE_UNIT) or 2))
    if not (focal_mm and resolution and unit_mm):
        return math.nan
    taken = max(_number(tags, PIXEL_X), _number(tags, PIXEL_Y)) or longest
    return focal_mm * resolution / unit_mm * longest / taken


def _was_cropped(tags: Tags, width: int, height: int) -> bool:
    taken_x, taken_y = _number(tags, PIXEL_X), _number(tags, PIXEL_Y)
    if not (taken_x and taken_y):
        return False
    taken, now = (max(a, b) / min(a, b) for a, b in ((taken_x, taken_y), (width, height)))
    return abs(taken - now) > SAME_SHAPE * taken


def _number(tags: Tags, tag: int) -> float:
    """A positive finite number, or 0 for anything else."""
    value = tags.get(tag)
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0
