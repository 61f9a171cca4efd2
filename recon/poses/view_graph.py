"""Which photos the evidence ties together, and which only seem to be.

Pairs of photos are links. A link is *sound* when its photos look into each other (`recon.poses.photometric`) or its
matches are many and agree almost without exception, *false* when its matches agree but its photos do not look into
each other although they should, and *weak* otherwise. Photos that sound links join stand right relative to each other;
across weak links alone the scale, or everything, is a guess. Links between two blocks of photos are *contested*, of
whatever kind they are, where their matches taken together contradict in part where the blocks stand.
"""

import numpy as np
from numpy.typing import NDArray

from recon.poses.consistency import Support
from recon.poses.features import Pair

SOUND, WEAK, FALSE = "sound", "weak", "false"

MIN_SECOND_LINK = 30
"""Agreeing matches with a second photo that fix the scale. Wrongly placed photos usually have one strong link and a
second-best below this, on nine scenes."""
MIN_LINK = 12
"""Agreeing matches below which a link says nothing."""
STRONG_LINK, STRONG_RATIO = 100, 0.9
"""So many agreeing matches, and such a share of all, make a link sound where a look at the photos cannot tell."""
MIN_RATIO = 0.5
"""Agreeing share of a link's matches below which the model does not believe it itself."""
MIN_AGREEMENT = 0.7
"""Agreeing share of all matches of a photo: more contradiction than this comes from look-alikes, or from its being
wrong itself."""
LOOK_ALIKE = 0.7, 60.0
"""Share of pixels on which right pairs agree, about 0.7 exp(-parallax / 60 degrees): drawn by eye, eleven scenes."""
SOUND_FACTOR, FALSE_FACTOR = 0.7, 0.4
"""Of that share: from here on a link is sound, and up to here false."""
CHANCE = 0.25
"""Wrong pairs reach this share by accident, at any angle."""
MIN_PARALLAX_DEG, NARROW_DEG = 1.0, 45.0
"""Outside this range of parallax right pairs may share so little depth that nothing can be called false."""


def kind_of(pair: Pair, support: Support) -> str:
    """`SOUND`, `WEAK` or `FALSE`. Without dense evidence a link of `MIN_SECOND_LINK` matches has to do."""
    flags = support.consistent[pair]
    agreeing, ratio = int(flags.sum()), float(flags.mean()) if len(flags) else 0.0
    if not support.dense:
        return SOUND if agreeing >= MIN_SECOND_LINK and ratio >= MIN_RATIO else WEAK
    if agreeing < MIN_LINK or ratio < MIN_RATIO:
        return WEAK
    if pair in support.dense:
        expected = LOOK_ALIKE[0] * np.exp(-support.parallax_deg[pair] / LOOK_ALIKE[1])
        if support.dense[pair] >= max(CHANCE, SOUND_FACTOR * expected):
            return SOUND
        narrow = MIN_PARALLAX_DEG <= support.parallax_deg[pair] <= NARROW_DEG and pair not in support.turns
        if narrow:
            return FALSE if support.dense[pair] < FALSE_FACTOR * expected else WEAK
    return SOUND if agreeing >= STRONG_LINK and ratio >= STRONG_RATIO else WEAK


def links_of(support: Support, kind: str) -> list[Pair]:
    """All links of a kind."""
    return [pair for pair in support.consistent if kind_of(pair, support) == kind]


def strained(support: Support, registered: NDArray) -> list[Pair]:
    """Links between placed photos of which a part of many matches contradicts their places: there the model is bent.

    Two photos' own geometry explains all of these matches, and so does a right model. Most contradicting matches first.
    """
    missing = {
        pair: int((~flags).sum())
        for pair, flags in support.consistent.items()
        if registered[list(pair)].all() and len(flags) >= STRONG_LINK and flags.mean() < STRONG_RATIO
    }
    return sorted(missing, key=lambda pair: -missing[pair])


def contested(support: Support, registered: NDArray) -> set[Pair]:
    """Links between two blocks of photos of whose matches, taken together, a part contradicts where the blocks stand.

    Inside a block, links of many matches agree almost without exception. Look-alike parts join two blocks by links that
    are each too few to tell, and that agree among themselves well enough to look into each other.
    """
    near = {pair: flags for pair, flags in support.consistent.items() if registered[list(pair)].all()}
    firm = [pair for pair, flags in near.items() if len(flags) >= STRONG_LINK and flags.mean() >= STRONG_RATIO]
    blocks = components(len(registered), firm)
    block_of = {v: b for b, block in enumerate(blocks) for v in block}
    between: dict[frozenset[int], list[Pair]] = {}
    for i, j in near:
        if block_of[i] != block_of[j]:
            between.setdefault(frozenset((block_of[i], block_of[j])), []).append((i, j))
    found: set[Pair] = set()
    for pairs in between.values():
        together = np.concatenate([near[pair] for pair in pairs])
        if len(together) >= STRONG_LINK and together.mean() < STRONG_RATIO:
            found |= set(pairs)
    return found


def components(n: int, links: list[Pair]) -> list[set[int]]:
    """Photos joined by links, largest set first; every photo is in one."""
    groups = [{v} for v in range(n)]
    for i, j in links:
        a, b = (next(g for g in groups if v in g) for v in (i, j))
        if a is not b:
            groups.remove(b)
            a |= b
    return sorted(groups, key=lambda g: (-len(g), min(g)))


def uncontradicted(support: Support, registered: NDArray) -> NDArray:
    """[V] bool: placed photos with whose matches the model agrees, and that do not stand where it is bent."""
    bent = {v for pair in strained(support, registered) for v in pair}
    return np.array(
        [
            registered[v] and v not in bent and support.ratio(v, registered) >= MIN_AGREEMENT
            for v in range(len(registered))
        ]
    )


def groups(support: Support, registered: NDArray) -> list[set[int]]:
    """Sets of placed photos that sound, uncontested links join, largest first; of equally large ones that with more
    agreeing matches."""
    doubtful = contested(support, registered)
    sound = [pair for pair in links_of(support, SOUND) if registered[list(pair)].all() and pair not in doubtful]
    found = [g for g in components(len(registered), sound) if registered[sorted(g)].all()]
    matches = {min(g): sum(int(support.consistent[pair].sum()) for pair in sound if pair[0] in g) for g in found}
    return sorted(found, key=lambda g: (-len(g), -matches[min(g)]))


def main_component(support: Support, registered: NDArray) -> set[int]:
    """The first of the `groups`; empty where no photo is placed."""
    return next(iter(groups(support, registered)), set())


def is_fixed(v: int, support: Support) -> bool:
    """Whether photo v's distance is determined: by two links, or one whose surface another pair sees as deep."""
    sound = [pair for pair in links_of(support, SOUND) if v in pair]
    others = [pair for pair in support.consistent if v in pair and kind_of(pair, support) != FALSE]
    counts = sorted((int(support.consistent[pair].sum()) for pair in others), reverse=True)
    if not sound:
        return False
    if len(sound) > 1 or (len(counts) > 1 and counts[1] >= MIN_SECOND_LINK):
        return True
    return any(sound[0] in tie for tie in support.ties)


def loose(support: Support, registered: NDArray) -> set[int]:
    """Placed photos that nothing but false or hardly any matches join to the main component: their poses are invented.

    Where no link is sound there is no main component to be cut off from, and everything stays, as a guess.
    """
    main = main_component(support, registered)
    if len(main) < 2 or not support.dense:
        return set()
    holding = [
        pair
        for pair, flags in support.consistent.items()
        if (kind := kind_of(pair, support)) == SOUND or (kind == WEAK and flags.sum() >= MIN_SECOND_LINK)
    ]
    kept = next(g for g in components(len(registered), holding) if main <= g)
    return {int(v) for v in np.flatnonzero(registered)} - kept
