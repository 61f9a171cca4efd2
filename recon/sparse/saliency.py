"""A hash grid that knows where there is something: HollowNeRF's trainable coarse mask.

Xie et al. 2023, "HollowNeRF: pruning hashgrid-based NeRFs with trainable collision mitigation". Features are
multiplied by a saliency interpolated from a coarse grid. Where it is zero, points neither read nor train the hash
table, so entries that they share with others by collision are left to those: a smaller table then does as well. ADMM
drives the coarse grid towards few values that are not zero.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon.sparse.admm import Admm
from recon.sparse.criteria import magnitude
from recon.sparse.hashgrid import HashGrid, HashGridConfig
from recon.sparse.masks import keep_density


class SaliencyMask(nn.Module):
    """Saliency of positions in [0, 1]^3, at least 0; 1 everywhere at first."""

    def __init__(self, resolution: int = 64) -> None:
        super().__init__()
        self.resolution = resolution
        entries = (resolution + 1) ** 3
        self.grid = HashGrid(HashGridConfig(1, 1, entries.bit_length(), coarsest=resolution, finest=resolution))
        nn.init.ones_(self.grid.table)

    @property
    def values(self) -> Float[Tensor, "E 1"]:
        """The coarse grid: what the pruner works on."""
        return self.grid.table

    def forward(self, positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """Interpolated saliency."""
        return self.grid(positions).clamp_min(0.0)

    def pruner(self, density: float, rho: float) -> Admm:
        """ADMM that drives all but `density` of the values to zero: add its penalty to the loss."""

        def project(values: Tensor) -> Tensor:
            positive = values.clamp_min(0.0)
            return positive * keep_density(magnitude(positive), density)

        return Admm.start(self.values, project, rho)

    def pruned(self, density: float) -> "SaliencyMask":
        """Only the largest `density` of the values, zero elsewhere for good. An optimizer must be given the new ones.

        Raises:
            ValueError: no value is left.
        """
        kept = keep_density(self.values.detach(), density) & (self.values > 0)
        smaller = SaliencyMask(self.resolution)
        smaller.grid = self.grid.pruned(kept[:, 0])
        return smaller


class HollowGrid(nn.Module):
    """Hash features times saliency."""

    def __init__(self, grid: HashGrid, saliency: SaliencyMask) -> None:
        super().__init__()
        self.grid = grid
        self.saliency = saliency

    def forward(self, positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N F"]:
        """Features of all levels; zero where nothing is."""
        return self.grid(positions) * self.saliency(positions)

    @property
    def n_parameters(self) -> int:
        """Numbers to be stored: what is left of the table and of the mask."""
        return self.grid.table.numel() + self.saliency.values.numel()

    @torch.no_grad()
    def hollowed(self, positions: Float[Tensor, "N 3"]) -> "HollowGrid":
        """The same field without the rows of the table that none of these positions needs, saliency considered.

        Raises:
            ValueError: it needs none at all.
        """
        weights = self.grid.weights_of_rows(positions, self.saliency(positions)[:, 0])
        return HollowGrid(self.grid.pruned(weights > 0), self.saliency)
