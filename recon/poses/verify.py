"""The second, costlier look at a model, for evidence that its matches cannot give: do the photos look into each other,
do their surfaces lie equally deep, did the camera move at all, and is the focal length determined?"""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np

from recon.poses.consistency import Support
from recon.poses.degenerate import is_turn
from recon.poses.features import Pair
from recon.poses.matches import Model, Tracks, Verified
from recon.poses.photometric import DensePair, compare, scale_ratio
from recon.poses.uncertainty import focal_uncertainty
from recon.poses.view_graph import MIN_LINK, components
from recon.types import ImageSet

LINKS_PER_PHOTO = 2
"""Of each photo, its strongest links are looked at, and what else joins the photos at all."""
SAME_DEPTH = 0.1
"""Relative difference of depth up to which two pairs tell the same of a photo; right ones differ by up to 0.05."""


def examine(images: ImageSet, model: Model, tracks: Tracks, verified: Verified, support: Support) -> Support:
    """`support` with what a dense look at its strongest links and the focal length's covariance add."""
    sizes = 2 * model.Ks[:, :2, 2]
    pairs = compare(images, model, pairs_to_examine(support, len(images)))
    known = bool(images.focal_px.isfinite().all())
    focal_px = model.focal_px if known else None
    spread = 0.0 if known else float(np.nanmax([*focal_uncertainty(model, tracks), -math.inf]))
    return replace(
        support,
        dense={pair: seen.share for pair, seen in pairs.items()},
        ties=find_ties(pairs),
        turns=frozenset(pair for pair in pairs if is_turn(pair, tracks, verified, sizes, focal_px)),
        focal_uncertainty=spread if math.isfinite(spread) else math.inf,
    )


def pairs_to_examine(support: Support, n: int) -> list[Pair]:
    """The strongest links of every photo, and those of a spanning tree of all agreeing matches."""
    counts = {pair: int(flags.sum()) for pair, flags in support.consistent.items() if flags.sum() >= MIN_LINK}
    order = sorted(counts, key=lambda pair: -counts[pair])
    chosen: set[Pair] = set()
    for v in range(n):
        chosen.update([pair for pair in order if v in pair][:LINKS_PER_PHOTO])
    tree: list[Pair] = []
    for pair in order:
        if len(components(n, [*tree, pair])) < len(components(n, tree)):
            tree.append(pair)
    return sorted(chosen | set(tree))


def find_ties(pairs: dict[Pair, DensePair]) -> frozenset[tuple[Pair, Pair]]:
    """Pairs with a photo in common whose surfaces lie equally deep in it."""
    found = set()
    for a, b in combinations(sorted(pairs), 2):
        shared = set(a) & set(b)
        if shared:
            v = shared.pop()
            ratio = scale_ratio(pairs[a].depths[a.index(v)], pairs[b].depths[b.index(v)])
            if abs(ratio - 1) <= SAME_DEPTH:  # not so for NaN
                found.add((a, b))
    return frozenset(found)
