"""Pairs from windows, as the network learns from them: in memory, in half precision, cropped and varied when drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from recon.benchmark.priors.windows import Window, load_window
from recon.errors import InputError
from recon.metrics import psnr
from recon.priors.diffusion import Views, make_views
from recon.priors.diffusion.blend import UNSEEN
from recon.priors.diffusion.fitting import Pair
from recon.priors.diffusion.network import Planes

LEAST_SHARE = 0.3
"""Of a view that splats must cover to be learnt from."""


@dataclass(frozen=True)
class VaryConfig:
    """How pairs are varied when drawn."""

    crop: int = 96
    """Side of the pictures the network learns from, in pixels."""
    without_one: float = 0.2
    """Share of samples that lose one reference."""
    without_all: float = 0.1
    """Share that lose all."""
    recoloured: float = 0.8
    """Share of samples whose colours are exchanged, and stretched from [0, 1] to another range, perhaps upside down."""


@dataclass(frozen=True)
class Example:
    """One stage of one window."""

    scene: str
    views: Views
    truth: Tensor

    @property
    def pair(self) -> Pair:
        return Pair(Planes.of(self.views), self.truth.movedim(-1, 1))


def window_paths(folder: Path) -> list[Path]:
    """Windows in a folder, by name.

    Raises:
        InputError: there are none.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise InputError(f"{folder} holds no windows. Make some with: python -m recon.benchmark.priors pairs")
    return paths


def scene_of(path: Path) -> str:
    """The name of the scene that a window is of."""
    return path.stem.rsplit("_", 1)[0]


def read_examples(path: Path, references: int = 2) -> list[Example]:
    """The stages of a window, each with its views and their truth."""
    window = load_window(path)
    return [
        Example(scene_of(path), _views(window, stage, references), window.truth) for stage in range(len(window.drawn))
    ]


def _views(window: Window, stage: int, references: int) -> Views:
    photos = list(window.photos)
    drawn, own = window.drawn[stage], window.own[stage]
    return make_views(drawn, window.cameras, photos, own, window.photo_cameras, references=references)


def learnable(pair: Pair, least_psnr: float) -> Pair | None:
    """The views whose renderings are near enough to the truth, where there are splats: far ones teach blur."""
    shown = (pair.planes.alpha[:, 0] > 0.5).float()
    fidelity = psnr(pair.planes.rgb.movedim(1, -1), pair.truth.movedim(1, -1), shown)
    kept = ((shown.mean((1, 2)) > LEAST_SHARE) & (fidelity > least_psnr)).nonzero()[:, 0].tolist()
    if not kept:
        return None
    planes = Planes(*(getattr(pair.planes, f.name)[kept] for f in fields(Planes)))
    return Pair(planes, pair.truth[kept])


def halved(pair: Pair) -> Pair:
    """The same in half the memory."""
    planes = Planes(*(getattr(pair.planes, f.name).half() for f in fields(Planes)))
    return Pair(planes, pair.truth.half())


def draw_batch(pairs: Sequence[Pair], size: int, config: VaryConfig, generator: torch.Generator) -> Pair:
    """Crops of views drawn with equal chance for each pair, turned, mirrored, recoloured, some without references."""
    return Pair.cat([_draw(pairs, config, generator) for _ in range(size)])


def _draw(pairs: Sequence[Pair], config: VaryConfig, generator: torch.Generator) -> Pair:
    def below(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    pair = pairs[below(len(pairs))]
    view = below(len(pair.truth))
    height, width = pair.truth.shape[-2:]
    top, left = below(height - config.crop + 1), below(width - config.crop + 1)
    one = Pair(pair.planes.view(view), pair.truth[view : view + 1]).crop(top, left, config.crop, config.crop)
    flips = [dim for dim in (-1, -2) if below(2)]
    turned = bool(below(2))

    def place(values: Tensor) -> Tensor:
        values = values.float().flip(flips)
        return values.transpose(-1, -2) if turned else values

    planes = Planes(*(place(getattr(one.planes, f.name)) for f in fields(Planes)))
    return _drop(_recolour(Pair(planes, place(one.truth)), config, generator), config, generator)


def _recolour(pair: Pair, config: VaryConfig, generator: torch.Generator) -> Pair:
    """Other colours; what is black because nothing is there stays black, so that dark is not taken for empty."""
    if float(torch.rand(1, generator=generator)) >= config.recoloured:
        return pair
    order = torch.randperm(3, generator=generator)
    ends = torch.rand(2, 3, 1, 1, generator=generator) * 0.5 + torch.tensor([0.0, 0.5])[:, None, None, None]
    low, high = ends.flip(0) if torch.rand(1, generator=generator) < 0.3 else ends
    gain = high - low
    p = pair.planes
    planes = Planes(
        p.rgb[:, order] * gain + low * p.alpha,
        p.alpha, p.near, p.valid, p.logits,
        p.warped[:, :, order] * gain + low,
        p.better[:, :, order] * gain,
        p.beyond[:, order] * gain,
    )  # fmt: skip
    return Pair(planes, pair.truth[:, order] * gain + low)


def _drop(pair: Pair, config: VaryConfig, generator: torch.Generator) -> Pair:
    """The same, perhaps without one reference, or all."""
    chance = float(torch.rand(1, generator=generator))
    p = pair.planes
    lost = torch.zeros(p.valid.shape[1], dtype=torch.bool)
    if chance < config.without_all:
        lost[:] = True
    elif chance < config.without_all + config.without_one:
        lost[int(torch.randint(len(lost), (1,), generator=generator))] = True
    kept = (~lost).float()[None, :, None, None]
    logits = p.logits.clone()
    logits[:, 1:][:, lost] = torch.tensor(UNSEEN).log()
    better, warped = (values * kept[:, :, None] for values in (p.better, p.warped))
    beyond = p.beyond * kept.max()
    return Pair(Planes(p.rgb, p.alpha, p.near, p.valid * kept, logits, warped, better, beyond), pair.truth)
