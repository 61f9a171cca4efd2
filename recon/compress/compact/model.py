"""Colours and opacity of Gaussians as a small network's answer to where they are: no colours are stored.

Lee et al. 2024, "Compact 3D Gaussian representation for radiance field", ask a hash grid (Mueller et al. 2022) and a
small network for the colour; Chen et al. 2024, "HAC", ask a hash grid for how likely each attribute is. Here the
network gives coefficients of spherical harmonics, so that any renderer will do after unpacking, and what it is asked
with can be a few whole numbers of each Gaussian's own instead of a hash grid.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from recon.sparse import HashGrid, HashGridConfig
from recon.types import Splats

Kind = Literal["field", "hybrid", "harmonics", "latents"]
ROW_BITS, LATENT_BITS = 5.5, 4.0
"""Of a number in a row of the grid that is not pruned, with the zeros of others, and of a Gaussian's own; measured."""
TYPICAL = 75_000
"""Gaussians that the grids of `COMPACT` are made for."""
FEWEST_LOG2_ENTRIES, MOST_LOG2_ENTRIES = 8, 20
LARGEST = 127
"""Whole numbers are stored in a byte with sign."""


@dataclass(frozen=True)
class CompactConfig:
    """What the network is asked with, and how large it is."""

    kind: Kind = "field"
    """field: a hash grid says colours and opacity; hybrid: the zeroth coefficient is stored, the grid says the others
    and opacity; harmonics: the grid says the others alone; latents: a few whole numbers for each Gaussian say all."""
    grid: HashGridConfig = field(default_factory=lambda: HashGridConfig(8, 2, 14, coarsest=16, finest=1024))
    keep: float = 0.5
    """Share of the grid's rows that are not zero."""
    latents: int = 3
    """Whole numbers for each Gaussian, 1 to 4."""
    hidden: int = 32
    """Width of the two hidden layers."""
    steps_per_unit: float = 8.0
    """Of what is rounded to whole numbers."""
    fit: int = 600
    """Steps of fitting to the Gaussians' own values, before pictures are looked at."""
    batch: int = 8192
    """Gaussians in each of these."""
    rate: float = 0.02
    """Of the whole numbers, in units; the network's is a fifth. Both fall to a tenth."""

    def stored(self) -> dict[str, Any]:
        """What a reader needs of it."""
        names = ("kind", "grid", "latents", "hidden", "steps_per_unit")
        return {name: value for name, value in asdict(self).items() if name in names}

    def sized(self, count: int) -> "CompactConfig":
        """For so many Gaussians: a grid with twice the rows for twice as many."""
        doubled = round(math.log2(count / TYPICAL)) if count else 0
        entries = min(MOST_LOG2_ENTRIES, max(FEWEST_LOG2_ENTRIES, self.grid.log2_entries + doubled))
        return replace(self, grid=replace(self.grid, log2_entries=entries))

    def about_bytes(self, count: int, coefficients: int) -> int:
        """About what a painter of so many Gaussians takes in a file."""
        painter = Painter(self, count, coefficients)
        kept = 1.0 if painter.latents is not None else self.keep
        bits = LATENT_BITS if painter.latents is not None else ROW_BITS
        n_weights = sum(p.numel() for p in painter.networks())
        return 2 * n_weights + round(painter.numbers.numel() * kept * bits / 8)

    @property
    def stores_color(self) -> bool:
        """The zeroth coefficient, as SOG does."""
        return self.kind in ("hybrid", "harmonics")

    @property
    def stores_opacity(self) -> bool:
        return self.kind == "harmonics"


class Painter(nn.Module):
    """Gives Gaussians their colours and opacities."""

    latents: nn.Parameter | None

    def __init__(self, config: CompactConfig, count: int, coefficients: int, seed: int = 0) -> None:
        """
        Args:
            count: of the Gaussians.
            coefficients: of the harmonics, without the zeroth.
        """
        super().__init__()
        self.config, self.coefficients = config, coefficients
        self.grid = None if config.kind == "latents" else HashGrid(config.grid, seed)
        self.latents = nn.Parameter(torch.zeros(count, config.latents)) if config.kind == "latents" else None
        n_inputs = config.latents if self.grid is None else config.grid.levels * config.grid.features
        n_outputs = 3 * (not config.stores_color) + (not config.stores_opacity) + 3 * coefficients
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(n_inputs + 3, config.hidden)
            self.second = nn.Linear(config.hidden, config.hidden)
            self.last = nn.Linear(config.hidden, n_outputs, bias=False)
            self.straight = nn.Linear(n_inputs + 3, n_outputs)

    def networks(self) -> Iterator[nn.Parameter]:
        """All other parameters, in the file's order."""
        for layer in (self.first, self.second, self.last, self.straight):
            yield from layer.parameters()

    @property
    def numbers(self) -> nn.Parameter:
        """What is stored as whole numbers: rows of the grid, or the Gaussians' own."""
        if self.latents is not None:
            return self.latents
        assert self.grid is not None, "a painter has a grid or latents"
        return self.grid.table

    def codes(self) -> Int[Tensor, "R F"]:
        """These, rounded."""
        return (self.numbers.detach() * self.config.steps_per_unit).round().clamp(-LARGEST, LARGEST).long()

    def forward(
        self, places: Float[Tensor, "N 3"], log_scales: Float[Tensor, "N 3"], index: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N O"]:
        """The zeroth coefficients, the logit of the opacity (unless these are stored), and the other coefficients.

        Args:
            places: positions in [0, 1].
            index: which Gaussians these are; all, in order, if None.
        """
        rounded = self.codes() / self.config.steps_per_unit
        numbers = self.numbers + (rounded - self.numbers).detach()  # straight-through: Bengio et al. 2013
        if self.latents is not None:
            asked = numbers if index is None else numbers[index]
        else:
            assert self.grid is not None, "a painter has a grid or latents"
            asked = self.grid.look_up(numbers, places)
        sizes = log_scales.sort(dim=1, descending=True).values  # which axis is which says nothing
        inputs = torch.cat([asked, sizes / 4 + 1], dim=1)
        hidden = self.second(self.first(inputs).relu()).relu()
        result = self.last(hidden) + self.straight(inputs)
        assert isinstance(result, Tensor), "a layer gives a tensor"
        return result

    def paint(self, splats: Splats, places: Float[Tensor, "N 3"]) -> Splats:
        """`splats` with these colours and opacities; what is stored stays as it is."""
        told = self(places, splats.log_scales)
        n = len(splats)
        sh0, logits = splats.sh0, splats.logit_opacities
        if not self.config.stores_color:
            sh0, told = told[:, :3].reshape(n, 1, 3), told[:, 3:]
        if not self.config.stores_opacity:
            logits, told = told[:, 0], told[:, 1:]
        return replace(splats, sh0=sh0, logit_opacities=logits, shN=told.reshape(n, self.coefficients, 3))


COMPACT: dict[Kind, CompactConfig] = {
    "field": CompactConfig("field", HashGridConfig(8, 2, 15, coarsest=16, finest=1024)),
    "hybrid": CompactConfig("hybrid", HashGridConfig(8, 2, 14, coarsest=8, finest=512)),
    "harmonics": CompactConfig("harmonics", HashGridConfig(6, 2, 11, coarsest=8, finest=256), hidden=24),
    "latents": CompactConfig("latents", hidden=16),
}
