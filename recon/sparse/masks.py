"""Which values stay: masks of exactly so many, chosen by scores (larger is kept; of equal ones, the earlier)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def keep_count(scores: Float[Tensor, "*shape"], count: int) -> Bool[Tensor, "*shape"]:
    """The `count` largest scores.

    Raises:
        ValueError: a negative count, or more than there are scores.
    """
    if not 0 <= count <= scores.numel():
        raise ValueError(f"Cannot keep {count} of {scores.numel()} values.")
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().argsort(descending=True, stable=True)[:count]] = True
    return mask.view(scores.shape)


def keep_density(scores: Float[Tensor, "*shape"], density: float) -> Bool[Tensor, "*shape"]:
    """The largest `density` of the scores, in [0, 1]; rounded to the nearest count."""
    return keep_count(scores, round(density * scores.numel()))


def keep_groups(scores: Float[Tensor, " G"], density: float, like: Tensor) -> Bool[Tensor, "..."]:
    """Whole rows of `like` [G, ...]: those whose score is among the largest `density`."""
    rows = keep_density(scores, density)
    return rows.view(-1, *[1] * (like.ndim - 1)).expand(like.shape)


def keep_n_of_m(scores: Float[Tensor, "*rows C"], n: int, m: int) -> Bool[Tensor, "*rows C"]:
    """The n largest of every m consecutive scores along the last axis.

    Zhou et al. 2021, "Learning N:M fine-grained structured sparse neural networks from scratch".

    Raises:
        ValueError: n is not in 0..m, or the last axis is not a multiple of m.
    """
    if not 0 <= n <= m or scores.shape[-1] % m:
        raise ValueError(f"Cannot keep {n} of every {m} along an axis of {scores.shape[-1]}: pad it to a multiple.")
    groups = scores.reshape(-1, m)
    order = groups.argsort(dim=1, descending=True, stable=True)
    mask = torch.zeros_like(groups, dtype=torch.bool)
    return mask.scatter_(1, order[:, :n], True).view(scores.shape)


def keep_global(scores: Mapping[str, Tensor], density: float, floor: float = 0.0) -> dict[str, Tensor]:
    """Masks over several tensors with one threshold: the largest `density` of all scores together.

    A tensor keeps at least the share `floor` of its own, so that none is emptied: layer collapse (Tanaka et al. 2020,
    "Pruning neural networks without any data by iteratively conserving synaptic flow").

    Raises:
        ValueError: the floors alone need more than `density` allows.
    """
    flat = torch.cat([value.flatten().float() for value in scores.values()])
    sizes = [value.numel() for value in scores.values()]
    own = [keep_count(value, -int(-floor * value.numel() // 1)).flatten() for value in scores.values()]
    kept = torch.cat(own)
    budget = round(density * len(flat)) - int(kept.sum())
    if budget < 0:
        raise ValueError(f"A floor of {floor:g} in every tensor needs more than a density of {density:g}.")
    kept[flat.masked_fill(kept, -torch.inf).argsort(descending=True, stable=True)[:budget]] = True
    parts = kept.split(sizes)
    return {name: part.view(value.shape) for (name, value), part in zip(scores.items(), parts)}
