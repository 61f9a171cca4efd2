"""Depth and mask files: OpenEXR (read by its own package, an extra), NumPy arrays (`.npz` by the name `depth`), and
pictures."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon.data.arrays import read_array
from recon.data.decode import UnreadablePhotoError, decode_photo
from recon.errors import InputError, MissingDependencyError

ANY_SIDE = 1 << 20
MAX_MEGAPIXELS = 400.0
NOTHING_HIT = 1e8
"""Blender writes 1e10 where a ray meets nothing; no scene here is that deep in its own units."""
MILLIMETRE = 1e-3
"""nerfstudio's depth PNGs hold millimetres (its `depth_unit_scale_factor`)."""
CHANNELS = ("Z", "V", "Depth", "Y", "R", "RGBA", "RGB")
"""Where a renderer puts a single value, in the order of search; the first of several components is taken."""


def read_depth(path: Path) -> Float[Tensor, "H W"]:
    """Depth along the optical axis in world units, 0 where unknown: PNG in millimetres, others as they are.

    Raises:
        InputError: missing, damaged, or not one value a pixel.
        MissingDependencyError: an `.exr`, and the package OpenEXR is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == ".exr":
        values = read_exr(path)
    elif suffix in (".npy", ".npz"):
        values = read_array(path, "depth").astype(np.float32)
    else:
        values = _read_png16(path) * MILLIMETRE
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"{path} must hold one number a pixel, found shape {list(values.shape)}.")
    known = np.isfinite(values) & (values > 0) & (values < NOTHING_HIT)
    return torch.from_numpy(np.where(known, values, 0).astype(np.float32))


def read_mask(path: Path) -> Float[Tensor, "H W"]:
    """A mask in [0, 1] from an `.exr` or any picture; labels 0 and 1 are taken for black and white.

    Raises:
        InputError: missing or damaged.
        MissingDependencyError: as `read_depth`.
    """
    if path.suffix.lower() == ".exr":
        return torch.from_numpy(np.nan_to_num(read_exr(path)).astype(np.float32)).clamp(0, 1)
    try:
        picture = decode_photo(path, ANY_SIDE, MAX_MEGAPIXELS)
    except UnreadablePhotoError as error:
        raise InputError(f"Mask {path} cannot be used: {error}.") from error
    mask = picture.alpha if picture.alpha is not None else picture.rgb.mean(dim=2)
    largest = float(mask.max())
    return mask / largest if 0 < largest < 1.5 / 255 else mask


def read_exr(path: Path) -> np.ndarray:
    """[H, W] float: the depth-like channel of an OpenEXR file, else the first component of its colour.

    Raises:
        InputError: missing or damaged.
        MissingDependencyError: the package OpenEXR is not installed.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading {path.name} needs the OpenEXR package, which is not installed. Run: pip install OpenEXR"
        ) from error
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the path.")
    try:
        with OpenEXR.File(str(path)) as file:
            channels = {name: np.asarray(channel.pixels) for name, channel in file.channels().items()}
    except Exception as error:  # its C++ errors arrive as RuntimeError, ValueError, OSError ...
        raise InputError(f"{path} is not a readable OpenEXR file ({error}). Make or download it again.") from error
    pixels = next((channels[name] for name in CHANNELS if name in channels), next(iter(channels.values()), None))
    if pixels is None or pixels.size == 0:
        raise InputError(f"{path} holds no picture. Make or download it again.")
    return (pixels if pixels.ndim == 2 else pixels[..., 0]).astype(np.float32)


def _read_png16(path: Path) -> np.ndarray:
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise InputError(f"Could not read {path}. Make or download it again.")
    if values.dtype != np.uint16:
        raise InputError(f"{path} must be a 16-bit grey picture, found {values.dtype}.")
    return values.astype(np.float32)
