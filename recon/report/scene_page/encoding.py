"""Splats in few bytes that JavaScript unpacks in one pass: small whole numbers, in planes of bytes, gzipped.

Gaussians are put into Morton order, so that neighbours in the file are neighbours in space, and cut into chunks of
`CHUNK`. Every stored number is at most half a step off:

| value       | stored as                                                    | half a step                             |
|-------------|--------------------------------------------------------------|-----------------------------------------|
| position    | 12 bits an axis, within the box of its chunk                 | the box's side / 8190                   |
| sigma       | 8 bits of its logarithm, over the file's range               | at most 3.2 % (range / 510)             |
| orientation | three smallest components of the quaternion in 9 bits each   | 0.0014 a component, below 0.6 degrees   |
| colour      | 8 bits over [-0.25, 1.25], what lies beyond is clipped       | 0.003                                   |
| opacity     | 8 bits                                                       | 0.002                                   |
| SH          | 8 bits, steps of 1/64, clipped at 127/64                     | 0.008 a coefficient                     |

Left out are Gaussians that no picture shows: with an opacity below 1/255, or with a value that is not finite. Sigmas
are clipped to [1e-4, 1e3]: the scene is expected in units in which what the cameras look at is about 10 away.

The payload is, for N Gaussians in ceil(N / CHUNK) chunks: the chunks' boxes (float32: 3 lower corner, 3 size), then
planes of N bytes: x, y, z, each as low byte and high nibble; 3 log sigmas; 3 low bytes of the quaternion's small
components and one plane of the index of its largest (bits 0-1) and the three ninth bits (2-4); G, R-G, B-G; opacity;
then G, R-G, B-G of each SH coefficient. Differences are modulo 256.
"""

import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from recon.errors import InputError
from recon.types import SH_C0, Splats

CHUNK = 256
POSITION_LEVELS = 4095
QUAT_LEVELS = 511
SMALLEST_ALPHA = 1.0 / 255.0
"""What the rasterizers, too, take for nothing."""
SIGMA_RANGE = (1e-4, 1e3)
COLOR_LOW, COLOR_RANGE = -0.25, 1.5
SH_STEPS = 64  # in a coefficient of 1

Planes = list[UInt8[np.ndarray, " N"]]


@dataclass(frozen=True)
class Packed:
    """Encoded splats."""

    header: dict[str, Any]
    """What the page's script needs to undo it: plain JSON values."""
    payload: bytes
    """Gzipped planes."""


def pack(splats: Splats) -> Packed:
    """Encode `splats`, which are in the page's units.

    Raises:
        InputError: there is nothing to see in them.
    """
    arrays = {name: value.numpy(force=True).astype(np.float64) for name, value in splats.tensors().items()}
    seen = _visible(arrays)
    if not seen.any():
        raise InputError(f"None of the {len(splats)} Gaussians can be seen: all are transparent or not finite.")
    arrays = {name: value[seen] for name, value in arrays.items()}
    order = _morton_order(arrays["means"])
    arrays = {name: value[order] for name, value in arrays.items()}
    boxes, planes = _pack_means(arrays["means"])
    sigma_low, sigma_step, sigmas = _pack_sigmas(arrays["log_scales"])
    planes += sigmas + _pack_quats(arrays["quats"])
    planes += _decorrelated(_levels(arrays["sh0"][:, 0] * SH_C0 + 0.5, COLOR_LOW, COLOR_RANGE, 255))
    planes += [_levels(_sigmoid(arrays["logit_opacities"]), 0.0, 1.0, 255)]
    for k in range(arrays["shN"].shape[1]):
        steps = np.rint(arrays["shN"][:, k] * SH_STEPS).clip(-127, 127)
        planes += _decorrelated(steps.astype(np.int8).view(np.uint8))
    header = {
        "count": len(order),
        "chunk": CHUNK,
        "degree": splats.sh_degree,
        "logSigma": [sigma_low, sigma_step],
        "color": [COLOR_LOW, COLOR_RANGE],
    }
    raw = boxes.astype("<f4").tobytes() + b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes)
    return Packed(header, gzip.compress(raw, 9, mtime=0))


def _visible(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Which Gaussians are finite and not transparent. A scale of 0 (minus infinity, stored) is a fine disc or point."""
    seen = (arrays["quats"] != 0).any(axis=1) & (_sigmoid(arrays["logit_opacities"]) >= SMALLEST_ALPHA)
    for name in ("means", "quats", "sh0", "shN"):
        seen &= np.isfinite(arrays[name].reshape(len(seen), -1)).all(axis=1)
    return seen & (arrays["log_scales"] < np.inf).all(axis=1)


def _sigmoid(x: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _morton_order(means: Float[np.ndarray, "N 3"]) -> Int[np.ndarray, " N"]:
    """Along a Z-curve through a grid of 2^21 cells a side: bits of x, y and z in turn."""
    low = means.min(axis=0)
    side = max(float((means.max(axis=0) - low).max()), 1e-30)
    cells = ((means - low) / side * (2**21 - 1)).astype(np.uint64)
    code = sum(_every_third_bit(cells[:, axis]) << np.uint64(axis) for axis in range(3))
    return np.argsort(code, kind="stable")


def _every_third_bit(x: np.ndarray) -> np.ndarray:
    """Bit i of the 21 moved to bit 3 i: halves of ever smaller groups of bits are moved apart."""
    steps = (
        (32, 0x001F00000000FFFF),
        (16, 0x001F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    )
    for shift, mask in steps:
        x = (x | (x << np.uint64(shift))) & np.uint64(mask)
    return x


def _pack_means(means: Float[np.ndarray, "N 3"]) -> tuple[Float[np.ndarray, "C 6"], Planes]:
    starts = np.arange(0, len(means), CHUNK)
    low = np.minimum.reduceat(means, starts).astype(np.float32)
    size = np.maximum.reduceat(means - np.repeat(low, CHUNK, axis=0)[: len(means)], starts).astype(np.float32)
    of_each = np.arange(len(means)) // CHUNK
    share = (means - low[of_each]) / np.maximum(size[of_each], 1e-30)
    levels = np.rint(share * POSITION_LEVELS).clip(0, POSITION_LEVELS).astype(np.uint16)
    planes = [part.astype(np.uint8) for axis in levels.T for part in (axis & 255, axis >> 8)]
    return np.concatenate([low, size], axis=1), planes


def _pack_sigmas(log_scales: Float[np.ndarray, "N 3"]) -> tuple[float, float, Planes]:
    """Smallest logarithm, step, and the planes."""
    clipped = log_scales.clip(*np.log(SIGMA_RANGE))
    low = float(clipped.min())
    span = max(float(clipped.max()) - low, 1e-6)
    return low, span / 255, list(_levels(clipped, low, span, 255).T)


def _pack_quats(quats: Float[np.ndarray, "N 4"]) -> Planes:
    """Smallest three: q and -q are one rotation, so the largest component, made positive, follows from the rest."""
    quats = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    largest = np.abs(quats).argmax(axis=1)
    quats = quats * np.where(np.take_along_axis(quats, largest[:, None], axis=1) < 0, -1.0, 1.0)
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest]
    small = np.take_along_axis(quats, others, axis=1)  # none beyond 1 / sqrt(2): the largest would be smaller
    levels = np.rint((small / np.sqrt(2.0) + 0.5) * QUAT_LEVELS).clip(0, QUAT_LEVELS).astype(np.uint16)
    high = largest + sum((levels[:, k] >> 8) << (2 + k) for k in range(3))
    return [*(levels & 255).astype(np.uint8).T, high.astype(np.uint8)]


def _levels(values: np.ndarray, low: float, span: float, top: int) -> UInt8[np.ndarray, "..."]:
    return np.rint((values - low) / span * top).clip(0, top).astype(np.uint8)


def _decorrelated(rgb: UInt8[np.ndarray, "N 3"]) -> Planes:
    """Green, and how red and blue differ from it: mostly small numbers, which gzip shortens by a third."""
    red, green, blue = rgb.T
    return [green, red - green, blue - green]
