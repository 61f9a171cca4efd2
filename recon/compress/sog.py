"""Splats as SOG, PlayCanvas' format for the web: a zip of images without loss, one pixel a Gaussian, and meta.json.

`means_l` and `means_u` hold the low and the high bytes of the positions, `scales` and `sh0` indices into codebooks of
256 numbers (alpha of `sh0`: the opacity), `quats` the rotation, its alpha 252 and the index of the largest component,
`shN_labels` indices (red low, green high) into the palette `shN_centroids`, 64 entries a row.

Version 2 of developer.playcanvas.com/user-manual/gaussian-splatting/formats/sog; meta.json's `mins` and `maxs` are
those of the transformed coordinates (`recon.compress.codes.to_log`).
"""

import io
import json
import math
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from recon.compress.codes import Codes, QuantiseConfig, dequantise, quantise
from recon.compress.order import canonical, curve_order
from recon.compress.packing import check_count, damaged, read_bytes
from recon.errors import InputError
from recon.files import atomic_path
from recon.types import Splats

VERSION = 2
COEFFICIENTS = (0, 3, 8, 15)
PALETTE_WIDTH = 64
TOP = 65535
TAG = 252
MAX_META_BYTES = 1 << 20
MAX_IMAGE_PIXELS = 1 << 24
"""An image may have so many, or four for each Gaussian if that is more."""
BOOK = 256
IMAGES = ("WEBP", "PNG")
LARGEST_NUMBER = 41.0
"""Of meta.json's tables: they are logarithms or coefficients, and e^41 is where positions stop making sense."""
EFFORT = {"method": 4, "quality": 75}
"""Of libwebp's lossless mode: 100 takes 3 times as long for 0.5% less (measured on trained scenes)."""


def write_sog(path: Path | str, splats: Splats) -> None:
    """Write `splats` as SOG, atomically, as finely as the format can, sorted along a Hilbert curve.

    Errors, at most: positions half a step of 1/65535 of the extent of ln(1 + |x|); opacity 0.5/255; components of
    rotations 0.5/255 * sqrt(2). Scales and colours are the nearest of 256 numbers that k-means chose, harmonics the
    nearest of 4096 sets.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    splats = splats.detach().to("cpu")
    splats = canonical(splats)[curve_order(splats.means)]
    data = sog_bytes(quantise(splats, QuantiseConfig()))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_sog(path: Path | str) -> Splats:
    """Read a `.sog` file of version 2 written by any program.

    Raises:
        InputError: unreadable, damaged, truncated, or of another version.
    """
    return dequantise(Archive(Path(path), read_bytes(Path(path))).codes())


def sog_bytes(codes: Codes) -> bytes:
    """A SOG file of `codes`, in their order."""
    return zip_bytes(sog_members(codes))


def sog_members(codes: Codes) -> dict[str, bytes]:
    """What is in it, by name."""
    width, height = image_size(len(codes))
    images = {
        "means_l.webp": image_bytes(codes.positions & 255, width, height),
        "means_u.webp": image_bytes(codes.positions >> 8, width, height),
        "scales.webp": image_bytes(codes.scales, width, height),
        "quats.webp": image_bytes(torch.cat([codes.rotations, TAG + codes.largest[:, None]], 1), width, height),
        "sh0.webp": image_bytes(torch.cat([codes.colors, codes.opacities[:, None]], 1), width, height),
    }
    meta: dict[str, Any] = {
        "version": VERSION,
        "asset": {"generator": "recon"},
        "count": len(codes),
        "means": {
            "mins": codes.low.tolist(),
            "maxs": (codes.low + codes.step * TOP).tolist(),
            "files": ["means_l.webp", "means_u.webp"],
        },
        "scales": {"codebook": _padded(codes.scale_book), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": _padded(codes.color_book), "files": ["sh0.webp"]},
    }
    K = codes.palette.shape[1]
    if K:
        rows = -(-len(codes.palette) // PALETTE_WIDTH)
        images["shN_centroids.webp"] = image_bytes(codes.palette.reshape(-1, 3), PALETTE_WIDTH * K, rows)
        images["shN_labels.webp"] = image_bytes(torch.stack([codes.labels & 255, codes.labels >> 8], 1), width, height)
        meta["shN"] = {
            "count": len(codes.palette),
            "bands": COEFFICIENTS.index(K),
            "codebook": _padded(codes.coefficient_book),
            "files": ["shN_centroids.webp", "shN_labels.webp"],
        }
    return {"meta.json": json.dumps(meta, separators=(",", ":")).encode(), **images}


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """Dates and modes are fixed, so that the same splats give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            kind = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return buffer.getvalue()


def image_size(count: int) -> tuple[int, int]:
    """Width and height, multiples of 4, as other writers have them."""
    width = max(4, math.ceil(math.sqrt(count) / 4) * 4)
    return width, max(4, math.ceil(count / width / 4) * 4)


def image_bytes(values: Int[Tensor, "N D"], width: int, height: int) -> bytes:
    """Values as the pixels of a lossless WebP, row by row; missing channels are 0, missing alpha is 255."""
    channels = 4 if values.shape[1] == 4 else 3
    pixels = np.zeros((width * height, channels), np.uint8)
    pixels[: len(values), : values.shape[1]] = values.numpy()
    if channels == 4:
        pixels[len(values) :, 3] = BOOK - 1
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels.reshape(height, width, channels))
    picture.save(buffer, "WEBP", lossless=True, exact=True, **EFFORT)
    return buffer.getvalue()


def _padded(book: Tensor) -> list[float]:
    """256 numbers: the last one again and again."""
    return [round(float(v), 7) for v in torch.cat([book, book[-1:].expand(BOOK - len(book))])]


@dataclass(frozen=True)
class Archive:
    """The files in a SOG file."""

    path: Path
    data: bytes

    def file(self, name: Any, limit: int) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(self.data)) as archive, archive.open(str(name)) as stream:
                found = stream.read(limit + 1)
        except (Exception, RecursionError, MemoryError) as error:  # a damaged zip can trip any line of the reader
            raise damaged(self.path, f"{name} cannot be unpacked") from error
        if len(found) > limit:
            raise damaged(self.path, f"{name} unpacks to more than {limit} bytes")
        return found

    def meta(self) -> dict[str, Any]:
        if self.data[:2] != b"PK":
            raise InputError(f"{self.path} is not a SOG file. Give a .sog, .spz, .splat or .ply file of splats.")
        meta = self.json("meta.json")
        if meta.get("version") != VERSION:
            version = meta.get("version", 1)
            raise InputError(f"{self.path} is SOG of version {version}; version 2 is read. Save it as that.")
        return meta

    def codes(self) -> Codes:
        """What the images and meta.json hold."""
        meta = self.meta()
        try:
            return _codes(self, meta)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise damaged(self.path, f"its meta.json lacks something or is wrong ({error})") from error

    def json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self.file(name, MAX_META_BYTES))
        except (ValueError, RecursionError) as error:
            raise damaged(self.path, f"its {name} is not JSON") from error
        if not isinstance(found, dict):
            raise damaged(self.path, f"its {name} is not an object")
        return found

    def pixels(self, name: Any, count: int) -> Int[Tensor, "P 4"]:
        """All pixels of an image, row by row, as RGBA; at least `count`."""
        data = self.file(name, 8 * len(self.data) + (1 << 20))
        limit = max(MAX_IMAGE_PIXELS, 4 * count)
        try:
            # Sizes are judged here, before pixels are unpacked.
            with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=IMAGES) as picture:
                if not count <= picture.width * picture.height <= limit:
                    raise damaged(self.path, f"{name} is {picture.width} by {picture.height} for {count} Gaussians")
                rgba = np.asarray(picture.convert("RGBA")).reshape(-1, 4)
        except InputError:
            raise
        except (Exception, MemoryError) as error:  # a damaged picture can trip any line of the decoder
            raise damaged(self.path, f"{name} cannot be read as a picture") from error
        return torch.from_numpy(rgba.astype(np.int64))


def _codes(archive: Archive, meta: dict[str, Any]) -> Codes:
    count = meta["count"]
    if not isinstance(count, int):
        raise damaged(archive.path, f"it says it holds {count!r} Gaussians")
    check_count(archive.path, count, len(archive.data))

    def image(name: str, index: int = 0) -> Int[Tensor, "N 4"]:
        return archive.pixels(meta[name]["files"][index], count)[:count]

    low, high = (_numbers(archive.path, meta["means"][key], 3) for key in ("mins", "maxs"))
    quats, sh0 = image("quats"), image("sh0")
    labels, palette, book = (
        torch.zeros(count, dtype=torch.int64),
        torch.zeros(1, 0, 3, dtype=torch.int64),
        torch.zeros(1),
    )
    if meta.get("shN"):
        labels, palette, book = _read_palette(archive, meta["shN"], image("shN", 1))
    largest = quats[:, 3] - TAG
    valid = (largest >= 0)[:, None]  # others write what is no rotation so
    return Codes(
        positions=image("means")[:, :3] + 256 * image("means", 1)[:, :3],
        unit=torch.ones(3, dtype=torch.int64),
        low=low,
        step=(high - low) / TOP,
        largest=largest.clamp_min(0),
        rotations=torch.where(valid, quats[:, :3], 127),
        opacities=sh0[:, 3],
        scales=image("scales")[:, :3],
        scale_book=_numbers(archive.path, meta["scales"]["codebook"], BOOK).float(),
        colors=sh0[:, :3],
        color_book=_numbers(archive.path, meta["sh0"]["codebook"], BOOK).float(),
        labels=labels,
        palette=palette,
        coefficient_book=book,
    )


def _read_palette(archive: Archive, meta: dict[str, Any], labels: Int[Tensor, "N 4"]) -> tuple[Tensor, Tensor, Tensor]:
    K, count = COEFFICIENTS[meta["bands"]], meta["count"]
    if not isinstance(count, int) or not 0 < count <= TOP + 1 or meta["bands"] < 1:
        raise damaged(archive.path, f"its palette has {count!r} entries")
    entries = archive.pixels(meta["files"][0], count * K)[: count * K, :3].reshape(count, K, 3)
    index = labels[:, 0] + 256 * labels[:, 1]
    if bool((index >= count).any()):
        raise damaged(archive.path, f"it refers to entries beyond the {count} of its palette")
    return index, entries, _numbers(archive.path, meta["codebook"], BOOK).float()


def _numbers(path: Path, values: Any, count: int) -> Tensor:
    """A list of finite numbers; a shorter codebook is continued with its last."""
    numbers = torch.tensor([float(v) for v in values], dtype=torch.float64)
    if len(numbers) == 0 or (count == 3 and len(numbers) != 3) or len(numbers) > BOOK:
        raise damaged(path, f"a table in its meta.json has {len(numbers)} numbers")
    if not bool((numbers.abs() < LARGEST_NUMBER).all()):
        raise damaged(path, "the numbers in its meta.json make no sense")
    return torch.cat([numbers, numbers[-1:].expand(count - len(numbers))])
