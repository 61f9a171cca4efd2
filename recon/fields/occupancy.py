"""Where in the box there is anything: samples elsewhere are skipped.

Mueller et al. 2022, "Instant neural graphics primitives", appendix E.2: each cell keeps the largest density that it was
lately seen with, which fades, and is looked into at a random place now and then.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

FADE = 0.95
"""What an update leaves of a cell's density before it looks (the paper's)."""
EMPTY = 0.01
"""A cell whose matter would hide less than this share of what lies behind one step is empty (the paper's)."""

DensityOf = Callable[[Tensor], Tensor]


class Occupancy:
    """A grid of cells over [0, 1]^3, all of them occupied at first."""

    def __init__(self, resolution: int, step: float) -> None:
        """Args: `step`: distance between two samples on a ray, in units of the box."""
        self.resolution = resolution
        self.step = step
        self.densities = torch.full((resolution**3,), torch.inf)
        self.cells = torch.ones(resolution**3, dtype=torch.bool)

    def contains(self, positions: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Whether positions lie in occupied cells."""
        x, y, z = (positions * self.resolution).long().clamp_(0, self.resolution - 1).unbind(1)
        return self.cells[(x * self.resolution + y) * self.resolution + z]

    @torch.no_grad()
    def update(self, density_of: DensityOf, generator: torch.Generator, share: float = 1.0) -> None:
        """Look into the occupied cells and a random `share` of all."""
        chosen = self.cells | (torch.rand(len(self.cells), generator=generator) < share)
        index = chosen.nonzero()[:, 0]
        places = (index // self.resolution**2, index // self.resolution % self.resolution, index % self.resolution)
        corner = torch.stack(places, dim=1)
        seen = density_of((corner + torch.rand(len(index), 3, generator=generator)) / self.resolution)
        before = self.densities[index]
        self.densities[index] = torch.where(before.isinf(), seen, torch.maximum(before * FADE, seen))
        hidden = -torch.expm1(-self.densities * self.step)
        self.cells = hidden > hidden.mean().clamp_max(EMPTY)  # at first all is thin, and nothing may be given up

    def packed(self) -> UInt8[Tensor, " B"]:
        """One bit a cell."""
        bits = torch.nn.functional.pad(self.cells, (0, -len(self.cells) % 8)).view(-1, 8)
        return (bits * 2 ** torch.arange(8)).sum(1).to(torch.uint8)

    @staticmethod
    def unpacked(packed: UInt8[Tensor, " B"], resolution: int, step: float) -> "Occupancy":
        """Inverse of `packed`.

        Raises:
            ValueError: not as many bits as there are cells.
        """
        occupancy = Occupancy(resolution, step)
        bits = ((packed[:, None].int() >> torch.arange(8)) & 1).flatten()
        if len(bits) != (resolution**3 + 7) // 8 * 8:
            raise ValueError(f"{len(bits)} bits for {resolution}^3 cells")
        occupancy.cells = bits[: resolution**3].bool()
        return occupancy
