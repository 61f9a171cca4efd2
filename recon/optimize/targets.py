"""The photos as the optimiser sees them: at several resolutions, with depth and mask, drawn in shuffled rounds."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.types import DepthMaps, PosedScene


@dataclass(frozen=True)
class Target:
    """One photo at one resolution."""

    rgb: Float[Tensor, "H W 3"]
    K: Float[Tensor, "3 3"]
    depth: Float[Tensor, "H W"] | None = None
    confidence: Float[Tensor, "H W"] | None = None
    mask: Float[Tensor, "H W"] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return int(self.rgb.shape[1]), int(self.rgb.shape[0])


class Targets:
    """All photos of a scene, resampled on demand and kept."""

    def __init__(self, scene: PosedScene, depths: DepthMaps | None, device: torch.device) -> None:
        self.scene = scene
        self.depths = depths
        self.device = device
        self._cache: dict[tuple[int, float], Target] = {}

    def at(self, index: int, scale: float) -> Target:
        """Photo `index` at `scale` in (0, 1] of its full resolution."""
        key = (index, scale)
        if key not in self._cache:
            self._cache[key] = self._make(index, scale)
        return self._cache[key]

    def _make(self, index: int, scale: float) -> Target:
        rgb = self.scene.images[index]
        height, width = rgb.shape[:2]
        size = (max(16, round(height * scale)), max(16, round(width * scale)))
        K = self.scene.cameras.Ks[index].clone()
        K[0] *= size[1] / width
        K[1] *= size[0] / height
        depth = confidence = mask = None
        if self.depths is not None:
            # Depth is sampled, not averaged: a mean across an edge is a surface that does not exist.
            depth = resample(self.depths.depth[index], size, "nearest-exact").to(self.device)
            confidence = resample(self.depths.confidence[index], size, "nearest-exact").to(self.device)
        if self.scene.masks is not None:
            mask = resample(self.scene.masks[index], size, "area").to(self.device)
        pixels = resample(rgb.permute(2, 0, 1), size, "area").permute(1, 2, 0).contiguous()
        return Target(pixels.to(self.device), K.to(self.device), depth, confidence, mask)


def resample(values: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """[..., H, W] to `size` (height, width) by torch's `mode`; unchanged when the size is the same."""
    if tuple(values.shape[-2:]) == size:
        return values
    planes = values.reshape(1, -1, *values.shape[-2:])
    return F.interpolate(planes, size=size, mode=mode).reshape(*values.shape[:-2], *size)


class Deck:
    """Indices 0..n-1 in shuffled rounds: every photo is seen equally often, in no fixed order."""

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.generator = torch.Generator().manual_seed(seed)
        self.cards: list[int] = []

    def draw(self) -> int:
        if not self.cards:
            self.cards = torch.randperm(self.n, generator=self.generator).tolist()
        return self.cards.pop()
