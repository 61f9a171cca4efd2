"""Averages of models that share a mask."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def sparse_soup(models: Sequence[Mapping[str, Tensor]], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of models retrained from one pruned parent with different seeds or rates; as sparse as each.

    Zimmer, Spiegel and Pokutta 2023, "Sparse model soups: a recipe for improved pruning via model averaging".

    Raises:
        ValueError: no models, or one with values outside the masks.
    """
    if not models:
        raise ValueError("Cannot average no models.")
    for i, model in enumerate(models):
        astray = [name for name, mask in masks.items() if bool(model[name][~mask].any())]
        if astray:
            raise ValueError(f"Model {i} has values outside the mask in {', '.join(astray)}: prune all by one mask.")
    return {name: torch.stack([model[name].detach() for model in models]).mean(0) for name in masks}
