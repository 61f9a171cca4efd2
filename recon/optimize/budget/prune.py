"""The last part of a training under a budget: Gaussians are left out on a schedule, and the others recover.

Gradual pruning after Zhu and Gupta 2017 (`recon.sparse.Cubic`), or the same share each time as in iterative magnitude
pruning, without rewinding; which go first says `importance`. Those left are fitted to renderings of what all showed, in
the photos' places and between: the photos alone do not bring back what new views lose (half of the Gaussians of a
trained scene: 0.5 dB lost on held-out photos when they were left out while the photos were fitted, 0.13 dB so).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from recon.errors import InputError
from recon.optimize.budget.config import BudgetConfig
from recon.render import Rasterizer
from recon.render.importance import importance
from recon.render.looks import looks_around
from recon.render.refit import RefitConfig, refit
from recon.sparse import Cubic, keep_count
from recon.types import Cameras, Splats

logger = logging.getLogger(__name__)

Weigh = Callable[[Splats], int]
"""Bytes of the file that splats make."""
TRIES = 6
CLOSE = 0.985
"""A file is as large as it may be when it has this share of it."""
SPARE = 0.99
"""Recovering changes what a file weighs a little."""


@dataclass(frozen=True)
class Rounds:
    """The same share of what is left each time (Frankle and Carbin 2019)."""

    stop: int
    target: float

    def density(self, step: int) -> float:
        return self.target ** min(1.0, step / self.stop)


def check_budget(config: BudgetConfig, weigh: Weigh | None) -> None:
    """Refuse what cannot be done before the long work.

    Raises:
        InputError: a limit that is not positive, or one of size and nobody to weigh.
    """
    for name, value in (("max_gaussians", config.max_gaussians), ("target_mb", config.target_mb)):
        if value is not None and value <= 0:
            raise InputError(f"train.budget.{name} must be more than 0, got {value}.")
    if config.target_mb is not None and weigh is None:
        raise InputError("A target in megabytes needs a way to weigh splats. Give train.budget.max_gaussians.")


def within_budget(
    splats: Splats,
    cameras: Cameras,
    config: BudgetConfig,
    rasterizer: Rasterizer,
    weigh: Weigh | None = None,
    seed: int = 0,
) -> Splats:
    """As many of finished `splats` as `config` allows, moved so that they show what all did; on the CPU.

    Args:
        cameras: the photos'.
        weigh: needed for `config.target_mb`.

    Raises:
        InputError: no splats fit into the target.
    """
    splats, cameras = splats.detach().to("cpu"), cameras.to("cpu")
    if not config.limited:
        return splats
    looks = looks_around(splats, cameras, config.views, config.side, rasterizer)
    worth = importance(splats, looks, rasterizer, seed).cpu()
    target, first = _fitting(splats, worth, config, weigh, SPARE), len(splats)
    if target == first:
        return splats
    schedule = _schedule(config, target / first)
    for time in range(1, config.times + 1):
        last = time == config.times
        count = target if last else max(target, round(first * schedule.density(time)))
        splats = splats[keep_count(worth, count)]
        steps = round(config.recovery * (2 if last else 1) / (config.times + 1))
        splats = refit(splats, looks, rasterizer, RefitConfig(steps=steps, last=0.1 if last else 1.0))
        worth = importance(splats, looks, rasterizer, seed + time).cpu()
    logger.info("%d of %d Gaussians are left within the budget", target, first)
    return splats[keep_count(worth, _fitting(splats, worth, config, weigh, 1.0))]


def _schedule(config: BudgetConfig, target: float) -> Cubic | Rounds:
    if config.schedule == "cubic":
        return Cubic(0, config.times, target)
    return Rounds(config.times, target)


def _fitting(splats: Splats, worth: Tensor, config: BudgetConfig, weigh: Weigh | None, spare: float) -> int:
    """How many of `splats`, those worth most, fit; into this share of the target in megabytes."""
    most = min(len(splats), config.max_gaussians or len(splats))
    if config.target_mb is None:
        return most
    assert weigh is not None, "see check_budget"
    allowed, count, best = spare * config.target_mb * 1e6, most, 0
    for _ in range(TRIES):
        size = weigh(splats[keep_count(worth, count)])
        if size <= allowed:
            best = max(best, count)
            if count == most or size >= CLOSE * allowed:
                break
        count = min(most, max(1, int(count * (1 + CLOSE) / 2 * allowed / size)))
    if best == 0:
        raise InputError(f"No splats fit into {config.target_mb:g} MB. Ask for more.")
    return best
