"""Matches between the photos of a set, with the learned features where they can run and SIFT where not."""

from collections.abc import Callable, Collection, Sequence

from jaxtyping import Int
from torch import Tensor

from recon.poses import learned
from recon.poses.base import PosesConfig
from recon.poses.features import Features, Pair, all_pairs
from recon.poses.learned import AlikedMatcher
from recon.poses.sift import SiftMatcher
from recon.poses.turns import turn_features
from recon.sfm.packing import PairMatches

WEAK_PAIR = 150
"""Pairs with fewer nearest-neighbour matches than this get LightGlue."""

SCREEN_FEATURES = 512
SCREEN_MATCHES = 25
"""LightGlue on the strongest few keypoints costs an eighth, and tells pairs with overlap (35 to 196 matches on four
scenes at 20 to 60 degrees) from most of those without (14 to 58)."""

Tell = Callable[[str], None]
MatchPair = Callable[[Features, Features], Int[Tensor, "M 2"]]


def match_pairs(match: MatchPair, features: Sequence[Features], pairs: Sequence[Pair]) -> PairMatches:
    """Matches of the given pairs, as index arrays."""
    return {(i, j): match(features[i], features[j]).numpy() for i, j in pairs}


def match_nearest(aliked: AlikedMatcher, photos: Sequence[Tensor]) -> tuple[list[Features], PairMatches]:
    """ALIKED features of every photo, turned where that helps, and nearest-neighbour matches of every pair."""
    features = aliked.extract(photos)
    matches = match_pairs(aliked.nearest, features, all_pairs(len(photos)))
    features = turn_features(photos, aliked, features, {pair: len(m) for pair, m in matches.items()})
    changed = [(i, j) for i, j in matches if features[i].turns or features[j].turns]
    return features, matches | match_pairs(aliked.nearest, features, changed)


def strengthen(
    aliked: AlikedMatcher,
    features: Sequence[Features],
    matches: PairMatches,
    tell: Tell = lambda message: None,
    wanted: Collection[int] | None = None,
    weak_below: float = WEAK_PAIR,
) -> PairMatches:
    """LightGlue instead of nearest neighbours for the pairs that these left weak and that seem to overlap at all.

    Args:
        wanted: only pairs with one of these photos; all pairs by default.
        weak_below: matches from which on a pair is strong enough.
    """
    weak = [
        pair
        for pair, found in matches.items()
        if len(found) < weak_below and (wanted is None or set(pair) & set(wanted))
    ]
    stronger = {}
    for done, (i, j) in enumerate(weak):
        tell(f"matching hard pairs, {done + 1} of {len(weak)}")
        found = aliked.match(features[i].strongest(SCREEN_FEATURES), features[j].strongest(SCREEN_FEATURES))
        if len(found) >= SCREEN_MATCHES:
            found = aliked.match(features[i], features[j])
        if len(found) > len(matches[i, j]):
            stronger[i, j] = found.numpy()
    return matches | stronger


def match_thoroughly(
    photos: Sequence[Tensor], config: PosesConfig, tell: Tell = lambda message: None
) -> tuple[list[Features], PairMatches]:
    """Features and matches of all pairs when every pair counts: nearest neighbours, then LightGlue where weak.

    Raises:
        JobError: SIFT, which stands in when the learned features cannot run, failed.
    """
    if learned.available()[0]:
        aliked = AlikedMatcher(config.max_side)
        features, matches = match_nearest(aliked, photos)
        return features, strengthen(aliked, features, matches, tell)
    sift = SiftMatcher(config.max_side, config.seed, config.time_limit_s)
    features = sift.extract(photos)
    return features, match_pairs(sift.match, features, all_pairs(len(photos)))
