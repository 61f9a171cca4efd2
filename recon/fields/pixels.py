"""The pixels of photos, to be drawn from at random."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon.fields.rays import Rays
from recon.geometry import directions_in_camera
from recon.types import DepthMaps, PosedScene


@dataclass(frozen=True)
class Batch:
    """Pixels, and the rays through their centres."""

    rays: Rays
    rgb: Float[Tensor, "R 3"]
    alpha: Float[Tensor, " R"]
    """How much of the pixel the object covers; 1 without masks."""
    distance: Float[Tensor, " R"]
    """To what stereo saw; 0 where it is not known."""
    confidence: Float[Tensor, " R"]
    """Of `distance`."""


class Pixels:
    """All pixels of a scene's photos."""

    def __init__(self, scene: PosedScene, depths: DepthMaps | None = None) -> None:
        self.cameras = scene.cameras
        self.rgb = torch.cat([image.reshape(-1, 3) for image in scene.images])
        self.alpha = None if scene.masks is None else torch.cat([mask.flatten() for mask in scene.masks])
        self.depth = None if depths is None else torch.cat([depth.flatten() for depth in depths.depth])
        self.confidence = None if depths is None else torch.cat([c.flatten() for c in depths.confidence])
        sizes = torch.tensor([image.shape[0] * image.shape[1] for image in scene.images])
        self.starts = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))

    def __len__(self) -> int:
        return len(self.rgb)

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """`count` pixels, all equally likely."""
        index = torch.randint(len(self), (count,), generator=generator)
        rays, per_depth = self._rays(index)
        alpha = torch.ones(count) if self.alpha is None else self.alpha[index]
        if self.depth is None or self.confidence is None:
            return Batch(rays, self.rgb[index], alpha, torch.zeros(count), torch.zeros(count))
        return Batch(rays, self.rgb[index], alpha, self.depth[index] * per_depth, self.confidence[index])

    def _rays(self, index: Int64[Tensor, " R"]) -> tuple[Rays, Float[Tensor, " R"]]:
        """Rays of pixels counted through all photos, and how much farther along them is than along the optical axis."""
        photo = torch.searchsorted(self.starts, index, right=True) - 1
        place, width = index - self.starts[photo], self.cameras.width[photo]
        uv = torch.stack([place % width, place // width], dim=1) + 0.5
        local = directions_in_camera(uv[:, None], self.cameras.Ks[photo])[:, 0]
        world_from_cam = self.cameras.world_from_cam[photo]
        length = local.norm(dim=1)
        directions = (world_from_cam[:, :3, :3] @ (local / length[:, None])[..., None])[..., 0]
        return Rays(world_from_cam[:, :3, 3], directions), length
