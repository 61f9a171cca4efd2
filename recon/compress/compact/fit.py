"""Fitting a painter: first to what the Gaussians have, then to what they show, its numbers rounded and pruned."""

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.compress.codes import TOP, Codes, QuantiseConfig, dequantise, to_log
from recon.compress.compact.model import CompactConfig, Painter
from recon.compress.smoothness import unlike, unlikeness
from recon.compress.sog import image_size
from recon.render.refit import Dress, Penalty
from recon.sparse import Cubic, keep_density
from recon.types import Splats

OPACITY = 1.5
"""How much an error of the opacity counts beside one of a coefficient."""
BIT = 3e-4
"""Squared error of the coefficients that fitting to them may add to save one bit a Gaussian: about what the bit buys
where colours are rounded to 0.05."""
LARGEST_LOGIT = 6.0
LAST = 0.1
"""Share of the rates that is left at the end, exponentially."""


def places(means: Float[Tensor, "N 3"], codes: Codes) -> Float[Tensor, "N 3"]:
    """Positions in [0, 1] of the box that `codes` lie in, after its logarithm."""
    low, step = (t.to(means.device) for t in (codes.low, codes.step))
    return ((to_log(means.detach()) - low) / (step * TOP)).float()


def start(splats: Splats, codes: Codes, weights: Float[Tensor, " N"], config: CompactConfig) -> Painter:
    """A painter fitted to the coefficients and opacities of `splats`, errors weighted; its grid is pruned on the way.
    It is asked with what the file holds, rounded.

    Latents start as the principal components of what they stand for.
    """
    painter = Painter(config, len(splats), splats.shN.shape[1])
    rounded = dequantise(codes)
    truth, at = _truth(splats, config), places(rounded.means, codes)
    _from_components(painter, truth, weights)
    optimizer = torch.optim.Adam(_groups(painter, config.rate), eps=1e-15)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, LAST ** (1 / max(1, config.fit)))
    pruning = Cubic(config.fit // 4, 3 * config.fit // 4, config.keep, max(1, config.fit // 20))
    met = None if painter.grid is None else painter.grid.weights_of_rows(at, weights)
    generator = torch.Generator().manual_seed(0)
    for step in range(config.fit):
        index = torch.multinomial(weights, min(config.batch, len(splats)), replacement=True, generator=generator)
        told = painter(at[index], rounded.log_scales[index], index)
        optimizer.zero_grad()
        (_error(told, truth[index], config) + BIT * bits(painter, len(splats))).backward()
        optimizer.step()
        schedule.step()
        if met is not None:
            prune(painter, met, pruning.density(step))
    if met is not None:
        left = (painter.numbers.detach() != 0).any(1, keepdim=True)
        painter.numbers.register_hook(lambda gradient: gradient * left.to(gradient))  # what is gone stays gone
    return painter


def _groups(painter: Painter, rate: float) -> list[dict[str, Any]]:
    return [{"params": [painter.numbers], "lr": rate}, {"params": list(painter.networks()), "lr": rate / 5}]


def bits(painter: Painter, count: int) -> Float[Tensor, ""]:
    """About how many bits a Gaussian, of `count`, the whole numbers take; latents are stored as pictures."""
    steps = painter.numbers * painter.config.steps_per_unit
    if painter.latents is not None:
        return unlike(steps, image_size(count)[0])
    return (steps * steps).log1p().sum() / (2 * math.log(2) * count)


@torch.no_grad()
def prune(painter: Painter, met: Float[Tensor, " R"], density: float) -> None:
    """Rows of the grid that matter least become zero: small ones that few Gaussians, or light ones, meet."""
    kept = keep_density(met * painter.numbers.detach().square().sum(1), density)
    painter.numbers[~kept] = 0


def _truth(splats: Splats, config: CompactConfig) -> Float[Tensor, "N O"]:
    parts = [] if config.stores_color else [splats.sh0[:, 0]]
    parts += [] if config.stores_opacity else [splats.logit_opacities[:, None].clamp(-LARGEST_LOGIT, LARGEST_LOGIT)]
    return torch.cat([*parts, splats.shN.flatten(1)], dim=1)


def _error(told: Tensor, truth: Tensor, config: CompactConfig) -> Float[Tensor, ""]:
    """Squared errors of the coefficients, and of the opacity itself."""
    off = told - truth
    if not config.stores_opacity:
        at = 0 if config.stores_color else 3
        opacity = OPACITY * (told[:, at].sigmoid() - truth[:, at].sigmoid())
        off = torch.cat([off[:, :at], opacity[:, None], off[:, at + 1 :]], dim=1)
    return off.square().sum(1).mean()


@torch.no_grad()
def _from_components(painter: Painter, truth: Float[Tensor, "N O"], weights: Float[Tensor, " N"]) -> None:
    """Start with the mean and, of latents, with the principal components, each with a deviation of 1."""
    share = (weights / weights.sum())[:, None]
    mean = (truth * share).sum(0)
    painter.straight.weight.zero_()
    painter.straight.bias.copy_(mean)
    painter.last.weight.mul_(0.1)
    if painter.latents is None:
        return
    off = truth - mean
    values, vectors = torch.linalg.eigh(off.T @ (off * share))
    count = painter.latents.shape[1]
    main, deviation = vectors[:, -count:], values[-count:].clamp_min(1e-12).sqrt()
    painter.latents.copy_(off @ main / deviation)
    painter.straight.weight[:, :count] = main * deviation


def dress(painter: Painter, codes: Codes, rate: float) -> Dress:
    """The painter as something that is fitted to pictures along with the splats."""
    return Dress(_groups(painter, rate), lambda splats: painter.paint(splats, places(splats.means, codes)))


def penalty(painter: Painter, codes: Codes, bit: float, config: QuantiseConfig) -> Penalty:
    """What the file takes in bits, in units of the error; colours and opacities only as far as it holds them."""
    width = image_size(len(codes))[0]

    def of(splats: Splats) -> Tensor:
        held = splats
        if not painter.config.stores_opacity:
            held = replace(held, logit_opacities=torch.zeros_like(splats.logit_opacities))
        if not painter.config.stores_color:
            held = replace(held, sh0=torch.zeros_like(splats.sh0))
        return bit * (unlikeness(held, config, width) + bits(painter, len(codes)))

    return of
