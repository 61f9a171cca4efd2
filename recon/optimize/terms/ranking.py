"""Depth supervision that forgives scale: who is in front of whom, and what hangs together.

SparseNeRF (Wang et al. 2023): a coarse depth map may be wrong in every value and still be right about order. Eq. 4
and 5 rank pairs of pixels within a patch, eq. 6 keeps apart no two pixels that the coarse map holds together.

Deviations: pairs are whole pictures shifted by a few random offsets, not pixels of sampled patches; differences are
those of log depth, so that margins mean the same in any scene; pairs that the coarse map hardly tells apart are not
ranked, since its noise orders them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import Step, weighted_mean

MARGIN = 1e-4
"""m of eq. 5 and m' of eq. 6."""
TOLD_APART = 0.01
"""Relative difference in the coarse map from which a pair is ranked, and below which two pixels are one surface."""
PAIRS = 4
"""Random offsets a step."""
REACH = 0.1
"""Longest offset along x and y, as a share of the longer side."""
NEIGHBOURS = 2
"""How many of the eight pixels around one, the nearest in coarse depth, it must stay with."""
OFFSETS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""To half of the eight pixels around one; the others follow by symmetry."""


def term(step: Step) -> Float[Tensor, ""]:
    """Ranking and continuity of the rendered depth against the prior, or the stereo depth where there is none."""
    guide = step.target.guide
    if guide is None:
        return step.rgb.new_zeros(())
    reach = max(1, round(REACH * max(guide.depth.shape)))
    total = continuity(step.view.depth, guide.depth, guide.confidence)
    for _ in range(PAIRS):
        dy, dx = torch.randint(-reach, reach + 1, (2,), generator=step.generator).tolist()
        total = total + ranking(step.view.depth, guide.depth, guide.confidence, (dy, dx)) / PAIRS
    return total


def ranking(
    depth: Float[Tensor, "H W"],
    guide: Float[Tensor, "H W"],
    confidence: Float[Tensor, "H W"],
    offset: tuple[int, int],
) -> Float[Tensor, ""]:
    """Mean of max(log d_near - log d_far + m, 0) over the pairs (p, p + offset) that `guide` orders (eq. 4, 5)."""
    a, b = shifted(depth, offset)
    guide_a, guide_b = shifted(guide, offset)
    order = torch.log(guide_b.clamp_min(1e-6)) - torch.log(guide_a.clamp_min(1e-6))  # > 0: a is nearer
    weight = _pair_weight(confidence * (guide > 0) * (depth.detach() > 0), offset) * (order.abs() > TOLD_APART)
    difference = torch.log(a.clamp_min(1e-6)) - torch.log(b.clamp_min(1e-6))
    return weighted_mean((difference * order.sign() + MARGIN).clamp_min(0), weight)


def continuity(
    depth: Float[Tensor, "H W"], guide: Float[Tensor, "H W"], confidence: Float[Tensor, "H W"]
) -> Float[Tensor, ""]:
    """Mean of max(|log d_p - log d_q| - m', 0) over the pixels q around p that are nearest to it in `guide` (eq. 6).

    On a slanted surface these lie along lines of equal depth, so that it is not flattened.
    """
    valid = confidence * (guide > 0) * (depth.detach() > 0)
    log_guide, log_depth = guide.clamp_min(1e-6).log(), depth.clamp_min(1e-6).log()
    apart, gaps, weights = [], [], []
    for offset in OFFSETS + tuple((-dy, -dx) for dy, dx in OFFSETS):
        weight = _around(_pair_weight(valid, offset), offset, 0.0)
        g_a, g_b = shifted(log_guide, offset)
        d_a, d_b = shifted(log_depth, offset)
        apart.append(torch.where(weight > 0, _around((g_a - g_b).abs(), offset, torch.inf), torch.inf))
        gaps.append(_around((d_a - d_b).abs(), offset, 0.0))
        weights.append(weight)
    distance, nearest = torch.stack(apart).topk(NEIGHBOURS, dim=0, largest=False)
    chosen = torch.stack(weights).gather(0, nearest) * (distance < TOLD_APART)
    return weighted_mean((torch.stack(gaps).gather(0, nearest) - MARGIN).clamp_min(0), chosen)


def shifted(image: Float[Tensor, "H W"], offset: tuple[int, int]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Values at p and at p + (dy, dx), for all p where both lie inside."""
    dy, dx = offset
    height, width = image.shape
    here = image[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    there = image[max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)]
    return here, there


def _pair_weight(weight: Tensor, offset: tuple[int, int]) -> Tensor:
    a, b = shifted(weight, offset)
    return torch.minimum(a, b)


def _around(values: Tensor, offset: tuple[int, int], fill: float) -> Tensor:
    """Values of `shifted` pairs back at the place of p in the whole picture, `fill` where p + offset lies outside."""
    dy, dx = offset
    padding = (max(0, -dx), max(0, dx), max(0, -dy), max(0, dy))
    return torch.nn.functional.pad(values, padding, value=fill)
