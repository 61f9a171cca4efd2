"""Opacity decays unless the photos hold it up.

Binocular-Guided 3DGS (Han et al. 2024), eq. 7: after each step every opacity is multiplied by a little less than one.
A Gaussian on a surface is seen often and gains more than it loses; a floater near a camera, or one behind the surface,
has little gradient and fades until it is pruned.

Deviation: Gaussians on surfaces that stereo is sure of may be spared, since the decay keeps these from becoming opaque.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import project
from recon.types import DepthMaps, PosedScene

SURE = 0.5
"""Confidence of stereo depth that holds a Gaussian."""
ON_SURFACE = 0.02
"""Relative distance to it within which a Gaussian belongs to the surface."""
REFRESH = 50
"""Steps after which it is looked up anew which Gaussians those are; they hardly move in between."""


@dataclass(frozen=True)
class DecayConfig:
    """Opacity decay."""

    factor: float = 1.0
    """Of every opacity, each step; 1 is off, 0.995 the paper's."""
    spare_sure: bool = True
    """Leave Gaussians on sure stereo surfaces alone."""


class OpacityDecay:
    def __init__(self, scene: PosedScene, depths: DepthMaps | None, config: DecayConfig, device: torch.device) -> None:
        self.config = config
        self.cameras = scene.cameras.to(device)
        self.depths = depths
        self.device = device
        self._spared: Tensor | None = None
        self._since = 0

    @torch.no_grad()
    def step(self, means: Float[Tensor, "N 3"], logits: Float[Tensor, " N"]) -> None:
        """Lower the opacities once, in place; they are stored as `logits`."""
        if self.config.factor >= 1:
            return
        spared = self._which(means)
        lowered = torch.logit(logits.sigmoid() * self.config.factor, eps=1e-6)
        logits.copy_(torch.where(spared, logits, lowered))

    def _which(self, means: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        if not self.config.spare_sure or self.depths is None:
            return torch.zeros(len(means), dtype=torch.bool, device=means.device)
        self._since += 1
        if self._spared is None or len(self._spared) != len(means) or self._since >= REFRESH:
            self._spared, self._since = self.on_sure_surface(means), 0
        return self._spared

    def state_dict(self) -> dict[str, Any]:
        return {"spared": self._spared, "since": self._since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._spared, self._since = state["spared"], state["since"]

    def on_sure_surface(self, means: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Means that lie on the stereo depth of a photo where it is sure."""
        assert self.depths is not None, "asked only when there is stereo depth"
        found = torch.zeros(len(means), dtype=torch.bool, device=means.device)
        for view, (depth, confidence) in enumerate(zip(self.depths.depth, self.depths.confidence, strict=True)):
            surface = torch.where(confidence >= SURE, depth, 0.0).to(self.device)
            height, width = surface.shape
            uv, z = project(means, self.cameras.cam_from_world[view], self.cameras.Ks[view])
            column, row = uv.floor().nan_to_num(-1.0, -1.0, -1.0).clamp(-1, 1e6).long().unbind(-1)
            inside = (z > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
            there = surface[row * inside, column * inside]
            found |= inside & (there > 0) & ((z - there).abs() < ON_SURFACE * there)
        return found
