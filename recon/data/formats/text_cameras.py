"""Cameras written as bare numbers in text files: reading them with care."""

import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import InputError

MAX_SKEW = 1e-3
"""Relative to the focal length; more than this is another lens than a pinhole camera's."""


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check its permissions.") from error
    except ValueError as error:
        raise InputError(f"{path} is not a text file ({error}). Download it again.") from error


def decode_numbers(words: list[str], where: str, count: int) -> list[float]:
    """`count` finite numbers.

    Raises:
        InputError: another count, or something else than a finite number.
    """
    if len(words) != count:
        raise InputError(f"{where} holds {len(words)} numbers; {count} are needed. Download it again.")
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"{where} holds something other than numbers ({error}). Download it again.") from error
    if not all(map(math.isfinite, values)):
        raise InputError(f"{where} holds numbers that are not finite. Download it again.")
    return values


def checked_K(K: Float[Tensor, "3 3"], where: str) -> Float[Tensor, "3 3"]:
    """K with its last element divided out.

    Raises:
        InputError: not the K of a pinhole camera: upper triangular, positive focal lengths, negligible skew.
    """
    lower = torch.stack([K[1, 0], K[2, 0], K[2, 1]])
    if bool(lower.any()) or not float(K[2, 2]) > 0:
        raise InputError(f"{where}: its K is not upper triangular. Download it again.")
    K = K / K[2, 2]
    if not (float(K[0, 0]) > 0 and float(K[1, 1]) > 0):
        raise InputError(
            f"{where}: the focal lengths are {float(K[0, 0]):g} and {float(K[1, 1]):g}; both must be positive."
        )
    if abs(float(K[0, 1])) > MAX_SKEW * float(K[0, 0]):
        raise InputError(f"{where} has a skew of {float(K[0, 1]):.3g} pixels, which is not supported.")
    K[0, 1] = 0.0
    return K
