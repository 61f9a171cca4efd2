"""Splats as SPZ, Niantic's format: 20 bytes a Gaussian and 3K for its harmonics, then gzip.

A header of 16 bytes (magic, version, count, SH degree, fractional bits, flags, 0), then each property of all Gaussians:
positions as 24-bit fixed-point numbers; opacity in 8 bits; colour in 8 bits, `0.15 * sh0 + 0.5`; log scales in 8 bits,
`16 (s + 10)`; the rotation, in version 3 as three components of sign and 9 bits each and the index of the largest (of x
y z w), in version 2 as x y z in 8 bits each; harmonics in 8 bits, `128 (1 + c)`, colours fastest.

The axes are right, up, back: PLY files have right, down, front, so y and z are turned on the way in and out.
Layout: github.com/nianticlabs/spz, README and load-spz. Version 4, compressed with zstd, is refused with a hint.
"""

import logging
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.compress.packing import (
    check_count,
    damaged,
    from_smallest_three,
    inflate,
    morton_order,
    opacity_logits,
    read_bytes,
    smallest_three,
    to_codes,
)
from recon.errors import InputError
from recon.files import atomic_path
from recon.types import Splats

logger = logging.getLogger(__name__)

HEADER = struct.Struct("<IIIBBBB")
MAGIC = 0x5053474E
VERSION = 3
COEFFICIENTS = (0, 3, 8, 15)  # K of the degrees 0 to 3
COLOR_SCALE = 0.15
MOST_FRACTIONAL_BITS = 20
GZIP_RATIO = 1032
"""Deflate cannot shrink more than this."""
TURN = torch.tensor([1.0, -1.0, -1.0])
"""Right, down, front to right, up, back, for positions and for x y z of quaternions: half a turn about x."""
TURN_SH = torch.tensor([*(-1.0, -1.0, 1.0), *(-1.0, 1, 1, -1, 1), *(-1.0, 1, -1, -1, 1, -1, 1)])
"""What that does to the harmonics, whose basis functions are products of y, z and x: those odd in (y, z) together turn
their sign."""


def write_spz(path: Path | str, splats: Splats) -> None:
    """Write `splats` as SPZ version 3, atomically, sorted along a Morton curve, which gzip likes.

    Errors, at most: position 2^-(f + 1) with as many fractional bits f as the farthest leaves, up to 20; log scale 1/32
    within [-10, 5.9]; opacity 0.5/255; sh0 0.5/(255 * 0.15) within [-3.33, 3.33]; rotation components 0.5/511/sqrt(2);
    coefficients 1/256 within [-1, 0.992].

    Raises:
        InputError: positions beyond 2^23, which the format cannot hold.
        ResourceError: the folder is not writable or the disk is full.
    """
    splats = splats.detach().to("cpu")
    splats = splats[morton_order(splats.means)]
    bits = _fractional_bits(splats.means)
    degree = COEFFICIENTS.index(splats.shN.shape[1])
    fixed = (splats.means.double() * TURN * 2**bits).round().long()
    turned = splats.shN * TURN_SH[: splats.shN.shape[1], None]
    parts = [
        HEADER.pack(MAGIC, VERSION, len(splats), degree, bits, 0, 0),
        _low_bytes(fixed, 3),
        _bytes(splats.opacities * 255),
        _bytes((splats.sh0[:, 0] * COLOR_SCALE + 0.5) * 255),
        _bytes((splats.log_scales + 10) * 16),
        _pack_rotations(splats.quats),
        _bytes(turned * 128 + 128),
    ]
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    data = packer.compress(b"".join(parts)) + packer.flush()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_spz(path: Path | str) -> Splats:
    """Read SPZ of version 2 or 3 written by any program; version 1 and 4 and harmonics of degree 4 are refused.

    Raises:
        InputError: unreadable, damaged, truncated, or of another version.
    """
    path = Path(path)
    data = read_bytes(path)
    if data[:4] == MAGIC.to_bytes(4, "little"):
        raise InputError(f"{path} is SPZ of version 4 or later, which is not read. Save it as version 3 or as .ply.")
    if data[:2] != b"\x1f\x8b":
        raise InputError(f"{path} is not an SPZ file. Give a .spz, .sog, .splat or .ply file of Gaussian splats.")
    unpacked = inflate(path, data, len(data) * GZIP_RATIO + HEADER.size, gzip=True)
    if len(unpacked) < HEADER.size:
        raise damaged(path, "it ends too early")
    magic, version, count, degree, bits, _, _ = HEADER.unpack_from(unpacked)
    if magic != MAGIC:
        raise damaged(path, "its first bytes are not those of SPZ")
    if version not in (2, 3) or degree >= len(COEFFICIENTS):
        raise InputError(
            f"{path} is SPZ of version {version} with harmonics of degree {degree}; versions 2 and 3 and degrees 0 to "
            "3 are read. Save it as version 3, or as .ply."
        )
    check_count(path, count, len(data))
    if bits > 30:
        raise damaged(path, f"its positions have {bits} fractional bits")
    return _unpack(path, unpacked, version, count, degree, bits)


def _unpack(path: Path, data: bytes, version: int, count: int, degree: int, bits: int) -> Splats:
    K = COEFFICIENTS[degree]
    widths = (9, 1, 3, 3, 4 if version == 3 else 3, 3 * K)
    if len(data) < HEADER.size + count * sum(widths):
        raise damaged(path, "it ends too early")
    rows, at = [], HEADER.size
    for width in widths:
        block = np.frombuffer(data, np.uint8, count * width, at).reshape(count, width)
        rows.append(torch.from_numpy(block.astype(np.int64)))
        at += count * width
    position, alpha, color, scale, rotation, rest = rows
    fixed = _from_low_bytes(position.reshape(count, 3, 3))
    fixed -= (fixed >= 1 << 23).long() << 24
    rest = rest.reshape(count, K, 3)
    return Splats(
        means=(fixed.double() * TURN / 2**bits).float(),
        quats=_unpack_rotations(rotation) * torch.tensor([1.0, *TURN.tolist()]),
        log_scales=scale.float() / 16 - 10,
        logit_opacities=opacity_logits(alpha[:, 0].float() / 255),
        sh0=((color.float() / 255 - 0.5) / COLOR_SCALE)[:, None],
        shN=(rest.float() / 128 - 1) * TURN_SH[:K, None],
    )


def _fractional_bits(means: Float[Tensor, "N 3"]) -> int:
    """So many that the farthest position still fits into 24 bits with sign."""
    farthest = float(means.abs().max()) if len(means) else 0.0
    if farthest >= 1 << 23:
        raise InputError(f"SPZ holds positions up to 2^23, these reach {farthest:.3g}. Write another format.")
    room = 23 - max(0, math.ceil(math.log2(farthest + 1e-30) + 1e-6))
    return min(MOST_FRACTIONAL_BITS, room)


def _pack_rotations(quats: Float[Tensor, "N 4"]) -> bytes:
    """The index of the largest in the top bits, then the others in the order x y z w."""
    turned = quats[:, [1, 2, 3, 0]] * torch.cat([TURN, torch.ones(1)])
    zero = turned.norm(dim=1) == 0
    turned[zero] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    largest, others = smallest_three(turned)
    magnitude = to_codes(others.abs(), 9)
    word = largest
    for i in range(3):
        word = (word << 10) | ((others[:, i] < 0).long() << 9) | magnitude[:, i]
    return word.numpy().astype("<u4").tobytes()


def _unpack_rotations(rows: Int[Tensor, "N B"]) -> Float[Tensor, "N 4"]:
    """(w, x, y, z), axes as stored."""
    if rows.shape[1] == 3:  # version 2
        xyz = rows.double() / 127.5 - 1
        w = (1 - xyz.square().sum(dim=1)).clamp_min(0).sqrt()
        return torch.nn.functional.normalize(torch.cat([w[:, None], xyz], dim=1), dim=1).float()
    word = _from_low_bytes(rows)
    parts = torch.stack([(word >> shift) & 1023 for shift in (20, 10, 0)], dim=1)
    others = (parts & 511).double() / 511 * (1 - 2 * (parts >> 9)).double()
    return from_smallest_three(word >> 30, others)[:, [3, 0, 1, 2]]


def _low_bytes(values: Int[Tensor, "*shape"], count: int) -> bytes:
    """The lowest `count` bytes of each value, lowest first."""
    return np.ascontiguousarray(values.numpy().astype("<i8")[..., None].view(np.uint8)[..., :count]).tobytes()


def _from_low_bytes(rows: Int[Tensor, "*shape B"]) -> Int[Tensor, "*shape"]:
    return (rows << (8 * torch.arange(rows.shape[-1]))).sum(dim=-1)


def _bytes(values: Float[Tensor, "..."]) -> bytes:
    return values.round().clamp(0, 255).to(torch.uint8).contiguous().numpy().tobytes()
