"""How many values remain at which step: densities between 1 (all) and the target."""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.sparse.criteria import magnitude
from recon.sparse.masks import keep_density


class DensitySchedule(Protocol):
    """What a pruner asks before each step."""

    def density(self, step: int) -> float:
        """Share of the values that remains from this step on."""
        ...


@dataclass(frozen=True)
class OneShot:
    """Everything at once."""

    at: int
    target: float

    def density(self, step: int) -> float:
        return self.target if step >= self.at else 1.0


@dataclass(frozen=True)
class Cubic:
    """Much at first, little towards the end (Zhu and Gupta 2017, "To prune, or not to prune", eq. 1)."""

    start: int
    stop: int
    """The target is reached at this step."""
    target: float
    every: int = 1
    """Steps between two prunings; the density changes only then."""

    def density(self, step: int) -> float:
        if step >= self.stop:
            return self.target
        pruned_at = step - (step - self.start) % self.every
        if pruned_at <= self.start:
            return 1.0
        left = 1 - (pruned_at - self.start) / (self.stop - self.start)
        return self.target + (1 - self.target) * left**3


@dataclass(frozen=True)
class SoftShrinkage:
    """Unimportant values shrink by a share of themselves instead of vanishing, so that they can come back.

    ISS-P (Wang et al. 2023, "Iterative soft shrinkage learning for efficient image super-resolution"): until `stop` the
    mask follows the magnitudes at each step; from `stop` on it is frozen and hard.
    """

    stop: int
    target: float
    amount: float = 0.05
    """Share that an unimportant value loses at each step."""

    def apply(
        self, values: Float[Tensor, "*shape"], step: int, mask: Bool[Tensor, "*shape"] | None = None
    ) -> tuple[Float[Tensor, "*shape"], Bool[Tensor, "*shape"]]:
        """Values and mask after this step; hand back the mask at the next one."""
        values = values.detach()
        if mask is None or step < self.stop:
            mask = keep_density(magnitude(values), self.target)
        lost = self.amount if step < self.stop else 1.0
        return torch.where(mask, values, (1 - lost) * values), mask
