"""From densities along rays to pixels: emission and absorption (Max 1995; Mildenhall et al. 2020, "NeRF", eq. 3)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def sample_weights(thickness: Float[Tensor, " M"], starts: Int64[Tensor, " R1"]) -> Float[Tensor, " M"]:
    """How much each sample adds to its pixel: what it absorbs of the light that those before it let through.

    Args:
        thickness: optical thickness, density times length, of the samples, ray after ray, near to far.
        starts: where each ray's samples start, and the end of the last.
    """
    thickness = thickness.double()  # one running sum over all rays: in single precision the late ones would lose digits
    before = thickness.cumsum(0) - thickness
    first = torch.repeat_interleave(starts[:-1], starts.diff())
    return (torch.exp(before[first] - before) * -torch.expm1(-thickness)).float()


def sum_by_ray(values: Float[Tensor, "M C"], starts: Int64[Tensor, " R1"]) -> Float[Tensor, "R C"]:
    """Sums over each ray's samples."""
    total = torch.nn.functional.pad(values.double().cumsum(0), (0, 0, 1, 0))[starts]
    return (total[1:] - total[:-1]).to(values.dtype)
