"""How much of a codebook is used: what shows its collapse."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True)
class Usage:
    """Of one codebook, by some labels."""

    used: float
    """Share of the entries that stand for at least one point."""
    perplexity: float
    """2 to the entropy of the labels in bits: how many equally frequent entries would say as much."""


def codebook_usage(labels: Int64[Tensor, "..."], count: int) -> Usage:
    """Usage of a codebook of `count` entries."""
    counts = torch.bincount(labels.flatten(), minlength=count).double()
    chances = counts[counts > 0] / counts.sum()
    return Usage(len(chances) / count, float((-(chances * chances.log2()).sum()).exp2()))
