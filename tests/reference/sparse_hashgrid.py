"""The hash encoding in plain loops, in double precision."""

from collections.abc import Sequence
from math import floor

PRIMES = (1, 2654435761, 805459861)


def encode(
    position: Sequence[float],
    levels: Sequence[tuple[int, int, int, bool]],
    table: Sequence[Sequence[float]],
    slots: Sequence[int] | None = None,
) -> list[float]:
    """Features of one position; levels are (offset, resolution, entries, hashed)."""
    features: list[float] = []
    for offset, resolution, entries, hashed in levels:
        scaled = [min(1.0, max(0.0, x)) * resolution for x in position]
        low = [min(resolution - 1, floor(x)) for x in scaled]
        sums = [0.0] * len(table[0])
        for corner in range(8):
            steps = [corner >> k & 1 for k in range(3)]
            cell = [a + s for a, s in zip(low, steps)]
            weight = 1.0
            for x, a, s in zip(scaled, low, steps):
                weight *= x - a if s else 1 - (x - a)
            if hashed:
                entry = 0
                for c, prime in zip(cell, PRIMES):
                    entry ^= c * prime % 2**32
                entry %= entries
            else:
                entry = cell[0] + (resolution + 1) * (cell[1] + (resolution + 1) * cell[2])
            row = offset + entry if slots is None else slots[offset + entry]
            if row >= 0:
                sums = [s + weight * t for s, t in zip(sums, table[row])]
        features += sums
    return features
