"""Towards N of every M, little by little."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.sparse.masks import keep_n_of_m


@dataclass(frozen=True)
class ProgressivePattern:
    """Bambhaniya et al. 2024, "Progressive gradient flow for robust N:M sparsity training in transformers".

    `mask` decay multiplies what is outside the pattern by a factor that falls from 1 to 0 (their MdGf): gradients reach
    it ever more weakly. `structure` decay keeps the mask binary and tightens the pattern, halving what is kept of every
    M (their SdGf).
    """

    n: int
    m: int
    start: int
    stop: int
    """From this step on the pattern is n of m and nothing else."""
    decay: Literal["linear", "exponential", "structure"] = "exponential"

    def leak(self, step: int) -> float:
        """The factor on values outside the pattern."""
        if step >= self.stop or self.decay == "structure":
            return 0.0
        done = self._done(step)
        return 1 - done if self.decay == "linear" else 1e-3**done

    def kept(self, step: int) -> int:
        """How many of every m are inside the pattern."""
        if self.decay != "structure" or step >= self.stop:
            return self.n
        halvings = (self.m // max(1, self.n)).bit_length() - 1
        return max(self.n, self.m >> int(self._done(step) * (halvings + 1)))

    def soft_mask(self, scores: Float[Tensor, "*rows C"], step: int) -> Float[Tensor, "*rows C"]:
        """What the values are multiplied by in the forward pass, and so their gradients in the backward pass."""
        if step < self.start:
            return torch.ones_like(scores)
        mask = keep_n_of_m(scores.detach(), self.kept(step), self.m)
        return torch.where(mask, 1.0, self.leak(step)).to(scores.dtype)

    def _done(self, step: int) -> float:
        return min(1.0, max(0.0, (step - self.start) / (self.stop - self.start)))


def adaptive_decay(
    values: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    rate: float,
    second_moment: Float[Tensor, "*shape"] | None = None,
) -> Float[Tensor, "*shape"]:
    """Values outside the mask, moved towards zero by an L1 step that stops there; the others as they are.

    After CAST (Huang et al. 2025, "Continuous and differentiable semi-structured sparsity-aware training"): the mask is
    chosen anew every few steps, so a value that outgrows its neighbours is let go. With Adam's `second_moment` the step
    is divided by its root relative to the mean, as Adam divides gradients: where gradients are weak, decay is strong.

    Args:
        rate: length of the step, in the values' units.
    """
    values, step = values.detach(), torch.as_tensor(rate, dtype=values.dtype, device=values.device)
    if second_moment is not None:
        root = second_moment.sqrt()
        step = rate * root.mean() / root.clamp_min(1e-3 * float(root.mean()) + 1e-12)
    shrunk = values.sign() * (values.abs() - step).clamp_min(0)
    return torch.where(mask, values, shrunk)
