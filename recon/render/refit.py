"""Moving what is left of splats so that it shows what all of them showed.

After Gaussians were left out, and again once values are rounded, the rest is fitted to renderings of the splats as they
were (not to the photos: what matters is what new views lose, and the renderings are complete, of any view, and free of
what the photos' exposures and passers-by add). Rounded values are used in the rendering while the gradient passes to
the values behind them (straight-through: Bengio et al. 2013; in splats Girish et al. 2024, EAGLES).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.events import EventSink, Progress, ignore
from recon.render.base import Rasterizer, render
from recon.render.looks import Looks
from recon.types import Cameras, Splats

Rounding = Callable[[Splats], Splats]
Penalty = Callable[[Splats], Tensor]


@dataclass(frozen=True)
class Dress:
    """Something that learns along and changes what is shown: a network that knows the colours, say."""

    groups: list[dict[str, Any]]
    """Its parameters and their rates, as Adam takes them."""
    put_on: Rounding
    """What is shown of splats that have been rounded."""


@dataclass(frozen=True)
class RefitConfig:
    """How the rest is fitted. Rates are Adam's, those of 3DGS (Kerbl et al. 2023) unless said."""

    steps: int = 60
    """Each is one view."""
    means: float = 5e-4
    """In units of the median distance to the cameras."""
    log_scales: float = 0.01
    quats: float = 0.003
    logit_opacities: float = 0.05
    sh0: float = 0.01
    shN: float = 0.0005
    last: float = 0.1
    """Share of the rates that is left at the end, exponentially."""


def refit(
    splats: Splats,
    looks: Looks,
    rasterizer: Rasterizer,
    config: RefitConfig,
    rounding: Rounding | None = None,
    penalty: Penalty | None = None,
    emit: EventSink = ignore,
    dress: Dress | None = None,
) -> Splats:
    """`splats` moved so that they show `looks`, as stored and rounded by `rounding` if given. Returned unrounded.

    Args:
        rounding: what storing does to splats; differences to its result are treated as constants.
        penalty: is added to the mean squared error; of splats before rounding.
        dress: is fitted along with the splats.
    """
    values = {name: value.to(rasterizer.device).clone() for name, value in splats.detach().tensors().items()}
    unit = _distance(splats, looks.cameras)
    groups = [] if dress is None else [*dress.groups]
    for name, value in values.items():
        value.requires_grad_(True)
        rate = getattr(config, name) * (unit if name == "means" else 1.0)
        groups.append({"params": [value], "lr": rate})
    optimizer = torch.optim.Adam(groups, betas=(0.8, 0.99), eps=1e-15, fused=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, config.last ** (1 / max(1, config.steps)))
    order = _deck(len(looks.pictures), config.steps)
    for step, i in enumerate(order):
        emit(Progress("compress", step, config.steps, "fitting"))
        current = Splats(**values)
        shown = current if rounding is None else straight_through(current, rounding)
        shown = shown if dress is None else dress.put_on(shown)
        picture = render(shown, looks.cameras[i].to(rasterizer.device), rasterizer, render_mode="RGB").rgb[0]
        loss = ((picture - looks.pictures[i]).square() * looks.weights[..., None]).mean()
        if penalty is not None:
            loss = loss + penalty(current)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Splats(**values).detach().to("cpu")


def straight_through(splats: Splats, rounding: Rounding) -> Splats:
    """The rounded values, with the gradient of those before."""
    with torch.no_grad():
        rounded = rounding(splats.detach()).tensors()
    return Splats(
        **{name: value + (rounded[name].to(value) - value).detach() for name, value in splats.tensors().items()}
    )


def _deck(count: int, steps: int) -> list[int]:
    """Every view once, in random order, before any comes again."""
    generator = torch.Generator().manual_seed(0)
    order: list[int] = []
    while len(order) < steps:
        order += torch.randperm(count, generator=generator).tolist()
    return order[:steps]


def _distance(splats: Splats, cameras: Cameras) -> float:
    """Median distance of the Gaussians from the cameras' middle."""
    return float((splats.means - cameras.centers.mean(0)).norm(dim=1).median())
