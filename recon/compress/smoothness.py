"""How unlike their neighbours in the file Gaussians are, as something that fitting can lower.

Lossless images are coded as differences to neighbouring pixels, so what is alike costs little. Self-organising grids
(Morgenstern et al. 2024, "Compact 3D scene representation via self-organizing Gaussian grids") fit with a smoothness
term; ours counts bits, so that what hardly shows takes its neighbours' values and what shows keeps its own.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon.compress.codes import QuantiseConfig
from recon.types import Splats

DIRECTIONS = 2
"""Pixels have a neighbour on the left and one above."""


def unlikeness(splats: Splats, config: QuantiseConfig, width: int) -> Float[Tensor, ""]:
    """About how many bits a Gaussian takes for what is not its position: of the differences to its neighbours in rows
    of `width`, in steps of `config`, the mean of log2(1 + r^2) / 2. Differentiable.
    """
    return unlike(_in_steps(splats, config), width)


def unlike(values: Float[Tensor, "N D"], width: int) -> Float[Tensor, ""]:
    """The same for any values, in steps."""
    rows = values[: len(values) // width * width].reshape(-1, width, values.shape[1])
    across, down = rows[:, 1:] - rows[:, :-1], rows[1:] - rows[:-1]
    # Squared by hand: the backward pass of `square` calls `pow`, which is slow.
    total = (across * across).log1p().sum() + (down * down).log1p().sum()
    return total / (2 * math.log(2) * DIRECTIONS * len(values))


def _in_steps(splats: Splats, config: QuantiseConfig) -> Float[Tensor, "N D"]:
    """Scales (the smallest is the last: `canonical`), colours (their differences to green, as WebP stores them),
    opacities and rotations, in units of what they are rounded to."""
    scales = splats.log_scales / (splats.log_scales.new_tensor([1, 1, config.thin]) * config.scale_step)
    red, green, blue = (splats.sh0[:, 0] / config.color_step).split(1, dim=1)
    quats = torch.nn.functional.normalize(splats.quats, dim=1)
    quats = (quats * quats[:, :1].detach().sign())[:, 1:] * (config.rotation_steps * 0.5**0.5)
    return torch.cat(
        [scales, green, red - green, blue - green, splats.opacities[:, None] * config.opacity_steps, quats], 1
    )
