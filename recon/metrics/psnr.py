"""Peak signal-to-noise ratio."""

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(
    a: Float[Tensor, "*b H W C"], b: Float[Tensor, "*b H W C"], mask: Float[Tensor, "*b H W"] | None = None
) -> Float[Tensor, "*b"]:
    """`-10 log10(mean squared error)` in dB for images in [0, 1]; infinite for equal images.

    Args:
        mask: weights of the pixels, 1 counts and 0 does not; NaN where it is 0 everywhere.
    """
    squared = (a - b).square()
    if mask is None:
        return -10 * torch.log10(squared.mean((-1, -2, -3)))
    return -10 * torch.log10((squared.mean(-1) * mask).sum((-1, -2)) / mask.sum((-1, -2)))
