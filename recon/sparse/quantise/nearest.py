"""The nearest of many centres, exactly, without ever storing the N x K matrix of distances."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon.native import vq

_BLOCK_VALUES = 1 << 22  # scores that torch holds at once: 16 MB of float32, about what the caches hold


def nearest(points: Float[Tensor, "N D"], centers: Float[Tensor, "K D"]) -> Int64[Tensor, " N"]:
    """Index of the centre with the smallest Euclidean distance to each point; the first of equals.

    Raises:
        ValueError: there are no centres.
    """
    if len(centers) == 0:
        raise ValueError("The nearest of no centres was asked for; pass at least one.")
    # Distances survive a shift, but their rounding errors grow with the distance from the origin.
    middle = centers.detach().mean(0)
    points, centers = points.detach() - middle, centers.detach() - middle
    if vq.available(points, centers):
        return vq.nearest(points, centers)
    return _nearest_torch(points, centers)


def _nearest_torch(points: Tensor, centers: Tensor) -> Tensor:
    """argmin of |c|^2 / 2 - x.c, which differs from half the squared distance by what all centres have in common."""
    half_norms = centers.square().sum(1) / 2
    rows = max(1, _BLOCK_VALUES // len(centers))
    labels = [torch.addmm(half_norms, block, centers.T, alpha=-1).argmin(1) for block in points.split(rows)]
    return torch.cat(labels) if labels else torch.empty(0, dtype=torch.int64, device=points.device)
