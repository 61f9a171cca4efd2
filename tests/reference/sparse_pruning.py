"""Pruning in plain loops: masks by sorting, the group envelope by search, ADMM and sharing value by value."""

from collections.abc import Callable, Sequence
from itertools import product


def keep_count(scores: Sequence[float], count: int) -> list[bool]:
    """The `count` largest, the earlier of equals first."""
    best = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count]
    return [i in best for i in range(len(scores))]


def keep_n_of_m(scores: Sequence[float], n: int, m: int) -> list[bool]:
    """The n largest of every m in a row."""
    kept: list[bool] = []
    for start in range(0, len(scores), m):
        kept += keep_count(scores[start : start + m], n)
    return kept


def keep_global(tensors: Sequence[Sequence[float]], density: float, floors: Sequence[int]) -> list[list[bool]]:
    """First each tensor's own best, then the best of all the rest, one at a time."""
    kept = [keep_count(scores, floor) for scores, floor in zip(tensors, floors)]
    total = round(density * sum(len(scores) for scores in tensors))
    while sum(map(sum, kept)) < total:
        left = [(-score, t, i) for t, scores in enumerate(tensors) for i, score in enumerate(scores) if not kept[t][i]]
        _, t, i = min(left)
        kept[t][i] = True
    return kept


def cubic_density(step: int, start: int, stop: int, target: float) -> float:
    """Zhu and Gupta's sparsity s_f + (s_i - s_f) (1 - (t - t0) / (n dt))^3 with s_i = 0, as a density."""
    if step <= start:
        return 1.0
    if step >= stop:
        return target
    final = 1 - target
    return 1 - (final - final * (1 - (step - start) / (stop - start)) ** 3)


def prox_envelope(norms: Sequence[float], weights: Sequence[float], budget: float, strength: float) -> list[float]:
    """Norms after the proximal step, the price of the budget found by bisection."""

    def shares(price: float) -> list[float]:
        return [min(1.0, max(0.0, price * n / w**0.5 - strength)) for n, w in zip(norms, weights)]

    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        if sum(w * u for w, u in zip(weights, shares(middle))) < budget:
            low = middle
        else:
            high = middle
    return [n * u / (u + strength) if u > 0 else 0.0 for n, u in zip(norms, shares(low))]


def envelope_of_pairs(norms: Sequence[float], weights: Sequence[float], budget: float, steps: int = 2000) -> float:
    """The envelope of two groups: the least of n1^2 / 2u + n2^2 / 2v over a fine grid of shares within the budget."""
    best = float("inf")
    for i in range(1, steps + 1):
        u = i / steps
        v = min(1.0, (budget - weights[0] * u) / weights[1])
        if v > 0:
            best = min(best, norms[0] ** 2 / (2 * u) + norms[1] ** 2 / (2 * v))
    return best


def admm(
    values: list[float],
    steps: int,
    project: Callable[[list[float]], list[float]],
    rho: float,
    rate: float,
    goal: Sequence[float],
) -> list[float]:
    """Gradient descent on |x - goal|^2 / 2 with ADMM's pull, the dual updated after each step."""
    target, dual = project(values), [0.0] * len(values)
    for _ in range(steps):
        for i in range(len(values)):
            gradient = values[i] - goal[i] + rho * (values[i] - target[i] + dual[i])
            values[i] -= rate * gradient
        target = project([x + u for x, u in zip(values, dual)])
        dual = [u + x - z for u, x, z in zip(dual, values, target)]
    return values


def best_subset(norms: Sequence[float], weights: Sequence[float], budget: float) -> float:
    """Largest sum of squares of groups within the budget, over all subsets."""
    return max(
        sum(n * n for n, on in zip(norms, chosen) if on)
        for chosen in product((False, True), repeat=len(norms))
        if sum(w for w, on in zip(weights, chosen) if on) <= budget
    )
