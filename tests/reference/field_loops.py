"""Compositing along rays in plain loops, in double precision."""

from collections.abc import Sequence
from math import exp


def weights(thickness: Sequence[float]) -> list[float]:
    """How much each sample of one ray adds to its pixel, near to far."""
    light, added = 1.0, []
    for value in thickness:
        added.append(light * (1 - exp(-value)))
        light *= exp(-value)
    return added
