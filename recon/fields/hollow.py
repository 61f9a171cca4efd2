"""Fields with fewer numbers: HollowNeRF's trainable mask, and a table that is pruned to a budget while it learns.

Xie et al. 2023, "HollowNeRF: pruning hashgrid-based NeRFs with trainable collision mitigation": a coarse mask, driven
by ADMM to be zero nearly everywhere, multiplies the features, so that entries that a salient place shares by collision
with an empty one are left to the first. We go on from there: of a table larger than the budget those entries go that
matter least, so that those that matter share with fewer.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.fields.field import RadianceField
from recon.fields.train import FieldTrainConfig, FieldTrainer
from recon.sparse import Admm, Cubic, HashGrid, HollowGrid, SaliencyMask, keep_count, keep_density, random_scores
from recon.types import DepthMaps, PosedScene

Criterion = Literal["fisher", "magnitude", "random"]
SHRINK = 1e-7
"""Weight of the mask's sum before ADMM. Adam makes of any gradient steps of one size: where nothing asks for features,
the mask goes to zero within 1 / rate steps, elsewhere this is not felt."""


@dataclass(frozen=True)
class HollowConfig:
    """What is taken out of a field, and when (in shares of the steps)."""

    parameters: int = 200_000
    """Numbers that may be left, counted as `RadianceField.n_parameters` does."""
    mask: int = 32
    """Cells of the mask along each axis; 0: no mask."""
    mask_density: float = 0.25
    """Share of the mask's corners that are left. Too few cut into what is there."""
    rho: float = 1e-4
    """Weight of ADMM's penalty."""
    mask_from: float = 0.1
    mask_until: float = 0.35
    """Between these, ADMM works on the mask; then the rest of it is zero for good."""
    rows_from: float = 0.35
    rows_until: float = 0.75
    """Between these, entries of the table go: many at first, few towards the end."""
    every: int = 25
    """Steps between two prunings, and between two updates of ADMM."""
    criterion: Criterion = "fisher"
    """Which entries matter: what the loss changes by without them, to second order, with the squared gradients that
    Adam averages as curvature (as Theis et al. 2018, "Faster gaze prediction with dense networks and Fisher pruning");
    their magnitude; or chance, which the others must beat."""


class HollowTrainer(FieldTrainer):
    """Fits a field and hollows it out on the way. `finished` is the result."""

    def __init__(
        self,
        scene: PosedScene,
        field: RadianceField,
        config: FieldTrainConfig,
        hollow: HollowConfig,
        depths: DepthMaps | None = None,
    ) -> None:
        assert isinstance(field.encoding, HashGrid), "only a whole field can be hollowed out"
        self.hollow = hollow
        self.grid = field.encoding
        self.saliency = SaliencyMask(hollow.mask) if hollow.mask else None
        if self.saliency is not None:
            field.encoding = HollowGrid(self.grid, self.saliency)
        super().__init__(scene, field, config, depths)
        self.admm: Admm | None = None
        self.kept_mask: Bool[Tensor, " E"] | None = None
        self.kept_rows = torch.ones(len(self.grid.table), dtype=torch.bool)
        start, stop = (round(share * config.steps) for share in (hollow.rows_from, hollow.rows_until))
        self.schedule = Cubic(start, stop, self.n_rows_at_the_end() / len(self.kept_rows), hollow.every)

    def n_rows_at_the_end(self) -> int:
        """Rows of the table that the budget has room for.

        Raises:
            ValueError: it has none.
        """
        rest = self.field.n_network_parameters
        if self.saliency is not None:
            rest += round(self.hollow.mask_density * len(self.saliency.values))
        count = (self.hollow.parameters - rest) // self.grid.table.shape[1]
        if count < 1:
            raise ValueError(f"{self.hollow.parameters} numbers are too few: networks and mask alone take {rest}.")
        return min(count, len(self.kept_rows))

    def penalty(self) -> Float[Tensor, ""]:
        if self.saliency is None or self.kept_mask is not None:
            return super().penalty()
        if self.admm is None:
            return SHRINK * self.saliency.values.clamp_min(0).sum()
        return self.admm.penalty(self.saliency.values)

    def step(self) -> float:
        error = super().step()
        with torch.no_grad():
            if self.saliency is not None:
                self._work_on_mask(self.saliency)
            self._work_on_rows()
        return error

    def _work_on_mask(self, saliency: SaliencyMask) -> None:
        hollow = self.hollow
        if self.kept_mask is None and self.fraction >= hollow.mask_until:
            values = saliency.values.clamp_min(0)
            self.kept_mask = (keep_density(values, hollow.mask_density) & (values > 0))[:, 0]
        elif self.kept_mask is None and self.fraction >= hollow.mask_from and self.step_index % hollow.every == 0:
            started = self.admm or saliency.pruner(hollow.mask_density, hollow.rho)
            self.admm = started.update(saliency.values)
        if self.kept_mask is not None:
            saliency.values[~self.kept_mask] = 0

    def _work_on_rows(self) -> None:
        count = round(self.schedule.density(self.step_index) * len(self.kept_rows))
        if count < int(self.kept_rows.sum()):
            scores = self._scores().masked_fill(~self.kept_rows, -1)
            self.kept_rows = keep_count(scores, count)
        self.grid.table[~self.kept_rows] = 0

    def _scores(self) -> Float[Tensor, " R"]:
        table = self.grid.table.detach()
        if self.hollow.criterion == "random":
            return random_scores(table[:, 0], self.config.seed)
        if self.hollow.criterion == "magnitude":
            return table.square().sum(1)
        return (table.square() * self.optimizer.state[self.grid.table]["exp_avg_sq"]).sum(1)

    def finished(self) -> RadianceField:
        """The field without what was taken out of it."""
        small = RadianceField(self.field.config, self.field.box)
        small.shape_net, small.color_net = self.field.shape_net, self.field.color_net
        small.encoding = self.grid.pruned(self.kept_rows)
        if self.saliency is not None:
            assert self.kept_mask is not None, "the mask is settled before the last step"
            saliency = SaliencyMask(self.saliency.resolution)
            saliency.grid = self.saliency.grid.pruned(self.kept_mask)
            small.encoding = HollowGrid(small.encoding, saliency)
        return small
