"""Splats to the bytes of a small SOG file: leave out, fit, round, fit to the rounding."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.compress.codes import Codes, dequantise, quantise, requantise
from recon.compress.compact import COMPACT, Compact, Painter, dress, penalty, start, unpack
from recon.compress.order import canonical, curve_order
from recon.compress.ply import ply_bytes
from recon.compress.presets import CompressConfig
from recon.compress.smoothness import unlikeness
from recon.compress.sog import image_size, sog_bytes
from recon.errors import InputError
from recon.events import EventSink, ignore
from recon.render import Rasterizer
from recon.render.importance import importance, shares_in, visible_size
from recon.render.looks import Looks, looks_around
from recon.render.refit import Penalty, RefitConfig, refit
from recon.types import Cameras, Splats

logger = logging.getLogger(__name__)

INVISIBLE = 1 / 255
"""No renderer draws a Gaussian whose opacity is less."""
DENSER = 0.13
"""A Gaussian costs more where fewer are left, because its neighbours are less alike: by this power of what is left."""
SMOOTHED = 0.93
"""Share of its bits that a Gaussian has once fitting has counted them. Both: `web` and `tiny` on two scenes, to 1%."""
MANY = 160_000
"""Of more Gaussians than so many, steps take longer, and fewer are taken."""
TABLES = 4096
"""Bytes that codebooks, headers and small pictures take in any file."""
TRIES = 8
FASTER = 7.0
"""Rate of a painter's numbers, which are larger than coefficients, in terms of theirs."""
WEIGHING = 16
"""So many views say what matters; more of them only take longer."""


@dataclass(frozen=True)
class Squeezed:
    """A small file, and what it shows."""

    data: bytes
    splats: Splats
    """As read back."""


@dataclass(frozen=True)
class Direct:
    """Gaussians whose colours are stored."""

    codes: Codes

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: Int[Tensor, " M"]) -> "Direct":
        """A subset."""
        return Direct(self.codes[index])

    def packed(self) -> bytes:
        """The file."""
        return sog_bytes(self.codes)

    def splats(self) -> Splats:
        """What is to be shown."""
        return dequantise(self.codes)


def squeeze(
    splats: Splats,
    config: CompressConfig,
    cameras: Cameras | None = None,
    rasterizer: Rasterizer | None = None,
    emit: EventSink = ignore,
) -> Squeezed:
    """Compress `splats` into a SOG file, or with `config.colors` into one whose colours a network knows.

    Args:
        cameras: those of the photos. Without them, Gaussians are left out only if nobody can see them, or for
            `config.max_gaussians` and `config.target_bytes`, and nothing is fitted.
        rasterizer: needed with cameras.

    Raises:
        InputError: no Gaussian that can be seen, or a target too small for any.
    """
    before, splats = splats, _stored(splats, config)
    if len(splats) == 0:
        raise InputError("None of the Gaussians can be seen, so there is nothing to compress. Give other splats.")
    if cameras is None or rasterizer is None:
        return _without_cameras(splats, config)
    if config.times_smaller is not None:
        largest = int(ply_bytes(before) / config.times_smaller) + TABLES
        if config.colors is not None:  # few Gaussians are not made smaller than the network is
            least = COMPACT[config.colors].sized(1).about_bytes(1, splats.shN.shape[1])
            largest = max(largest, 2 * TABLES + least)
        config = replace(config, target_bytes=min(largest, config.target_bytes or largest))
    looks = looks_around(before, cameras, config.views, config.max_side, rasterizer)
    count = _wanted(splats, config, config.keep, fitted=True)
    splats = reduce(splats, count, looks, rasterizer, config, emit)
    weights = shares_in(splats, looks.thinned(WEIGHING), rasterizer).cpu()
    settle = _paced(config.settle, len(before))
    if config.colors is not None:
        fitted = _painted(splats, weights + 1e-3, looks, rasterizer, replace(config, settle=settle), emit)
        return _fitting(fitted, weights, config)
    codes = quantise(splats, config.quantise, weights + 1e-3)

    def rounding(moving: Splats) -> Splats:
        return dequantise(requantise(moving.to("cpu"), codes, config.quantise))

    moved = refit(splats, looks, rasterizer, settle, rounding, _penalty(len(splats), config), emit)
    return _fitting(Direct(requantise(canonical(moved), codes, config.quantise)), weights, config)


def _painted(
    splats: Splats,
    weights: Float[Tensor, " N"],
    looks: Looks,
    rasterizer: Rasterizer,
    config: CompressConfig,
    emit: EventSink,
) -> Compact:
    """Gaussians and a painter, fitted together to what all of them showed."""
    assert config.colors is not None, "callers have looked"
    codes, painter = _start(splats, weights, config)
    painter.to(rasterizer.device)

    def rounding(moving: Splats) -> Splats:
        """Of what the painter knows, nothing is rounded."""
        stored = dequantise(requantise(moving.to("cpu"), codes, config.quantise))
        known = painter.config
        logits = stored.logit_opacities if known.stores_opacity else moving.logit_opacities
        sh0 = stored.sh0 if known.stores_color else moving.sh0
        return replace(stored, logit_opacities=logits, sh0=sh0, shN=moving.shN)

    clothes = dress(painter, codes, config.settle.sh0 * FASTER)
    cost = penalty(painter, codes, config.bit, config.quantise)
    moved = refit(splats, looks, rasterizer, config.settle, rounding, cost, emit, clothes)
    return Compact(requantise(canonical(moved), codes, config.quantise), painter.to("cpu"))


def _start(splats: Splats, weights: Float[Tensor, " N"], config: CompressConfig) -> tuple[Codes, Painter]:
    """Codes without a palette, and a painter that knows what they do not.

    Raises:
        InputError: only harmonics are to be known, and there are none.
    """
    assert config.colors is not None, "callers have looked"
    if config.colors == "harmonics" and splats.shN.shape[1] == 0:
        raise InputError("These splats look the same from everywhere: there are no harmonics. Leave --colors away.")
    codes = quantise(replace(splats, shN=splats.shN[:, :0]), config.quantise, weights)
    return codes, start(splats, codes, weights, COMPACT[config.colors].sized(len(splats)))


def file_bytes(splats: Splats, config: CompressConfig) -> int:
    """Size of the file that all of `splats` make, rounded but not fitted; little is known to change in fitting."""
    splats, painted = _stored(splats, config), 0
    if config.colors is not None:
        known = COMPACT[config.colors].sized(len(splats))
        painted = known.about_bytes(len(splats), splats.shN.shape[1])
        splats = replace(
            splats,
            sh0=splats.sh0 if known.stores_color else torch.zeros_like(splats.sh0),
            logit_opacities=splats.logit_opacities * known.stores_opacity,
            shN=splats.shN[:, :0],
        )
    return painted + len(sog_bytes(quantise(in_order(splats), replace(config.quantise, rounds=1))))


def in_order(splats: Splats) -> Splats:
    """As the file has them: neighbours one after the other, each Gaussian in the form that is most like the others."""
    return canonical(splats)[curve_order(splats.means)]


def _stored(splats: Splats, config: CompressConfig) -> Splats:
    """What can be seen, on the CPU, with the harmonics that the file has."""
    splats = splats.detach().to("cpu")
    splats = splats[splats.opacities >= INVISIBLE]
    flat = config.quantise.palette == 0 and config.colors is None
    return replace(splats, shN=splats.shN[:, :0]) if flat else splats


def reduce(
    splats: Splats, count: int, looks: Looks, rasterizer: Rasterizer, config: CompressConfig, emit: EventSink = ignore
) -> Splats:
    """`count` of the Gaussians, those that matter most, moved so that they show what all did; in the file's order.

    In several steps, because what is left grows and changes its importance: at a quarter of the Gaussians that gains
    0.13 dB over one step on held-out views (measured on the demo photos). Drawing them at random by their importance,
    as Mini-Splatting (Fang and Wang 2024) does, loses 0.12 dB instead.
    """
    first = len(splats)
    total = _paced(config.fit, first).steps
    for i in range(config.rounds):
        last = i == config.rounds - 1
        share = (i + 1) / config.rounds
        left = count if last else round(first * (count / first) ** share**0.8)
        splats = splats[most(importance(splats, looks.thinned(WEIGHING), rasterizer, seed=i).cpu(), left)]
        splats = in_order(splats) if last else splats
        steps = round(total * (2 if last else 1) / (config.rounds + 1))
        fit = replace(config.fit, steps=steps, last=config.fit.last if last else 1.0)
        splats = refit(splats, looks, rasterizer, fit, None, _penalty(left, config) if last else None, emit)
    return splats


def _paced(fit: RefitConfig, count: int) -> RefitConfig:
    """As many steps as there is time for with `count` Gaussians to start with."""
    return replace(fit, steps=max(1, round(fit.steps * min(1.0, MANY / count) ** 2)))


def _penalty(count: int, config: CompressConfig) -> Penalty | None:
    """What `count` Gaussians in the file's order cost in bits, in units of the error."""
    width = image_size(count)[0]
    if config.bit == 0 or count < 2 * width:
        return None
    return lambda splats: config.bit * unlikeness(splats, config.quantise, width)


def most(importance: Float[Tensor, " N"], count: int) -> Int[Tensor, " M"]:
    """The indices of the `count` largest, ascending."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values


def _without_cameras(splats: Splats, config: CompressConfig) -> Squeezed:
    weights = visible_size(splats)
    chosen = most(weights, _wanted(splats, config, 1.0, fitted=False))
    chosen = chosen[curve_order(splats.means[chosen])]
    kept, weights = canonical(splats[chosen]), weights[chosen]
    relative = weights / weights.mean() + 1e-3
    if config.colors is not None:
        return _fitting(Compact(*_start(kept, relative, config)), weights, config)
    return _fitting(Direct(quantise(kept, config.quantise, relative)), weights, config)


def _wanted(splats: Splats, config: CompressConfig, keep: float, fitted: bool) -> int:
    """How many Gaussians stay."""
    count = max(1, round(keep * len(splats)))
    if config.max_gaussians is not None:
        count = min(count, max(1, config.max_gaussians))
    if config.target_bytes is not None:
        fits = config.target_bytes / (file_bytes(splats, config) * (SMOOTHED if fitted and config.bit else 1.0))
        count = min(count, max(1, int(len(splats) * min(1.0, fits ** (1 / (1 - DENSER))))))
    return count


def _fitting(stored: Direct | Compact, weights: Float[Tensor, " N"], config: CompressConfig) -> Squeezed:
    """The file of what is to be stored; if it is too large, of those that weigh most."""
    data, target = stored.packed(), config.target_bytes
    for _ in range(TRIES):
        if target is None or len(data) <= target:
            return Squeezed(data, stored.splats() if isinstance(stored, Direct) else unpack(Path("the result"), data))
        index = most(weights, int(0.99 * len(stored) * target / len(data)))
        stored, weights = stored[index], weights[index]
        if len(stored) == 0:
            break
        data = stored.packed()
    raise InputError(f"No splats fit into {target} bytes: SOG takes some kilobytes for its tables. Ask for more.")
