"""Filling what could not be matched: planes carried across the photo, stopping at its edges.

Two weighted least-squares problems on the pixel grid, first for the slopes of the inverse depth, then for the inverse
depth itself with those slopes as its wanted differences. So a half-seen floor continues as a floor and not as a wall
(the two steps of a total generalised variation without its non-smooth norm; our own shortcut). Solved by conjugate
gradients from coarse to fine.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_SMOOTHNESS = 0.3  # against a pixel of full confidence
_EDGE = 12.0  # difference of grey levels (of 255) at which two neighbours are a quarter as tied
_ITERATIONS = 20
_LAST_ITERATIONS = 8  # at the size asked for: the coarser ones have done the work
_LEVELLING = 0.01  # pull of slopes to zero, against a pixel of full confidence: far from matches, guess level
_RIM_PX, _RIM_WEIGHT = 1, 0.3
_SMALLEST = 24  # size of the coarsest grid


def fill(
    planes: Float[Tensor, "H W 3"], confidence: Float[Tensor, "H W"], guide: Float[Tensor, "H W"]
) -> Float[Tensor, "H W 3"]:
    """Planes everywhere from those with confidence; 0 marks pixels to be filled.

    Args:
        planes: inverse depth and slopes; what is not finite (cameras that nearly coincide make such) is filled, too.
        confidence: weight of each pixel's plane in [0, 1].
        guide: the photo in grey levels 0 to 255; values may differ across its edges.
    """
    finite = planes.isfinite().all(dim=-1)
    planes = torch.where(finite[..., None], planes, torch.zeros_like(planes))
    confidence = torch.where(finite, confidence, torch.zeros_like(confidence))
    if not bool((confidence > 0).any()):
        return planes
    confidence = _as_source(planes[..., 0], confidence)
    scale = (planes[..., 0] * confidence).sum() / confidence.sum()
    zero = torch.zeros(2, *guide.shape)
    firm = confidence + _LEVELLING * (1 - confidence)
    slopes = _solve(planes[..., 1:].permute(2, 0, 1) * (confidence / firm) / scale, firm, guide, zero, last=True)
    limit = 5.0 / max(guide.shape)  # a plane may change its inverse depth a few times over across the photo, no more
    slopes = slopes.clamp(-limit, limit)
    w = _solve(planes[None, ..., 0] / scale, confidence, guide, slopes, last=True)
    known = planes[..., 0][confidence > 0]
    w = (w[0] * scale).clamp(float(known.min()) * 0.7, float(known.max()) * 1.2)
    return torch.stack([w, slopes[0] * scale, slopes[1] * scale], dim=-1)


def carry(
    values: Float[Tensor, "*C H W"], weight: Float[Tensor, "H W"], guide: Float[Tensor, "H W"]
) -> Float[Tensor, "*C H W"]:
    """`values` of the pixels with `weight` carried across the photo; they may differ across its edges.

    Args:
        guide: the photo in grey levels 0 to 255.
    """
    channels = values.reshape(-1, *guide.shape)
    return _solve(channels, weight, guide, torch.zeros(2, *guide.shape), last=True).reshape(values.shape)


def _as_source(w: Float[Tensor, "H W"], confidence: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """What each pixel may tell the holes beside it.

    A hole between a near and a far surface is mostly the far one, hidden from the other photos, so far pixels say more;
    and the outermost pixels of a surface say little, because windows reach over its edge.
    """
    far = torch.quantile(w[confidence > 0][:: max(1, w.numel() // 20_000)], 0.05)
    farness = (far / w.clamp_min(1e-12)).clamp(0.1, 1.0)
    radius = _RIM_PX
    inner = -F.max_pool2d(-F.pad(confidence[None, None], (radius,) * 4, mode="replicate"), 2 * radius + 1, stride=1)[
        0, 0
    ]
    return confidence * farness * torch.where(inner > 0, 1.0, _RIM_WEIGHT)


def _solve(
    data: Float[Tensor, "C H W"],
    confidence: Float[Tensor, "H W"],
    guide: Float[Tensor, "H W"],
    slopes: Float[Tensor, "2 H W"],
    last: bool = False,
) -> Float[Tensor, "C H W"]:
    """min sum c (u - data)^2 + tie (u_q - u_p - slope_pq)^2, coarse to fine."""
    height, width = guide.shape
    if min(height, width) <= _SMALLEST:
        mean = (data * confidence).sum((1, 2), keepdim=True) / confidence.sum().clamp_min(1e-9)
        return _conjugate_gradients(mean.expand_as(data), data, confidence, guide, slopes, 3 * _ITERATIONS)
    weight = _halve(confidence[None])
    coarse = _solve(
        _halve(data * confidence) / weight.clamp_min(1e-9), weight[0], _halve(guide[None])[0], 2 * _halve(slopes)
    )
    start = F.interpolate(coarse[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    return _conjugate_gradients(start, data, confidence, guide, slopes, _LAST_ITERATIONS if last else _ITERATIONS)


def _halve(x: Float[Tensor, "C H W"]) -> Float[Tensor, "C h w"]:
    return F.avg_pool2d(x[None], 2, ceil_mode=True, count_include_pad=False)[0]


def _ties(guide: Float[Tensor, "H W"]) -> tuple[Tensor, Tensor]:
    """How strongly horizontal and vertical neighbours are tied."""
    across, down = guide[:, 1:] - guide[:, :-1], guide[1:] - guide[:-1]
    return tuple(_SMOOTHNESS * (1e-3 + 1 / (1 + (d / _EDGE) ** 2) ** 2) for d in (across, down))  # type: ignore


def _divergence(x: Tensor, y: Tensor) -> Tensor:
    """Minus the adjoint of forward differences: `x` [C, H, W-1] and `y` [C, H-1, W] to [C, H, W]."""
    return F.pad(x, (0, 1)) - F.pad(x, (1, 0)) + F.pad(y, (0, 0, 0, 1)) - F.pad(y, (0, 0, 1, 0))


def _conjugate_gradients(
    start: Tensor, data: Tensor, confidence: Tensor, guide: Tensor, slopes: Tensor, iterations: int
) -> Tensor:
    tie_x, tie_y = _ties(guide)
    mid_x, mid_y = 0.5 * (slopes[0, :, 1:] + slopes[0, :, :-1]), 0.5 * (slopes[1, 1:] + slopes[1, :-1])

    def apply(u: Tensor) -> Tensor:
        flow = _divergence(tie_x * (u[:, :, 1:] - u[:, :, :-1]), tie_y * (u[:, 1:] - u[:, :-1]))
        return confidence * u - flow

    diagonal = confidence + F.pad(tie_x, (0, 1)) + F.pad(tie_x, (1, 0))
    diagonal = diagonal + F.pad(tie_y, (0, 0, 0, 1)) + F.pad(tie_y, (0, 0, 1, 0)) + 1e-9
    wanted = confidence * data - _divergence((tie_x * mid_x)[None], (tie_y * mid_y)[None])
    u = start
    residual = wanted - apply(u)
    direction = residual / diagonal
    energy = (residual * direction).sum((1, 2), keepdim=True)
    for _ in range(iterations):
        image = apply(direction)
        step = energy / (direction * image).sum((1, 2), keepdim=True).clamp_min(1e-30)
        u = u + step * direction
        residual = residual - step * image
        scaled = residual / diagonal
        fresh = (residual * scaled).sum((1, 2), keepdim=True)
        direction = scaled + fresh / energy.clamp_min(1e-30) * direction
        energy = fresh
    return u
