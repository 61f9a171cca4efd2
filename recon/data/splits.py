"""Which photos to train on and which to hold out: pure functions of counts and indices, the same every time.

`RULES` are those of the papers, by the names that the manifests in `datasets/manifests` use; each returns
(input views, test views). The files in `datasets/splits` are what they give.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse.csgraph import minimum_spanning_tree

from recon.errors import InputError

DTU_UNUSED_VIEWS = (*range(3, 8), *range(16, 22), *range(36, 40))
"""Views of 0 to 48 that RegNeRF leaves out of its DTU test set for their wrong exposure (Niemeyer et al. 2022)."""
DTU_INPUTS = (25, 22, 28, 40, 44, 48, 0, 8, 13)
"""pixelNeRF's input views (Yu et al. 2021), of which the papers take the first 3, 6 or 9."""
BLENDER_INPUTS = (26, 86, 2, 55, 75, 93, 16, 73)
"""DietNeRF's eight of the 100 training views (Jain et al. 2021)."""
BLENDER_VIEWS = {"train": 100, "val": 100, "test": 200}
MAX_TESTS = 5
MAX_GAP_DEG, MAX_REACH_DEG = 45.0, 30.0
STEP_DEG = 25.0
"""See `views_split`: what photos can be matched and seen in stereo across, and a step well inside it."""


def holdout_split(n: int, n_holdout: int) -> tuple[list[int], list[int]]:
    """Split n photos, in order, into training and held-out ones, (train, test), both ascending.

    The held-out photos are evenly spread over the interior, so that each lies between two that are trained on: the
    first and last are never held out.

    Raises:
        InputError: fewer than 2 photos would be left, or the count is negative.
    """
    if n_holdout < 0:
        raise InputError(f"Cannot hold out {n_holdout} photos. Pass --holdout 0 or more.")
    if n - n_holdout < 2:
        advice = f"Pass --holdout {n - 2} or less, or add photos." if n > 2 else "Add photos, or leave --holdout away."
        raise InputError(f"Cannot hold out {n_holdout} of {n} photos: at least 2 must be left to train on. {advice}")
    # The k-th of h bins that cut the interior 1 .. n-2 into equal parts, at its middle.
    interior = n - 2
    test = [1 + int((k + 0.5) * interior / n_holdout) for k in range(n_holdout)]
    return _rest(n, test), test


def every_nth(n: int, step: int = 8, start: int = 0) -> tuple[list[int], list[int]]:
    """LLFF's rule, (train, test): every `step`-th photo is a test view (Mildenhall et al. 2019; mip-NeRF 360 too)."""
    test = list(range(start, n, step))
    return _rest(n, test), test


def spread(indices: Sequence[int], count: int) -> list[int]:
    """`count` of `indices`, evenly spaced with both ends: RegNeRF's choice of few input views on LLFF.

    Raises:
        InputError: more are asked for than there are.
    """
    if not 1 <= count <= len(indices):
        raise InputError(f"Cannot choose {count} of {len(indices)} photos. Ask for 1 to {len(indices)}.")
    return [indices[round(i)] for i in np.linspace(0, len(indices) - 1, count)]


def views_split(axes: Float[np.ndarray, "V 3"], count: int) -> tuple[list[int], list[int]]:
    """The split of `recon bench views`, (inputs, tests), both ascending: LLFF's where it asks for what photos can tell.

    LLFF's: every 8th view is a test view (at most `MAX_TESTS` of them, evenly), the inputs are spread evenly over the
    rest. It is kept where a chain over the inputs need not bridge more than `MAX_GAP_DEG` and every test view is within
    `MAX_REACH_DEG` of an input; angles are between viewing directions. Elsewhere (cameras all round an object, or in no
    order) it would ask for what no photo shows, and `neighbours_split` is taken.

    Args:
        axes: viewing directions in the world, unit length.

    Raises:
        InputError: no view would be left to test.
    """
    n = len(axes)
    if count >= n:
        raise InputError(f"Cannot choose {count} inputs of {n} views and have one to test. Ask for 1 to {n - 1}.")
    angles = np.degrees(np.arccos(np.clip(axes @ axes.T, -1, 1)))
    train, tests = every_nth(n)
    if count <= len(train):
        inputs, tests = spread(train, count), spread(tests, min(MAX_TESTS, len(tests)))
        between = angles[np.ix_(inputs, inputs)]
        gap = minimum_spanning_tree(between + 1e-9).toarray().max()  # zeros would mean "no edge" to scipy
        if gap <= MAX_GAP_DEG and angles[np.ix_(tests, inputs)].min(1).max() <= MAX_REACH_DEG:
            return inputs, tests
    return neighbours_split(angles, count)


def neighbours_split(angles_deg: Float[np.ndarray, "V V"], count: int) -> tuple[list[int], list[int]]:
    """Inputs at steps of about `STEP_DEG`, and test views among them, (inputs, tests), both ascending.

    The inputs grow from one view: the next is the one whose angle to the nearest chosen one is closest to the step. Of
    all first views the one is taken whose steps keep closest. The test views are those within a step of two inputs, at
    most `MAX_TESTS` of them, evenly in their order; the two that are closest to it, where fewer are.
    """
    inputs = min(_grow(angles_deg, first, count) for first in range(len(angles_deg)))[1]
    rest = _rest(len(angles_deg), inputs)
    second = np.sort(angles_deg[np.ix_(rest, inputs)], axis=1)[:, min(1, count - 1)]
    seen_twice = [view for view, angle in zip(rest, second) if angle <= STEP_DEG]
    if len(seen_twice) < 2:
        seen_twice = sorted(rest[i] for i in np.argsort(second, kind="stable")[:2])
    return sorted(inputs), spread(seen_twice, min(MAX_TESTS, len(seen_twice)))


def _grow(angles_deg: np.ndarray, first: int, count: int) -> tuple[float, list[int]]:
    """How far the steps are from `STEP_DEG` in all, and the views."""
    chosen, cost = [first], 0.0
    while len(chosen) < count:
        miss = np.abs(angles_deg[:, chosen].min(axis=1) - STEP_DEG)
        miss[chosen] = np.inf
        chosen.append(int(miss.argmin()))
        cost += float(miss[chosen[-1]])
    return cost, chosen


def dtu_test_views(inputs: Sequence[int], n: int = 49) -> list[int]:
    """RegNeRF's DTU test views: those of `n` that are neither inputs nor wrongly exposed."""
    left_out = {*inputs, *DTU_UNUSED_VIEWS}
    return [i for i in range(n) if i not in left_out]


def _few_of_every_nth(n: int, count: int) -> tuple[list[int], list[int]]:
    train, test = every_nth(n)
    return spread(train, count), test


def _even(n: int, count: int) -> tuple[list[int], list[int]]:
    inputs = spread(range(n), count)
    return inputs, _rest(n, inputs)


def _dtu(n: int, count: int) -> tuple[list[int], list[int]]:
    return _first(DTU_INPUTS, count), dtu_test_views(DTU_INPUTS, n)


def _blender(n: int, count: int) -> tuple[list[int], list[int]]:
    first_test = BLENDER_VIEWS["train"] + BLENDER_VIEWS["val"]
    return _first(BLENDER_INPUTS, count), list(range(first_test, n, 8))


def _first(views: Sequence[int], count: int) -> list[int]:
    if not 1 <= count <= len(views):
        raise InputError(f"Cannot choose {count} of {len(views)} views. Ask for 1 to {len(views)}.")
    return list(views[:count])


RULES: Mapping[str, Callable[[int, int], tuple[list[int], list[int]]]] = {
    "every_8th": _few_of_every_nth,
    "even": _even,
    "dtu": _dtu,
    "blender": _blender,
}
"""Of n views and a number of inputs.

every_8th: every 8th view from the first is a test view, the inputs are spread evenly over the rest (LLFF in RegNeRF,
mip-NeRF 360 in FSGS). even: the inputs are spread evenly with both ends, all others are tested (ours). dtu: pixelNeRF's
inputs; the test views are RegNeRF's 25, the same for 3, 6 and 9 inputs. blender: DietNeRF's inputs; the 25 test views
are every 8th of the 200 (counted after train and val), as nerf-pytorch, which DietNeRF builds on, evaluates.
"""


def _rest(n: int, chosen: Sequence[int]) -> list[int]:
    taken = set(chosen)
    return [i for i in range(n) if i not in taken]
