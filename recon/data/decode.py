"""One file to one picture: any of the supported formats, colour modes and bit depths to upright sRGB floats.

The order keeps memory low for huge photos: JPEG decodes at reduced size, then the picture is shrunk, and only then
turned upright and colour-managed.
"""

import io
import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
import torch
from jaxtyping import Float
from PIL import Image, ImageCms
from torch import Tensor

from recon.data.exif import ORIENTATION, focal_px, lens_key, read_tags

logger = logging.getLogger(__name__)

pillow_heif.register_heif_opener()

OPAQUE = 254 / 255
"""Alpha from here up counts as opaque; resampling can leave a fully opaque channel a step short of 1."""
DRAFT_MARGIN = 2
"""JPEG is decoded at no less than this multiple of the wanted size, so that the last shrink filters properly."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_size_limit_lock = threading.Lock()


class UnreadablePhotoError(Exception):
    """A file cannot be used; the text completes `Left out x.jpg: ...`."""


@dataclass(frozen=True)
class Photo:
    """One decoded file."""

    rgb: Float[Tensor, "H W 3"]
    """sRGB in [0, 1], upright; composited on white where transparent."""
    alpha: Float[Tensor, "H W"] | None
    """In [0, 1]; None when the file has no transparency or is opaque throughout."""
    focal_px: float
    """From EXIF, in pixels of `rgb`; NaN where unknown."""
    lens: tuple[str, ...]
    """Equal for photos of one lens at one zoom; `()` where unknown."""
    file_size: tuple[int, int]
    """Width and height of the upright picture in the file, before shrinking."""


def decode_photo(path: Path, max_side: int, max_megapixels: float) -> Photo:
    """Read `path`, upright, in sRGB, its longest side at most `max_side` pixels.

    Raises:
        UnreadablePhotoError: truncated, damaged, not a picture, too large, or in a colour mode without a meaning here.
    """
    try:
        with _quiet(), _any_size(), path.open("rb") as stream, Image.open(stream) as image:
            return _decode(image, max_side, max_megapixels)
    except UnreadablePhotoError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UnreadablePhotoError("not a picture, or damaged at its start; copy it again from the camera") from error
    except MemoryError as error:
        raise UnreadablePhotoError("not enough memory to decode it; shrink it first") from error
    except Exception as error:  # Pillow's and libheif's parsers raise errors of many kinds on damaged files
        raise UnreadablePhotoError(f"damaged or truncated ({_first_line(error)}); copy it again") from error


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of the picture in `path`, upright, from its header alone.

    Raises:
        UnreadablePhotoError: not a readable picture.
    """
    try:
        with _quiet(), _any_size(), path.open("rb") as stream, Image.open(stream) as image:
            width, height = image.size
            # Pillow already reports a TIFF's upright size; pillow-heif a HEIF's, and orientation 1.
            sideways = image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception as error:  # as in decode_photo
        raise UnreadablePhotoError(f"not a readable picture ({_first_line(error)})") from error
    return (height, width) if sideways else (width, height)


def orientation(path: Path) -> int:
    """The EXIF orientation by which `decode_photo` turns the picture in `path` upright; 1 where it does not turn it.

    HEIF has no say here: every program turns it by the file's own rotation, which is no EXIF.

    Raises:
        UnreadablePhotoError: not a readable picture.
    """
    try:
        with _quiet(), _any_size(), path.open("rb") as stream, Image.open(stream) as image:
            found = image.getexif().get(ORIENTATION, 1)
    except Exception as error:  # as in decode_photo
        raise UnreadablePhotoError(f"not a readable picture ({_first_line(error)})") from error
    return int(found) if found in _UPRIGHT else 1


def shrunk_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """The size that fits `max_side` with the same aspect; never larger than given, never 0."""
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _decode(image: Image.Image, max_side: int, max_megapixels: float) -> Photo:
    stored = image.size
    megapixels = stored[0] * stored[1] / 1e6
    if megapixels > max_megapixels:
        raise UnreadablePhotoError(
            f"it has {stored[0]} x {stored[1]} pixels ({megapixels:.0f} megapixels, the limit is "
            f"{max_megapixels:.0f}); shrink it first"
        )
    small = shrunk_size(*stored, max_side)
    if image.format in ("JPEG", "MPO"):  # HEIF would draft its embedded thumbnail, which an editor may have left stale
        image.draft(None, (DRAFT_MARGIN * small[0], DRAFT_MARGIN * small[1]))
    image.load()
    exif = image.getexif()
    tags = read_tags(exif)
    # Pillow's TIFF and pillow-heif turn the picture themselves while loading, and then say orientation 1.
    turn = _UPRIGHT.get(exif.get(ORIENTATION, 1))
    picture = _simple_mode(image)
    if picture.size != small:
        picture = picture.resize(small, Image.Resampling.LANCZOS)
    color, alpha = _split_alpha(picture)
    rgb = _to_srgb(color, image.info.get("icc_profile"))
    if turn is not None:
        rgb, alpha = rgb.transpose(turn), None if alpha is None else alpha.transpose(turn)
    return _finish(rgb, alpha, focal_px(tags, *stored), lens_key(tags), stored)


def _finish(
    rgb: Image.Image,
    alpha: Image.Image | None,
    focal_stored_px: float,
    lens: tuple[str, ...],
    stored: tuple[int, int],
) -> Photo:
    colors = torch.from_numpy(np.array(rgb, dtype=np.float32))
    if colors.ndim == 2:
        colors = colors[..., None].expand(-1, -1, 3)
    colors = (colors / 255).clamp(0, 1).contiguous()
    height, width = colors.shape[:2]
    mask = None if alpha is None else torch.from_numpy(np.array(alpha, dtype=np.float32) / 255)
    if mask is not None and float(mask.max()) == 0:
        raise UnreadablePhotoError("it is transparent everywhere")
    if mask is not None and float(mask.min()) >= OPAQUE:
        mask = None
    if mask is not None:
        colors = colors * mask[..., None] + (1 - mask[..., None])
    sideways = (width > height) != (stored[0] > stored[1])
    file_size = (stored[1], stored[0]) if sideways else stored
    scale = max(width, height) / max(stored)
    return Photo(colors, mask, focal_stored_px * scale if math.isfinite(focal_stored_px) else math.nan, lens, file_size)


def _simple_mode(image: Image.Image) -> Image.Image:
    """One of L, LA, RGB, RGBA, CMYK or F (0 to 255): modes that can be resampled."""
    if image.mode in ("1", "P", "PA", "L", "RGB") and ("transparency" in image.info or image.mode == "PA"):
        return image.convert("RGBA")
    if image.mode == "P":
        return image.convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_high_depth(np.asarray(image)))
    if image.mode == "La":
        return image.convert("LA")
    if image.mode == "RGBa":
        return image.convert("RGBA")
    if image.mode in ("RGBX", "YCbCr", "HSV"):
        return image.convert("RGB")
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        raise UnreadablePhotoError(f"colour mode {image.mode} is not supported; save it as RGB")
    return image


def _high_depth(values: np.ndarray) -> np.ndarray:
    """16-bit integers, or floats whose range tells their scale (1, 255 or 65535), as floats from 0 to 255."""
    largest = float(values.max())
    if not (np.isfinite(values).all() and values.min() >= 0 and largest <= 65535):
        raise UnreadablePhotoError("its values are outside 16 bits; save it as 8- or 16-bit RGB")
    is_float = values.dtype.kind == "f"
    white = 1.0 if is_float and largest <= 1 else 255.0 if is_float and largest <= 255 else 65535.0
    return values.astype(np.float32) * np.float32(255.0 / white)


def _split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    if picture.mode not in ("LA", "RGBA"):
        return picture, None
    return picture.convert(picture.mode[:-1]), picture.getchannel("A")


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Colour-manage by the embedded profile; without a usable one, take the values as sRGB."""
    if profile and picture.mode in ("L", "RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" in (ImageCms.getProfileDescription(source) or "").lower() and picture.mode == "RGB":
                return picture
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            logger.info("ignored an unusable colour profile: %s", error)
    return picture if picture.mode in ("RGB", "F") else picture.convert("RGB")


@contextmanager
def _any_size() -> Iterator[None]:
    """Lift Pillow's own pixel limit, which is global and below today's phone panoramas; `_decode` has its own."""
    with _size_limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about every odd tag; what matters is whether the picture can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text or type(error).__name__
