"""Which photos the poses benchmark takes of each scene: near, even and wide subsets of 3, 6 and 9.

The subsets are committed as JSON, so that figures stay comparable; this module is how they were chosen. Angles are
between viewing directions.

- near: a chain in which each next photo is as close to 10 degrees from the nearest chosen one as the scene allows;
  of all chains (one per first photo) the one that keeps closest to 10.
- even: spread evenly over the sequence, first and last included.
- wide: farthest-point sampling, starting from the photo that has another farthest from it; no photo is taken that is
  more than 90 degrees from every chosen one, as nothing could place it.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree

from recon.types import Cameras

NEAR_DEG = 10.0
MAX_WIDE_DEG = 90.0
SIZES = (3, 6, 9)
KINDS = ("near", "even", "wide")

Subsets = dict[str, dict[str, list[str]]]
"""Scene -> subset (`near3`, ...) -> photo names."""


def committed_path() -> Path:
    """Where the committed subsets lie."""
    package = Path(__file__).parents[1]
    folders = (package / "_splits", package.parent / "datasets" / "splits")  # an installed package, or a checkout
    return next((file for folder in folders if (file := folder / "poses.json").is_file()), folders[-1] / "poses.json")


def read_subsets(path: Path) -> Subsets:
    """The committed subsets."""
    subsets: Subsets = json.loads(path.read_text(encoding="utf-8"))["subsets"]
    return subsets


def choose(cameras: Cameras, names: tuple[str, ...]) -> dict[str, list[str]]:
    """All subsets of one scene that has enough photos for them."""
    angles = viewing_angles_deg(cameras)
    chosen: dict[str, list[str]] = {}
    for size in (s for s in SIZES if s <= len(names)):
        picks = {"near": near(angles, size), "even": even(len(names), size), "wide": wide(angles, size)}
        chosen |= {f"{kind}{size}": [names[v] for v in sorted(picks[kind])] for kind in KINDS}
    return chosen


def viewing_angles_deg(cameras: Cameras) -> NDArray:
    """[V, V] angles between optical axes."""
    axes = cameras.cam_from_world[:, 2, :3].double().numpy()
    return np.degrees(np.arccos(np.clip(axes @ axes.T, -1, 1)))


def widest_gap_deg(angles: NDArray) -> float:
    """The largest edge of the minimum spanning tree over `angles` [V, V]: what any chain of photos has to bridge."""
    # zeros mean "no edge" to scipy, and photos in one direction are joined all the same
    return float(minimum_spanning_tree(angles + 1e-9).toarray().max())


def near(angles: NDArray, size: int) -> list[int]:
    """The chain of `size` photos whose steps stay closest to `NEAR_DEG`."""
    chains = []
    for first in range(len(angles)):
        chain, cost = [first], 0.0
        while len(chain) < size:
            step = np.abs(angles[:, chain].min(axis=1) - NEAR_DEG)
            step[chain] = np.inf
            chain.append(int(step.argmin()))
            cost += float(step[chain[-1]])
        chains.append((cost, chain))
    return min(chains)[1]


def even(n: int, size: int) -> list[int]:
    """`size` of n photos at equal steps."""
    return [round(float(x)) for x in np.linspace(0, n - 1, size)]


def wide(angles: NDArray, size: int) -> list[int]:
    """Farthest-point sampling with steps of at most `MAX_WIDE_DEG`."""
    chosen = [int(angles.max(axis=1).argmax())]
    while len(chosen) < size:
        step = angles[:, chosen].min(axis=1)
        reachable = np.where(step <= MAX_WIDE_DEG, step, -0.5)
        reachable[chosen] = -1.0
        chosen.append(int(reachable.argmax()))
    return chosen
