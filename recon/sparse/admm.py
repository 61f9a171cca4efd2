"""ADMM for pruning: train freely, but pulled towards values that satisfy the constraint."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

Project = Callable[[Tensor], Tensor]
"""The nearest values that satisfy the constraint, for example `values * keep_density(magnitude(values), 0.3)`."""


@dataclass(frozen=True)
class Admm:
    """State between updates, in scaled form (Boyd et al. 2011, "Distributed optimization and statistical learning via
    the alternating direction method of multipliers", section 3.1.1; for pruning Zhang et al. 2018, "A systematic DNN
    weight pruning framework using alternating direction method of multipliers").

    Add `penalty` to the loss at each step, call `update` every so many steps, and `project` the values at the end.
    """

    project: Project
    rho: float
    target: Tensor
    """The projected values."""
    dual: Tensor
    """Sum of the violations so far."""

    @staticmethod
    def start(values: Tensor, project: Project, rho: float) -> "Admm":
        """Nothing violated yet.

        Raises:
            ValueError: `rho` is not positive.
        """
        if rho <= 0:
            raise ValueError(f"The weight rho of the penalty must be positive, got {rho:g}.")
        return Admm(project, rho, project(values.detach()), torch.zeros_like(values))

    def penalty(self, values: Tensor) -> Float[Tensor, ""]:
        """rho / 2 |values - target + dual|^2."""
        return self.rho / 2 * (values - self.target + self.dual).square().sum()

    def update(self, values: Tensor) -> "Admm":
        """A new target, and the dual moved by what the values still miss it by."""
        values = values.detach()
        target = self.project(values + self.dual)
        return replace(self, target=target, dual=self.dual + values - target)

    def violation(self, values: Tensor) -> float:
        """How far the values are from the target, relative to their norm."""
        return float((values.detach() - self.target).norm() / values.detach().norm().clamp_min(1e-30))
