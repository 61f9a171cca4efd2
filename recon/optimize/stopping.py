"""Early stopping: before the training proper, one without the photo that lies most between the others says how long.

The photo left out is drawn now and then; where it is drawn best, the training of all photos stops, with its schedules
where they are. That costs a second training and a photo less to learn the right moment from, and it is off unless
asked for: docs/benchmarks.md says what it brought.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from recon.metrics import psnr
from recon.optimize.left_out import between_others, in_front_of_black
from recon.render import Rasterizer, render
from recon.types import PosedScene, Splats


@dataclass(frozen=True)
class StoppingConfig:
    """When to stop before the last step."""

    every: int = 0
    """Steps between two looks at the photo left out; 0 takes all steps."""
    patience: int = 4
    """Looks in a row that are no better than the best before, after which the trial ends."""


class Trial(Protocol):
    """A training of some of the photos."""

    step_index: int

    def step(self) -> None:
        """One photo."""

    def shown(self) -> Splats:
        """The splats as they are now, to be looked at."""


@dataclass(frozen=True)
class Stopping:
    """What the trial found."""

    photo: str
    step: int
    """Where the training stops."""
    curve: tuple[tuple[int, float], ...]
    """Step and PSNR in dB of the photo left out."""

    def details(self) -> dict[str, Any]:
        """As plain JSON values, for `metrics.json`."""
        return {"photo": self.photo, "step": self.step, "curve": [[step, round(db, 3)] for step, db in self.curve]}


def find_stop(
    scene: PosedScene,
    steps: int,
    begin: Callable[[list[int]], Trial],
    rasterizer: Rasterizer,
    config: StoppingConfig,
) -> Stopping | None:
    """Where to stop; None where there are too few photos to leave one out.

    Args:
        steps: of the whole training.
        begin: makes a training of the photos with these indices, without exposures and with the cameras as they are.
    """
    if len(scene) < 3:
        return None
    chosen = max(range(len(scene)), key=lambda index: between_others(scene.cameras, index))
    trial = begin([index for index in range(len(scene)) if index != chosen])
    truth = in_front_of_black(scene, chosen).to(rasterizer.device)
    camera = scene.cameras[chosen].to(rasterizer.device)
    curve: list[tuple[int, float]] = []
    best = 0
    while trial.step_index < steps and len(curve) - best <= config.patience:
        trial.step()
        if trial.step_index % config.every == 0 or trial.step_index == steps:
            curve.append((trial.step_index, _look(trial.shown(), camera, truth, rasterizer)))
            best = max(range(len(curve)), key=lambda look: curve[look][1])
    return Stopping(scene.names[chosen], curve[best][0], tuple(curve))


@torch.no_grad()
def _look(splats: Splats, camera: Any, truth: Tensor, rasterizer: Rasterizer) -> float:
    return float(psnr(render(splats, camera, rasterizer).rgb[0].clamp(0, 1), truth))
