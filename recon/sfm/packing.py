"""Lists of arrays of different lengths as two flat arrays, so that jobs travel as plain .npz files."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray]
PairMatches = dict[tuple[int, int], NDArray]
"""For photos i < j, [M, 2] keypoint indices (in i, in j)."""


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays under their names to exactly `path`."""
    with path.open("wb") as file:  # given a path, savez would append a suffix
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its second parameter is a flag


def pack(name: str, parts: Sequence[NDArray], width: int, dtype: type) -> Arrays:
    """`parts[k]` of shape [n_k, width] as `name` [sum n_k, width] and `name_offsets` [len + 1]."""
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    flat = np.concatenate([np.asarray(part, dtype).reshape(-1, width) for part in parts] or [np.zeros((0, width))])
    return {name: flat.astype(dtype), f"{name}_offsets": offsets}


def unpack(name: str, arrays: Mapping[str, NDArray]) -> list[NDArray]:
    """The inverse of `pack`."""
    offsets = arrays[f"{name}_offsets"]
    return [arrays[name][a:b] for a, b in pairwise(offsets)]


def pack_pairs(name: str, matches: PairMatches) -> Arrays:
    """Matches per pair as `name`, `name_offsets` and `name_pairs` [P, 2]."""
    pairs = np.array(list(matches), np.int64).reshape(-1, 2)
    return pack(name, list(matches.values()), 2, np.int64) | {f"{name}_pairs": pairs}


def unpack_pairs(name: str, arrays: Mapping[str, NDArray]) -> PairMatches:
    """The inverse of `pack_pairs`."""
    pairs = arrays[f"{name}_pairs"]
    return {(int(i), int(j)): part for (i, j), part in zip(pairs, unpack(name, arrays))}
