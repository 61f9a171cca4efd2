"""Rays of pixels, and the cube in the world that a field fills."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry import pixel_rays
from recon.types import Cameras


@dataclass(frozen=True)
class Rays:
    """Half lines in the world."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Unit."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: slice | Tensor) -> "Rays":
        return Rays(self.origins[index], self.directions[index])


def camera_rays(camera: Cameras) -> Rays:
    """The rays of all pixels of one camera (V = 1), row after row."""
    height, width = int(camera.height[0]), int(camera.width[0])
    center, directions = pixel_rays(height, width, camera.Ks[0], camera.cam_from_world[0])
    return Rays(center.expand(height * width, 3), directions.reshape(-1, 3))


@dataclass(frozen=True)
class Box:
    """A cube along the axes of the world; positions inside are written as [0, 1]^3."""

    corner: tuple[float, float, float]
    """The lowest one."""
    side: float

    @staticmethod
    def around(points: Float[Tensor, "N 3"], margin: float = 0.02) -> "Box":
        """The smallest cube about the middle of the points' extent that holds them, and `margin` of it more."""
        low, high = points.min(0).values, points.max(0).values
        side = float((high - low).max()) * (1 + 2 * margin)
        return Box(tuple(((low + high - side) / 2).tolist()), side)

    def unit(self, points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """World points in the units of the box."""
        return (points - torch.tensor(self.corner).to(points)) / self.side

    def world(self, positions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Inverse of `unit`."""
        return positions * self.side + torch.tensor(self.corner).to(positions)

    def span(self, rays: Rays) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
        """Distances at which rays enter and leave the box; equal where they miss it or it lies behind them."""
        low = torch.tensor(self.corner).to(rays.origins)
        directions = torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)
        ends = torch.stack([low - rays.origins, low + self.side - rays.origins]) / directions
        enter = ends.amin(0).amax(-1).clamp_min(0.0)
        return enter, torch.maximum(ends.amax(0).amin(-1), enter)
