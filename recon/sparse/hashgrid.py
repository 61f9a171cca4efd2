"""The multi-resolution hash encoding of positions, with tables that can be pruned.

Mueller et al. 2022, "Instant neural graphics primitives with a multiresolution hash encoding". On the CPU in float32 it
is a native kernel; elsewhere, or without the library, the same in torch.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor, nn

from recon.native import hashgrid as kernels
from recon.native.hashgrid import Grid, Level

PRIMES = (1, 2654435761, 805459861)  # eq. 4 of the paper


@dataclass(frozen=True)
class HashGridConfig:
    """How fine, and how large."""

    levels: int = 16
    features: int = 2
    """Numbers in each entry: 1, 2, 4 or 8."""
    log2_entries: int = 15
    """At most 2 to this many entries a level; levels with more corners than that share entries by hashing."""
    coarsest: int = 16
    """Cells along each axis on the first level."""
    finest: int = 1024
    """And on the last; those between grow by equal ratios."""

    def layout(self) -> tuple[Level, ...]:
        """The levels, one after the other.

        Raises:
            ValueError: no levels, features of a number there is no code for, or a finest level below the coarsest.
        """
        if self.levels < 1 or self.features not in kernels.FEATURES or not 1 <= self.coarsest <= self.finest:
            raise ValueError(f"A hash grid needs levels, 1, 2, 4 or 8 features, and finest >= coarsest; got {self}.")
        growth = (self.finest / self.coarsest) ** (1 / max(1, self.levels - 1))  # eq. 3
        levels: list[Level] = []
        offset = 0
        for i in range(self.levels):
            resolution = int(self.coarsest * growth**i + 1e-6)  # eq. 2; what is lost in rounding is given back
            corners = (resolution + 1) ** 3
            entries = min(corners, 2**self.log2_entries)
            levels.append(Level(offset, resolution, entries, hashed=corners > entries))
            offset += entries
        return tuple(levels)


class HashGrid(nn.Module):
    """Positions in [0, 1]^3 to features; differentiable once by the table and by the positions."""

    slots: Int32[Tensor, " E"] | None

    def __init__(self, config: HashGridConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.levels = config.layout()
        entries = self.levels[-1].offset + self.levels[-1].entries
        noise = torch.rand(entries, config.features, generator=torch.Generator().manual_seed(seed))
        self.table = nn.Parameter((noise * 2 - 1) * 1e-4)
        self.register_buffer("slots", None)

    def forward(self, positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N F"]:
        """Features of all levels, coarse to fine; positions outside are moved to the border."""
        return self.look_up(self.table, positions)

    def look_up(self, table: Float[Tensor, "R T"], positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N F"]:
        """What `forward` gives with another table in the place of its own: a rounded one, say."""
        grid = Grid(self.levels, table, self.slots)
        if not kernels.available(table, positions):
            return encode_torch(grid, positions)
        result = _Encode.apply(table, positions, grid)
        assert isinstance(result, Tensor), "a Function with one output returns a tensor"
        return result

    @torch.no_grad()
    def weights_of_rows(
        self, positions: Float[Tensor, "N 3"], weights: Float[Tensor, " N"] | None = None
    ) -> Float[Tensor, " R"]:
        """How much each row of the table counts for these points, weighted: 0 for those that none of them meets."""
        v_out = positions.new_ones(len(positions)) if weights is None else weights
        v_out = v_out[:, None].expand(-1, len(self.levels) * self.config.features)
        with torch.enable_grad():
            table = self.table.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.look_up(table, positions), table, v_out)
        return gradient[:, 0]

    def pruned(self, keep: Bool[Tensor, " R"]) -> "HashGrid":
        """A grid of only these rows of the table; corners that met another now read zeros.

        What is left is `table`, and one bit for each entry to say which.

        Raises:
            ValueError: nothing is kept.
        """
        if not bool(keep.any()):
            raise ValueError("Cannot prune a hash grid to no rows at all; keep at least one.")
        smaller = HashGrid(self.config).to(self.table.device)
        rows = torch.where(keep, keep.cumsum(0) - 1, -1).int()
        if self.slots is not None:
            rows = torch.where(self.slots >= 0, rows[self.slots.clamp_min(0).long()], -1)
        smaller.slots = rows
        smaller.table = nn.Parameter(self.table.detach()[keep].clone())
        return smaller


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, positions: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        positions = positions.contiguous()
        ctx.save_for_backward(table, positions)
        ctx.grid = grid
        return kernels.forward(Grid(grid.levels, table, grid.slots), positions)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        table, positions = ctx.saved_tensors
        grid, v_out = Grid(ctx.grid.levels, table, ctx.grid.slots), v_out.contiguous()
        by_table = kernels.backward_table(grid, positions, v_out) if ctx.needs_input_grad[0] else None
        by_positions = kernels.backward_positions(grid, positions, v_out) if ctx.needs_input_grad[1] else None
        return by_table, by_positions, None


def encode_torch(grid: Grid, positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N F"]:
    """The encoding in plain torch, level by level and corner by corner."""
    positions = positions.clamp(0.0, 1.0)
    return torch.cat([_level_torch(grid, level, positions) for level in grid.levels], dim=1)


def _level_torch(grid: Grid, level: Level, positions: Tensor) -> Tensor:
    scaled = positions * level.resolution
    low = scaled.detach().long().clamp_max(level.resolution - 1)
    far = scaled - low
    total = positions.new_zeros(len(positions), grid.table.shape[1])
    for corner in range(8):
        step = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=positions.device)
        x, y, z = (low + step).unbind(1)
        if level.hashed:
            entry = (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) % level.entries
        else:
            side = level.resolution + 1
            entry = x + side * (y + side * z)
        entry = entry + level.offset
        weight = torch.where(step.bool(), far, 1 - far).prod(1)
        if grid.slots is not None:
            entry = grid.slots[entry].long()
            weight = weight * (entry >= 0)
            entry = entry.clamp_min(0)
        total = total + weight[:, None] * grid.table[entry]
    return total
