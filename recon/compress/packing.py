"""What the packed formats share: quaternions in three components, bytes and back, opacities as bytes, files' sizes."""

import math
import zlib
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.errors import InputError

LARGEST = 1e18
"""Positions beyond this are noise read as numbers (their squares overflow)."""
LEAST_BYTES = 1 / 64
"""No format here stores a Gaussian in less than this on average; a file that claims to is damaged or hostile."""
FILE_OVERHEAD = 4096


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check the path.") from error
    if not data:
        raise InputError(f"{path} is an empty file. Export or download it again.")
    return data


def damaged(path: Path, what: str) -> InputError:
    """The error for a file that is not what its format says."""
    return InputError(f"{path} is damaged: {what}. Export or download it again.")


def check_count(path: Path, count: int, size_bytes: int) -> None:
    """Refuse a number of Gaussians that a file of `size_bytes` cannot hold, before memory is taken for them.

    Raises:
        InputError: it is negative or absurd.
    """
    if count < 0 or count * LEAST_BYTES > size_bytes + FILE_OVERHEAD:
        raise damaged(path, f"it says it holds {count} Gaussians in {size_bytes} bytes")


def inflate(path: Path, data: bytes, limit: int, *, gzip: bool = False) -> bytes:
    """Decompress zlib or gzip `data`, at most `limit` bytes of it.

    Raises:
        InputError: damaged, truncated, or larger than `limit`.
    """
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16 if gzip else zlib.MAX_WBITS)
    try:
        out = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise damaged(path, str(error)) from error
    if len(out) > limit:
        raise damaged(path, f"it unpacks to more than {limit} bytes")
    if not decoder.eof:
        raise damaged(path, "it ends too early")
    return out


def to_codes(unit: Float[Tensor, "*shape"], bits: int) -> Int[Tensor, "*shape"]:
    """Values in [0, 1] as whole numbers of so many bits, rounded; what lies outside is clamped."""
    levels = (1 << bits) - 1
    return (unit.double() * levels).round().clamp(0, levels).long()


def from_codes(codes: Int[Tensor, "*shape"], bits: int) -> Float[Tensor, "*shape"]:
    """The inverse of `to_codes`, in float64."""
    return codes.double() / ((1 << bits) - 1)


def opacity_logits(opacity: Float[Tensor, " N"], levels: int = 255) -> Float[Tensor, " N"]:
    """Logits of opacities that were stored in `levels` steps: 0 and 1, whose logits are infinite, are moved a quarter
    of a step inwards, from where they still round back to the same code."""
    return opacity.clamp(0.25 / levels, 1 - 0.25 / levels).logit()


def smallest_three(quats: Float[Tensor, "N 4"]) -> tuple[Int[Tensor, " N"], Float[Tensor, "N 3"]]:
    """A rotation as the index of its largest component, made positive, and the three others in order, times sqrt(2),
    so in [-1, 1]. A quaternion of zeros is no rotation.

    "Smallest three": Fiedler, Snapshot Compression, 2015; used by all of the packed formats.
    """
    safe = torch.where((quats.norm(dim=1) > 0)[:, None], quats.double(), quats.new_tensor([1.0, 0, 0, 0]).double())
    unit = torch.nn.functional.normalize(safe, dim=1)
    largest = unit.abs().argmax(dim=1)
    unit = unit * unit.gather(1, largest[:, None]).sign()
    others = unit[_others(largest)].reshape(-1, 3)
    return largest, others * math.sqrt(2)


def from_smallest_three(largest: Int[Tensor, " N"], others: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
    """The inverse of `smallest_three`: unit quaternions, float32."""
    others = others.double() / math.sqrt(2)
    quats = torch.zeros(len(others), 4, dtype=torch.float64)
    quats[_others(largest)] = others.reshape(-1)
    rest = (1 - others.square().sum(dim=1)).clamp_min(0).sqrt()
    return torch.nn.functional.normalize(quats.scatter(1, largest[:, None], rest[:, None]), dim=1).float()


def _others(largest: Int[Tensor, " N"]) -> Tensor:
    return torch.arange(4) != largest[:, None]


def morton_order(xyz: Float[Tensor, "N 3"]) -> Int[Tensor, " N"]:
    """Indices that sort points along a Morton curve (Morton 1966) of 21 bits an axis: neighbours stay near."""
    if len(xyz) == 0:
        return torch.zeros(0, dtype=torch.int64)
    low, high = xyz.amin(0), xyz.amax(0)
    cells = to_codes((xyz - low) / (high - low).clamp_min(1e-30), 20)
    return interleave(cells, 20).argsort(stable=True)


def interleave(cells: Int[Tensor, "N 3"], bits: int) -> Int[Tensor, " N"]:
    """Morton codes of cells: the axes' bits in turn, x lowest."""
    code = torch.zeros(len(cells), dtype=torch.int64)
    for bit in range(bits):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code
