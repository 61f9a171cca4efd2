"""Which photos to train on and which to hold out: pure functions of counts and indices, the same every time."""

from collections.abc import Sequence

import numpy as np

from recon.errors import InputError

DTU_UNUSED_VIEWS = (*range(3, 8), *range(16, 22), *range(36, 40))
"""Views of 0 to 48 that RegNeRF leaves out of its DTU test set for their wrong exposure (Niemeyer et al. 2022)."""


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


def _rest(n: int, chosen: Sequence[int]) -> list[int]:
    taken = set(chosen)
    return [i for i in range(n) if i not in taken]
