"""Plane sweep in torch, for machines without a compiler: fronto-parallel planes, box windows, smoothed costs.

Slower than the native PatchMatch and coarser (no slanted windows); the interface and everything after it are the same.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import pixel_grid
from recon.stereo.config import StereoConfig
from recon.stereo.native import Matched
from recon.stereo.planes import slopes_of
from recon.stereo.warp import sample_image

_WINDOW = 7
_SMOOTHING_ROUNDS = 3
_COLOUR = 12.0  # grey levels at which a neighbour's costs count half


def sweep(
    grey: Float[Tensor, "H W"],
    others: list[Tensor],
    transfers: list[tuple[Tensor, Tensor]],
    inverse_depths: Float[Tensor, " D"],
    config: StereoConfig,
) -> Matched:
    """Depth of one photo.

    Args:
        grey: the photo, 0 to 255.
        others: the photos to match with.
        transfers: per other photo M and m with x' ~ M (x, y, 1) + m w.
        inverse_depths: planes to try, ascending.
    """
    mean, variance = _moments(grey)
    volume = torch.stack([_plane_cost(grey, mean, variance, others, transfers, w, config) for w in inverse_depths])
    smooth = _smoothed(volume, grey)
    best = smooth.argmin(dim=0)
    w = _between_planes(smooth, best, inverse_depths)
    planes = torch.cat([w[..., None], slopes_of(_moments(w)[0])], dim=-1)
    cost = volume.gather(0, best[None])[0]
    return Matched(planes, cost, variance)


def _moments(x: Float[Tensor, "H W"]) -> tuple[Tensor, Tensor]:
    """Mean and variance in a box window."""
    mean = _box(x)
    return mean, (_box(x * x) - mean * mean).clamp_min(0)


def _box(x: Tensor) -> Tensor:
    radius = _WINDOW // 2
    padded = F.pad(x[None, None], (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, _WINDOW, stride=1)[0, 0]


def _plane_cost(
    grey: Tensor,
    mean: Tensor,
    variance: Tensor,
    others: list[Tensor],
    transfers: list[tuple[Tensor, Tensor]],
    w: Tensor,
    config: StereoConfig,
) -> Float[Tensor, "H W"]:
    """1 - NCC pooled over the other photos: mostly the better ones, as each point may be hidden in some."""
    costs = []
    homogeneous = torch.cat([pixel_grid(*grey.shape), torch.ones(*grey.shape, 1)], dim=-1)
    for other, (M, m) in zip(others, transfers):
        at = homogeneous @ M.T + m * w
        z = at[..., 2].clamp_min(1e-6)
        uv = at[..., :2] / z[..., None]
        size = torch.tensor([other.shape[1], other.shape[0]])
        inside = (at[..., 2] > 1e-6) & ((uv >= 0) & (uv <= size)).all(-1)
        warped = sample_image(other[..., None], uv)[..., 0]
        mean_w, variance_w = _moments(warped)
        covariance = _box(grey * warped) - mean * mean_w
        ncc = (covariance + config.noise) / ((variance + config.noise) * (variance_w + config.noise)).sqrt()
        costs.append(torch.where(inside, (1 - ncc).clamp(0, 1), torch.ones_like(ncc)))
    ranked = torch.stack(costs).sort(dim=0).values
    kept = (len(costs) + 1) // 2
    return 0.75 * ranked[:kept].mean(0) + 0.25 * ranked.mean(0)


def _smoothed(volume: Float[Tensor, "D H W"], grey: Tensor) -> Float[Tensor, "D H W"]:
    """Costs averaged over growing neighbourhoods of like colour, so that flat regions follow their borders."""
    for k in range(_SMOOTHING_ROUNDS):
        step = 2**k
        total, weight = volume.clone(), torch.ones_like(grey)
        for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
            tie = 1 / (1 + ((_shifted(grey, dy, dx) - grey) / _COLOUR) ** 2)
            total += tie * _shifted(volume, dy, dx)
            weight += tie
        volume = total / weight
    return volume


def _shifted(x: Tensor, dy: int, dx: int) -> Tensor:
    """`x` moved by whole pixels in its last two dimensions, edges repeated."""
    height, width = x.shape[-2:]
    rows = (torch.arange(height) + dy).clamp(0, height - 1)
    columns = (torch.arange(width) + dx).clamp(0, width - 1)
    return x[..., rows, :][..., columns]


def _between_planes(volume: Tensor, best: Tensor, inverse_depths: Tensor) -> Float[Tensor, "H W"]:
    """Lowest plane with a parabola through its neighbours."""
    inner = best.clamp(1, len(inverse_depths) - 2)
    left, middle, right = (volume.gather(0, (inner + k)[None])[0] for k in (-1, 0, 1))
    curvature = left - 2 * middle + right
    shift = torch.where(curvature > 1e-9, 0.5 * (left - right) / curvature.clamp_min(1e-9), torch.zeros_like(left))
    shift = torch.where(best == inner, shift.clamp(-0.5, 0.5), torch.zeros_like(shift))
    step = inverse_depths[1] - inverse_depths[0]
    return inverse_depths[best] + shift * step
