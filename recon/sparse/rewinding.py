"""Iterative magnitude pruning with rewinding: train, prune a little, start again from early values."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from recon.sparse.criteria import magnitude
from recon.sparse.masks import keep_global

Train = Callable[[dict[str, Tensor], dict[str, Tensor]], Mapping[str, Tensor]]
"""(start values, masks) -> trained values; what a mask excludes is zero at the start and must stay so."""


def iterative_magnitude(
    early: Mapping[str, Tensor], train: Train, density: float, rounds: int, floor: float = 0.0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trained values and masks at `density`, reached in equal ratios over `rounds` prunings.

    Frankle and Carbin 2019, "The lottery ticket hypothesis"; rewinding to values from early in training instead of the
    first ones is from Frankle et al. 2020, "Linear mode connectivity and the lottery ticket hypothesis".

    Args:
        early: values from early in the first training, which every round starts from.
        train: called `rounds` + 1 times, the last time with the final masks.
        floor: share that every tensor keeps of its values.

    Raises:
        ValueError: fewer than one round, or a floor above the density.
    """
    if rounds < 1:
        raise ValueError(f"Iterative pruning needs at least one round, got {rounds}.")
    masks = {name: torch.ones_like(value, dtype=torch.bool) for name, value in early.items()}
    for i in range(1, rounds + 1):
        trained = train(_masked(early, masks), masks)
        scores = {name: magnitude(value).masked_fill(~masks[name], -1.0) for name, value in trained.items()}
        masks = keep_global(scores, density ** (i / rounds), floor)
    return _masked(train(_masked(early, masks), masks), masks), masks


def _masked(values: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() * masks[name] for name, value in values.items()}
