"""How much each value matters: scores of which the largest are kept."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def magnitude(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """|w| (Han et al. 2015, "Learning both weights and connections for efficient neural networks")."""
    return values.detach().abs()


def gradient_times_value(values: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """|w dL/dw|, to first order what the loss changes by when w becomes zero.

    Lee et al. 2019, "SNIP"; Molchanov et al. 2017, "Pruning convolutional neural networks for resource efficient
    inference".
    """
    return (values.detach() * gradient).abs()


def random_scores(values: Float[Tensor, "*shape"], seed: int) -> Float[Tensor, "*shape"]:
    """Uniform in [0, 1): the baseline that every other criterion must beat. The same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(values.shape, generator=generator).to(values)


def group_norms(parts: Sequence[Tensor]) -> Float[Tensor, " G"]:
    """Euclidean norm of each group: the rows with the same index of all `parts`, [G, ...] each.

    Yuan and Lin 2006, "Model selection and estimation in regression with grouped variables".

    Raises:
        ValueError: no parts, or parts with different numbers of rows.
    """
    if len({len(part) for part in parts}) != 1:
        raise ValueError(f"Groups need parts with equally many rows, got {[len(part) for part in parts]}.")
    squares = [part.detach().reshape(len(part), -1).square().sum(1) for part in parts]
    return torch.stack(squares).sum(0).sqrt()
