"""The photos as the optimiser sees them: at several resolutions, with depth and mask, drawn in shuffled rounds."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.types import DepthMaps, PosedScene


@dataclass(frozen=True)
class DepthTarget:
    """Depth of one photo at one resolution."""

    depth: Float[Tensor, "H W"]
    """0 where unknown."""
    confidence: Float[Tensor, "H W"]
    normals: Float[Tensor, "H W 3"] | None = None
    """Unit, in the world, towards the camera; 0 where unknown."""


@dataclass(frozen=True)
class Target:
    """One photo at one resolution."""

    rgb: Float[Tensor, "H W 3"]
    K: Float[Tensor, "3 3"]
    stereo: DepthTarget | None = None
    """In world units."""
    prior: DepthTarget | None = None
    """Of unknown scale and shift, such as a network's."""
    mask: Float[Tensor, "H W"] | None = None

    @property
    def guide(self) -> DepthTarget | None:
        """For terms that do not ask for scale: the prior, or stereo where there is none."""
        return self.stereo if self.prior is None else self.prior

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return int(self.rgb.shape[1]), int(self.rgb.shape[0])


class Targets:
    """All photos of a scene, resampled on demand and kept."""

    def __init__(
        self, scene: PosedScene, depths: DepthMaps | None, device: torch.device, prior: DepthMaps | None = None
    ) -> None:
        self.scene = scene
        self.depths = depths
        self.prior = prior
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
        mask = None
        if self.scene.masks is not None:
            mask = resample(self.scene.masks[index], size, "area").to(self.device)
        pixels = resample(rgb.permute(2, 0, 1), size, "area").permute(1, 2, 0).contiguous()
        return Target(
            rgb=pixels.to(self.device),
            K=K.to(self.device),
            stereo=None if self.depths is None else self._depth(self.depths, index, size),
            prior=None if self.prior is None else self._depth(self.prior, index, size),
            mask=mask,
        )

    def _depth(self, maps: DepthMaps, index: int, size: tuple[int, int]) -> DepthTarget:
        # Depth is sampled, not averaged: a mean across an edge is a surface that does not exist.
        sample = lambda planes: resample(planes, size, "nearest-exact").to(self.device)  # noqa: E731
        normals = None if maps.normals is None else sample(maps.normals[index].permute(2, 0, 1)).permute(1, 2, 0)
        return DepthTarget(sample(maps.depth[index]), sample(maps.confidence[index]), normals)


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
