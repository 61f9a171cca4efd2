"""Which views of a scene are given and which are asked for: SpaRe's two tracks, chosen by a seed."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon.benchmark.generate.cap import TARGET_M
from recon.data.split_files import Split
from recon.errors import InputError

TRACKS = {1: 3, 2: 9}
"""Track number and how many input views it has."""
NEIGHBOURS_DEG = (12.0, 45.0)
"""The three views of track 1 are at least and at most so far apart, seen from the object: they overlap, yet differ."""
APART_DEG = 8.0
"""The six more of track 2 keep so far from each other and from those."""


@dataclass(frozen=True)
class ViewSplit:
    """0-based views; those of track 1 are the first three of track 2."""

    inputs: tuple[int, ...]
    tests: tuple[int, ...]

    @property
    def views(self) -> tuple[int, ...]:
        return tuple(sorted((*self.inputs, *self.tests)))

    def of_track(self, track: int) -> Split:
        """As the track's split file has it."""
        return Split(tuple(sorted(self.inputs[: TRACKS[track]])), tuple(sorted(self.tests)), "Synthetic")


def choose_views(centers: Float[Tensor, "V 3"], scene: str, seed: int, n_tests: int = 10) -> ViewSplit:
    """Inputs of both tracks and `n_tests` test views among cameras at `centers`, by the scene's name and the seed.

    As in SpaRe the inputs of track 1 are among those of track 2. The test views serve both tracks, so that one
    rendering of each is enough.

    Raises:
        InputError: fewer cameras than views asked for.
    """
    n = len(centers)
    if n_tests < 1 or TRACKS[2] + n_tests > n:
        raise InputError(f"Cannot take {n_tests} test views: there are {n} cameras, and 9 of them are inputs.")
    chance = np.random.default_rng([seed, zlib.crc32(scene.encode())])
    angles = _angles_deg(centers)
    inputs = _three(angles, chance)
    order = chance.permutation(n).tolist()
    far = [view for view in order if view not in inputs]
    while len(inputs) < TRACKS[2]:
        apart = [view for view in far if angles[view, inputs].min() >= APART_DEG]
        inputs.append((apart or far)[0])
        far.remove(inputs[-1])
    return ViewSplit(tuple(inputs), tuple(far[:n_tests]))


def _three(angles: np.ndarray, chance: np.random.Generator) -> list[int]:
    """Three views whose mutual angles lie in `NEIGHBOURS_DEG`; the best spread of 200 draws where none does."""
    best: tuple[float, list[int]] = (np.inf, [])
    low, high = NEIGHBOURS_DEG
    for _ in range(200):
        views = chance.choice(len(angles), TRACKS[1], replace=False).tolist()
        pairs = np.array([angles[a, b] for k, a in enumerate(views) for b in views[k + 1 :]])
        off = float(np.maximum(low - pairs, 0).sum() + np.maximum(pairs - high, 0).sum())
        if off == 0:
            return views
        best = min(best, (off, views))
    return best[1]


def _angles_deg(centers: Float[Tensor, "V 3"]) -> np.ndarray:
    """Angle between each two cameras, seen from the target [V,V]."""
    rays = torch.nn.functional.normalize(centers - torch.tensor(TARGET_M, dtype=centers.dtype), dim=1)
    return np.asarray((rays @ rays.T).clamp(-1, 1).arccos().rad2deg())
