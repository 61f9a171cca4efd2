"""Figures of held-out views by loops over plain dictionaries: {(arm, seed, scene): [PSNR of each view]}."""

import math

Table = dict[tuple[str, int, str], list[float]]


def mean(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def deviation(values: list[float]) -> float:
    """With n - 1."""
    middle = mean(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))


def by_seed(figures: Table, arm: str) -> list[float]:
    """The mean over scenes of the means over views, for each seed in order."""
    found = []
    for seed in sorted({key[1] for key in figures if key[0] == arm}):
        scenes = []
        for key, views in figures.items():
            if key[0] == arm and key[1] == seed:
                scenes.append(mean(views))
        found.append(mean(scenes))
    return found


def gains(figures: Table, arm: str, other: str) -> list[float]:
    """For each seed, the mean over the scenes that both have of the differences."""
    found = []
    for seed in sorted({key[1] for key in figures if key[0] == arm}):
        differences = []
        for key, views in figures.items():
            if key[:2] == (arm, seed) and (other, seed, key[2]) in figures:
                differences.append(mean(views) - mean(figures[other, seed, key[2]]))
        if differences:
            found.append(mean(differences))
    return found
