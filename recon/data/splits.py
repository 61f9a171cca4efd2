"""Which photos to train on and which to hold out: pure functions of counts and indices, the same every time.

`RULES` are those of the papers, by the names that the manifests in `datasets/manifests` use; each returns
(input views, test views). The files in `datasets/splits` are what they give.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recon.errors import InputError

DTU_UNUSED_VIEWS = (*range(3, 8), *range(16, 22), *range(36, 40))
"""Views of 0 to 48 that RegNeRF leaves out of its DTU test set for their wrong exposure (Niemeyer et al. 2022)."""
DTU_INPUTS = (25, 22, 28, 40, 44, 48, 0, 8, 13)
"""pixelNeRF's input views (Yu et al. 2021), of which the papers take the first 3, 6 or 9."""
BLENDER_INPUTS = (26, 86, 2, 55, 75, 93, 16, 73)
"""DietNeRF's eight of the 100 training views (Jain et al. 2021)."""
BLENDER_VIEWS = {"train": 100, "val": 100, "test": 200}


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
