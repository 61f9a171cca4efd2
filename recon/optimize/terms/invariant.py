"""Depth supervision up to a scale and a shift of inverse depth, which is what monocular networks leave open.

Two forms, of the whole picture or patch by patch:
- the residual after the best scale and shift: MiDaS (Ranftl et al. 2020), eq. 3 and 4;
- one minus Pearson's correlation: FSGS (Zhu et al. 2024), eq. 6; patch by patch as in SparseGS (Xiong et al. 2024).

With equal weights and a prior of unit variance they are two faces of one: the residual is 1 - r^2.

Deviations: pixels are weighted by the confidence of the prior; it is the rendering that is aligned to the prior, as in
MiDaS, since the other way round a flat rendering would cost nothing.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import Step

PATCH = 0.15
"""Side of a patch as a share of the longer side of the picture."""
MIN_FILLED = 0.25
"""Patches with less weight than this share of their pixels are left out: few pixels correlate by chance."""
FLAT = 1e-4
"""Relative spread of the prior within a patch below which it has no shape to correlate with."""


def correlation_term(step: Step) -> Float[Tensor, ""]:
    """1 - correlation over the whole picture."""
    maps = _inverse_maps(step)
    return step.rgb.new_zeros(()) if maps is None else (1 - correlation(*(m.reshape(1, -1) for m in maps))).mean()


def patch_correlation_term(step: Step) -> Float[Tensor, ""]:
    """1 - correlation, mean over the patches of a grid that lies elsewhere at each step."""
    maps = _inverse_maps(step)
    if maps is None:
        return step.rgb.new_zeros(())
    size = max(8, round(PATCH * max(maps[0].shape)))
    shift = torch.randint(0, size, (2,), generator=step.generator).tolist()
    rendered, prior, weight = (patches(m, size, shift) for m in maps)
    spread = _moments(prior, prior, weight)[2].sqrt() / _mean(prior, weight)[:, 0].abs().clamp_min(1e-12)
    keep = (weight.mean(1) > MIN_FILLED) & (spread > FLAT)
    if not keep.any():
        return step.rgb.new_zeros(())
    return (1 - correlation(rendered[keep], prior[keep], weight[keep])).mean()


def scale_shift_term(step: Step) -> Float[Tensor, ""]:
    """The residual after alignment, in units of the prior's variance."""
    maps = _inverse_maps(step)
    if maps is None:
        return step.rgb.new_zeros(())
    rendered, prior, weight = (m.reshape(-1) for m in maps)
    variance = _moments(prior[None], prior[None], weight[None])[2][0]
    return scale_shift_residual(rendered, prior, weight) / variance.clamp_min(1e-20)


def correlation(a: Float[Tensor, "B P"], b: Float[Tensor, "B P"], weight: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
    """Weighted Pearson correlation of each row of `a` and `b`."""
    covariance, variance_a, variance_b = _moments(a, b, weight)
    # The floor is relative: inverse depth of a far scene is small.
    floor = 1e-12 * (_mean(a.detach(), weight)[:, 0] * _mean(b, weight)[:, 0]).square()
    return covariance / (variance_a * variance_b + floor + 1e-30).sqrt()


def scale_shift_residual(
    rendered: Float[Tensor, " P"], prior: Float[Tensor, " P"], weight: Float[Tensor, " P"]
) -> Float[Tensor, ""]:
    """Weighted mean of (s rendered + t - prior)^2 at the s and t that make it least (MiDaS eq. 3 and 4).

    No gradient need flow through s and t: at the minimum the residual does not depend on them.
    """
    covariance, variance, _ = (m[0] for m in _moments(rendered[None].detach(), prior[None], weight[None]))
    scale = covariance / variance.clamp_min(1e-20)
    shift = _mean(prior[None], weight[None])[0, 0] - scale * _mean(rendered[None].detach(), weight[None])[0, 0]
    return (weight * (scale * rendered + shift - prior).square()).sum() / weight.sum().clamp_min(1e-12)


def patches(image: Float[Tensor, "H W"], size: int, shift: list[int]) -> Float[Tensor, "B P"]:
    """Squares of `size` pixels of a grid that starts at `shift` (y, x), as rows; rests at the rims are dropped."""
    height, width = image.shape
    size = min(size, height, width)
    top, left = min(shift[0], height - size), min(shift[1], width - size)
    squares = image[top:, left:].unfold(0, size, size).unfold(1, size, size)
    return squares.reshape(-1, squares.shape[2] * squares.shape[3])


def _inverse_maps(step: Step) -> tuple[Tensor, Tensor, Tensor] | None:
    """Inverse rendered depth, inverse guide depth, weight."""
    guide, depth = step.target.guide, step.view.depth
    if guide is None:
        return None
    hit = (guide.depth > 0) & (depth.detach() > 0)
    inverse = torch.where(hit, 1 / torch.where(hit, depth, 1.0), 0.0)
    inverse_guide = torch.where(hit, 1 / torch.where(hit, guide.depth, 1.0), 0.0)
    return inverse, inverse_guide, guide.confidence * hit


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (weight * values).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1e-12)


def _moments(a: Tensor, b: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted covariance, variance of a, variance of b, per row."""
    a, b = a - _mean(a, weight), b - _mean(b, weight)
    return _mean(a * b, weight)[:, 0], _mean(a * a, weight)[:, 0], _mean(b * b, weight)[:, 0]
