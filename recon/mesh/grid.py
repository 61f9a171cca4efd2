"""The space that is fused: uniform voxels around the middle of the scene, growing ones outside, in sparse bricks."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BRICK = 8
"""Voxels along one side of a brick."""
REACH = 0.9
"""Share of the contracted outskirts that is kept: up to ten times the inner box's size."""


@dataclass(frozen=True)
class Space:
    """Grid coordinates, in voxels, of a world that may reach far.

    Inside a box the two differ by a shift and a scale. Outside, each axis is contracted by itself, as mip-NeRF 360
    does with the radius (Barron et al. 2022, eq. 10): `x -> k (2 - k / x)` beyond the box's half side k.
    """

    center: Float[Tensor, "3"]
    half: Float[Tensor, "3"]
    """Half sides of the inner box in the world."""
    voxel: float
    """Size of a voxel in the box, in the world."""

    @property
    def bricks(self) -> tuple[int, int, int]:
        """Bricks along each axis."""
        x, y, z = (int(n) for n in torch.ceil(2 * (1 + REACH) * self.half / (self.voxel * BRICK)) + 2)
        return x, y, z

    def to_grid(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Grid coordinates of world points, in voxels, at least 0 for all that is kept."""
        offset = points - self.center
        size = offset.abs()
        contracted = torch.where(size > self.half, self.half * (2 - self.half / size), size) * offset.sign()
        return (contracted + (1 + REACH) * self.half) / self.voxel + BRICK

    def to_world(self, grid: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Inverse of `to_grid`."""
        contracted = (grid - BRICK) * self.voxel - (1 + REACH) * self.half
        size = contracted.abs().clamp(max=1.99 * self.half)
        far = self.half**2 / (2 * self.half - size)
        return torch.where(size > self.half, far, size) * contracted.sign() + self.center

    def holds(self, points: Float[Tensor, "P 3"]) -> Bool[Tensor, " P"]:
        """Whether world points lie in the inner box."""
        return ((points - self.center).abs() <= self.half).all(-1)

    def stretch(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, " P"]:
        """Length in the world of the voxels at world points, along their longest side."""
        growth = ((points - self.center).abs() / self.half).clamp_min(1) ** 2
        return self.voxel * growth.amax(-1)


def space_around(points: Float[Tensor, "P 3"], resolution: int, outliers: float, room: float) -> Space:
    """The grid whose inner box holds all but a share of `outliers` of the `points`, at both ends of each axis, and a
    share of `room` around them."""
    sample = points[:: max(1, len(points) // 100_000)]
    low, high = torch.quantile(sample, torch.tensor([outliers, 1 - outliers]), dim=0)
    half = 0.5 * (1 + room) * (high - low)
    half = half.clamp_min(0.05 * float(half.max()))
    return Space((low + high) / 2, half, 2 * float(half.max()) / resolution)


def bricks_at(grid: Float[Tensor, "P 3"], bricks: tuple[int, int, int]) -> Int[Tensor, " M"]:
    """Numbers of the bricks that hold any of the grid coordinates, sorted; those outside the space are left out."""
    cell = torch.div(grid, BRICK, rounding_mode="floor").long()
    inside = ((cell >= 0) & (cell < torch.tensor(bricks))).all(1)
    x, y, z = cell[inside].T
    return torch.unique((x * bricks[1] + y) * bricks[2] + z)


def voxels_of(numbers: Int[Tensor, " M"], bricks: tuple[int, int, int]) -> Float[Tensor, "M B 3"]:
    """Grid coordinates of all voxels of the bricks, z fastest."""
    corner = BRICK * torch.stack(unravel(numbers, bricks), dim=-1)
    local = torch.cartesian_prod(*[torch.arange(BRICK)] * 3)
    return (corner[:, None] + local).float()


def unravel(numbers: Int[Tensor, " M"], bricks: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Brick numbers as positions along x, y and z."""
    yz = numbers % (bricks[1] * bricks[2])
    return numbers // (bricks[1] * bricks[2]), yz // bricks[2], yz % bricks[2]


def with_neighbours(
    values: Float[np.ndarray, "M B"], numbers: Int[np.ndarray, " M"], bricks: tuple[int, int, int]
) -> Float[np.ndarray, "M n n n"]:
    """Each brick's values with one more layer from the bricks behind it, n = BRICK + 1; NaN where there is no brick."""
    x, y, z = np.unravel_index(numbers, bricks)
    slot = np.full([n + 1 for n in bricks], len(numbers))  # a last, empty layer
    slot[x, y, z] = np.arange(len(numbers))
    blocks = np.concatenate([values, np.full_like(values[:1], np.nan)]).reshape(-1, BRICK, BRICK, BRICK)
    out = np.empty((len(numbers), BRICK + 1, BRICK + 1, BRICK + 1), values.dtype)
    inner, last = slice(0, BRICK), slice(BRICK, BRICK + 1)
    for dx, dy, dz in np.ndindex(2, 2, 2):
        source = blocks[slot[x + dx, y + dy, z + dz]]
        target = tuple(last if d else inner for d in (dx, dy, dz))
        first = tuple(slice(0, 1) if d else inner for d in (dx, dy, dz))
        out[(slice(None), *target)] = source[(slice(None), *first)]
    return out
