"""What is added when the training is over: Gaussians where no photo looked."""

from typing import Any

import torch

from recon.optimize.config import TrainConfig
from recon.optimize.horizon import horizon
from recon.optimize.undercoat import undercoat
from recon.render import Rasterizer
from recon.types import PosedScene, Splats


def surround(
    splats: Splats, scene: PosedScene, config: TrainConfig, rasterizer: Rasterizer, account: dict[str, Any]
) -> Splats:
    """`splats` with what lies beyond the photos' rims and behind everything, each as far as the cap allows.

    Args:
        scene: with the cameras as they were refined.
        account: births are added to it, by cause.
    """
    splats = _with(splats, undercoat(splats, scene, config.undercoat, rasterizer), "undercoat", config, account)
    return _with(splats, horizon(splats, scene, config.horizon, rasterizer), "horizon", config, account)


def _with(splats: Splats, more: Splats, cause: str, config: TrainConfig, account: dict[str, Any]) -> Splats:
    """`splats` and as many of `more`, evenly picked, as the cap allows."""
    room = max(0, config.densify.max_gaussians - len(splats))
    more = more[torch.linspace(0, len(more) - 1, min(room, len(more))).long()]
    account["born"][cause] = len(more)
    return Splats.cat([splats, more])
