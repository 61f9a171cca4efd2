"""A radiance field: hash-grid features of a position, and two small networks that make density and colour of them.

Mueller et al. 2022, "Instant neural graphics primitives with a multiresolution hash encoding", section 5.4.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon.fields.rays import Box
from recon.render.sh import coefficient_count, sh_basis
from recon.sparse import HashGrid, HashGridConfig, HollowGrid

MAX_LOG_DENSITY = 15.0
"""Denser than this makes no difference, and must not overflow."""


@dataclass(frozen=True)
class FieldConfig:
    """The size of a field."""

    grid: HashGridConfig = field(default_factory=lambda: HashGridConfig(8, 2, 16, coarsest=16, finest=256))
    hidden: int = 32
    """Width of the networks' hidden layers: one for density, two for colour."""
    handed_on: int = 15
    """Numbers that the first network hands to the second."""
    sh_degree: int = 2
    """The second one sees the direction as spherical harmonics up to this degree."""


class RadianceField(nn.Module):
    """Density and colour of positions in [0, 1]^3 of a box."""

    def __init__(self, config: FieldConfig, box: Box, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.box = box
        self.encoding: HashGrid | HollowGrid = HashGrid(config.grid, seed)
        width, n_features = config.hidden, config.grid.levels * config.grid.features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.shape_net = nn.Sequential(
                nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, 1 + config.handed_on)
            )
            self.color_net = nn.Sequential(
                nn.Linear(config.handed_on + coefficient_count(config.sh_degree), width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, 3),
            )

    def forward(
        self, positions: Float[Tensor, "N 3"], directions: Float[Tensor, "N K"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 3"]]:
        """Density (per side of the box) and colour.

        Args:
            directions: spherical harmonics of the viewing directions: `look`.
        """
        density, handed_on = self._shape(positions)
        color = self.color_net(torch.cat([handed_on, directions], dim=1)).sigmoid()
        return density, color

    def density(self, positions: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Density alone."""
        return self._shape(positions)[0]

    def look(self, directions: Float[Tensor, "R 3"]) -> Float[Tensor, "R K"]:
        """What `forward` takes for these unit directions."""
        return sh_basis(directions, self.config.sh_degree)

    def _shape(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        out: Any = self.shape_net(self.encoding(positions))
        return out[:, 0].clamp_max(MAX_LOG_DENSITY).exp(), out[:, 1:]

    @property
    def n_parameters(self) -> int:
        """Learned numbers that are left: in the table, the mask and the networks. A file also says, with one bit each,
        which entries of a pruned table these are."""
        return sum(p.numel() for p in self.parameters())

    @property
    def n_network_parameters(self) -> int:
        """Numbers in the two networks."""
        return sum(p.numel() for net in (self.shape_net, self.color_net) for p in net.parameters())
