"""Teaching the network: the loss of a pair, and a few more steps on the photos of the scene at hand."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.priors.diffusion.base import Prior, Views
from recon.priors.diffusion.network import (
    BlendNet,
    Correction,
    Planes,
    compose,
    confidence_logits,
    noised,
)

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""A distance of two batches of pictures [V,3,H,W] in [0, 1]."""


@runtime_checkable
class LearningPrior(Prior, Protocol):
    """A prior that can be taught the scene at hand."""

    def taught(self, seen: Sequence[tuple[Views, Float[Tensor, "H W 3"]]], steps: int) -> "LearningPrior":
        """A copy that has learnt from views of one camera each and the photos taken there."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it has learnt, as tensors."""
        ...

    def with_state(self, state: dict[str, Any]) -> "LearningPrior":
        """A copy that knows what `state_dict` gave."""
        ...


@dataclass(frozen=True)
class LossConfig:
    """What counts how much."""

    perceptual: float = 0.0
    confidence: float = 0.05
    unseen: float = 0.1
    """Weight of pixels where there are neither splats nor photos: what belongs there cannot be known."""
    soft: float = 0.02
    """Errors below count squared, above as they are (Charbonnier et al. 1994)."""
    doubt: float = 0.1
    """Error at which a pixel should be believed to 1/e."""
    bare: float = 0.5
    """Share of samples whose residual is left out, so that blending alone is learnt as well as it can be."""
    last: float = 0.5
    """Share of samples of pure noise, the time that is asked for."""


@dataclass(frozen=True)
class Pair:
    """V views, and photos taken there."""

    planes: Planes
    truth: Float[Tensor, "V 3 H W"]

    def crop(self, top: int, left: int, height: int, width: int) -> "Pair":
        """A window of all views."""

        def cut(values: Tensor) -> Tensor:
            return values[..., top : top + height, left : left + width]

        return Pair(Planes(*(cut(getattr(self.planes, f.name)) for f in fields(Planes))), cut(self.truth))

    @staticmethod
    def cat(pairs: Sequence["Pair"]) -> "Pair":
        """All views of pairs of one size."""
        planes = (torch.cat([getattr(p.planes, f.name) for p in pairs]) for f in fields(Planes))
        return Pair(Planes(*planes), torch.cat([p.truth for p in pairs]))


def pair_loss(
    network: BlendNet,
    pair: Pair,
    config: LossConfig,
    generator: torch.Generator,
    perceptual: Perceptual | None = None,
) -> Float[Tensor, ""]:
    """How far the network's clean pictures are from the truth, and its confidence from what its errors deserve."""
    planes = pair.planes
    last, time = torch.rand(2, len(pair.truth), generator=generator)
    time = torch.where(last < config.last, torch.ones_like(time), time)
    noise = torch.randn(pair.truth.shape, generator=generator)
    correction = network(noised(pair.truth - planes.rgb, time, noise), planes.stacked, time)
    shown = torch.rand(len(time), generator=generator) >= config.bare
    correction = replace(correction, residual=correction.residual * shown[:, None, None, None])
    picture = compose(planes, correction)
    error = (((picture - pair.truth) / config.soft).square() + 1).sqrt().mean(1) * config.soft
    known = torch.maximum(planes.alpha[:, 0], planes.valid.amax(1))
    loss = (error * (config.unseen + (1 - config.unseen) * known)).mean()
    loss = loss + config.confidence * _doubt_loss(planes, correction, picture, pair.truth, config)
    if perceptual is not None and config.perceptual > 0:
        loss = loss + config.perceptual * perceptual(picture, pair.truth)
    return loss


def _doubt_loss(
    planes: Planes, correction: Correction, picture: Tensor, truth: Tensor, config: LossConfig
) -> Float[Tensor, ""]:
    deserved = torch.exp(-(picture.detach() - truth).abs().mean(1) / config.doubt)
    return F.binary_cross_entropy_with_logits(confidence_logits(planes, correction), deserved)


def adapt(network: BlendNet, pairs: Sequence[Pair], steps: int, *, rate: float = 1e-4, seed: int = 0) -> BlendNet:
    """A copy of the network, taught on pairs of the scene at hand: its photos, each left out of a fit in turn.

    Args:
        pairs: each of one size; sizes may differ.
        steps: of Adam, on one pair each.
    """
    if not pairs or steps < 1:
        return network
    network = copy.deepcopy(network).train().requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(steps):
        pair = pairs[int(torch.randint(len(pairs), (1,), generator=generator))]
        loss = pair_loss(network, pair, LossConfig(), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)
