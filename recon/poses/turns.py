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


def turn_features(
    photos: Sequence[Tensor], matcher: AlikedMatcher, features: Sequence[Features], counts: dict[Pair, int]
) -> list[Features]:
    """Features of every photo in the quarter turn that makes it match; the same as given where none is needed.

    Args:
        features: of the photos as they are.
        counts: nearest-neighbour matches of these per pair.

    The largest group of photos that match as they are stays. Every other photo is tried in four turns against the
    group, first by nearest neighbours, then by LightGlue, and joins it if it matches, so that a chain of rolled photos
    is followed. Photos left over form groups of their own.
    """
    group = largest_group(len(photos), counts)
    search = _Search(photos, matcher, features, group)
    search.join_nearest()
    search.join_glued()
    while len(search.waiting) > 1:  # what does not match the group may match among itself
        search.start_group(search.waiting[0])
        search.join_nearest()
        search.join_glued()
    return [search.full(v, k) for v, k in enumerate(search.turns)]


class _Search:
    """Photos that have joined the group, and the features of those that have not."""

    def __init__(
        self, photos: Sequence[Tensor], matcher: AlikedMatcher, features: Sequence[Features], group: set[int]
    ) -> None:
        self.photos, self.matcher = photos, matcher
        self.preview = AlikedMatcher(PREVIEW_SIDE, matcher.max_features // 2)
        self.group = sorted(group)
        self.waiting = [v for v in range(len(photos)) if v not in group]
        self.turns = [0] * len(photos)
        self._full = {(v, 0): found for v, found in enumerate(features)}
        self._small: dict[tuple[int, int], Features] = {}

    def full(self, v: int, turns: int) -> Features:
        """Features of photo v at full size, extracted once."""
        if (v, turns) not in self._full:
            self._full[v, turns] = self.matcher.extract_turned(self.photos[v], turns)
        return self._full[v, turns]

    def small(self, v: int, turns: int) -> Features:
        """Features of photo v at preview size, extracted once."""
        if (v, turns) not in self._small:
            self._small[v, turns] = self.preview.extract_turned(shrink(self.photos[v], PREVIEW_SIDE), turns)
        return self._small[v, turns]

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
                anchor = self.small(u, self.turns[u])
                for v in self.waiting:
                    variants = [self.small(v, k) for k in range(4)]
                    found = [(len(self.preview.nearest(variant, anchor)), k) for k, variant in enumerate(variants)]
                    best[v] = max([best[v], *found], key=lambda item: item[0])
            v = max(self.waiting, key=lambda v: best[v][0])
            if best[v][0] < STRONG:
                return
            self._join(v, best[v][1])
            fresh = [v]

    def join_glued(self) -> None:
        """One pass of LightGlue over what is left, on the strongest features of the small photos."""
        for v in list(self.waiting):
            anchors = [self.small(u, self.turns[u]).strongest(GLUE_FEATURES) for u in self.group[-MAX_ANCHORS:]]
            upright = self._glued(v, 0, anchors)
            counts = [upright] if upright >= GLUED else [upright, *(self._glued(v, k, anchors) for k in (1, 2, 3))]
            k = counts.index(max(counts))
            if counts[k] >= GLUED and (k == 0 or counts[k] >= ADVANTAGE * upright):
                self._join(v, k)

    def _glued(self, v: int, turns: int, anchors: list[Features]) -> int:
        features = self.small(v, turns).strongest(GLUE_FEATURES)
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
