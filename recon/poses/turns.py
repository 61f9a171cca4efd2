"""Photos held sideways: find the quarter turn that makes each photo match the others.

EXIF orientation is often missing or wrong for photos taken looking down, and learned descriptors fail beyond about
45 degrees of roll, where a turned copy matches as well as any neighbour.
"""

from collections.abc import Sequence

from torch import Tensor

from recon.poses.features import Features, Pair, shrink
from recon.poses.learned import AlikedMatcher

STRONG = 60
"""Nearest-neighbour matches that false pairs do not reach (below 50 on eleven scenes; true ones mostly above 90)."""
GLUED = 80
ADVANTAGE = 1.5
"""LightGlue matches that a turn must bring in all, and how many times those of the photo as it is."""
PREVIEW_SIDE = 512
"""Nearest neighbours tell turns apart on small photos, at a fraction of the time."""
GLUE_FEATURES = 512
"""LightGlue tells them apart on the strongest keypoints."""
MAX_ANCHORS = 3
"""Photos of the group that a hard case is glued to."""


def find_turns(photos: Sequence[Tensor], matcher: AlikedMatcher, counts: dict[Pair, int]) -> list[int]:
    """Quarter turns for every photo, 0 for those that match as they are.

    Args:
        counts: nearest-neighbour matches per pair, with no photo turned.

    The largest group of photos that match as they are stays. Every other photo is tried in four turns against the
    group, first by nearest neighbours, then by LightGlue, and joins it if it matches, so that a chain of rolled photos
    is followed. Photos left over form groups of their own.
    """
    group = largest_group(len(photos), counts)
    search = _Search(photos, matcher, group)
    search.join_nearest()
    search.join_glued()
    while len(search.waiting) > 1:  # what does not match the group may match among itself
        search.start_group(search.waiting[0])
        search.join_nearest()
        search.join_glued()
    return search.turns


class _Search:
    """Photos that have joined the group, and the features of those that have not."""

    def __init__(self, photos: Sequence[Tensor], matcher: AlikedMatcher, group: set[int]) -> None:
        self.photos, self.matcher = photos, matcher
        self.preview = AlikedMatcher(PREVIEW_SIDE, matcher.max_features // 2)
        self.group = sorted(group)
        self.waiting = [v for v in range(len(photos)) if v not in group]
        self.turns = [0] * len(photos)
        self._features: dict[tuple[int, int, int], Features] = {}

    def features(self, v: int, turns: int, matcher: AlikedMatcher) -> Features:
        key = (v, turns, matcher.max_side)
        if key not in self._features:
            self._features[key] = matcher.extract_turned(shrink(self.photos[v], matcher.max_side), turns)
        return self._features[key]

    def start_group(self, seed: int) -> None:
        """Leave the group, and begin another with one of the waiting photos as it is."""
        self.waiting.remove(seed)
        self.group = [seed]

    def join_nearest(self) -> None:
        """The photo that matches the group best joins it, again and again, down to `STRONG` matches."""
        best = dict.fromkeys(self.waiting, (0, 0))  # per photo: matches, turns
        fresh = list(self.group)
        while self.waiting and fresh:
            for u in fresh:
                anchor = self.features(u, self.turns[u], self.preview)
                for v in self.waiting:
                    variants = [self.features(v, k, self.preview) for k in range(4)]
                    found = [(len(self.preview.nearest(variant, anchor)), k) for k, variant in enumerate(variants)]
                    best[v] = max([best[v], *found], key=lambda item: item[0])
            v = max(self.waiting, key=lambda v: best[v][0])
            if best[v][0] < STRONG:
                return
            self._join(v, best[v][1])
            fresh = [v]

    def join_glued(self) -> None:
        """One pass of LightGlue over what is left, on the strongest features at full size."""
        for v in list(self.waiting):
            anchors = [self._strongest(u, self.turns[u]) for u in self.group[-MAX_ANCHORS:]]
            counts = [self._glued(self._strongest(v, k), anchors) for k in range(4)]
            k = counts.index(max(counts))
            if counts[k] >= GLUED and (k == 0 or counts[k] >= ADVANTAGE * counts[0]):
                self._join(v, k)

    def _strongest(self, v: int, turns: int) -> Features:
        return self.features(v, turns, self.matcher).strongest(GLUE_FEATURES)

    def _glued(self, features: Features, anchors: list[Features]) -> int:
        return sum(len(self.matcher.match(features, anchor)) for anchor in anchors)

    def _join(self, v: int, turns: int) -> None:
        self.turns[v] = turns
        self.waiting.remove(v)
        self.group.append(v)


def largest_group(n: int, counts: dict[Pair, int], strong: int = STRONG) -> set[int]:
    """The largest set of photos joined by pairs of at least `strong` matches; the first photo where there are none."""
    groups = [{v} for v in range(n)]
    for (i, j), count in counts.items():
        a = next(g for g in groups if i in g)
        b = next(g for g in groups if j in g)
        if count >= strong and a is not b:
            groups.remove(b)
            a |= b
    return max(groups, key=lambda g: (len(g), -min(g)))
