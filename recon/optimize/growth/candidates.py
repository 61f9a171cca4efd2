"""Growth out of a pool of candidates (GVGEN, He et al. 2024, sec. 3.1): pruned Gaussians leave their places to a pool,
and a Gaussian that needs help takes its helper's place from there, if one is near.

So new Gaussians start where the scene was once sampled rather than on top of those that pull. Deviations: GVGEN keeps
the number of Gaussians fixed and so draws from its pool alone; here those that find no place near them are split or
cloned as in `gradient`, under the cap. A pool holds places; all else a helper has from the Gaussian that it helps.
Places no photo shows do not enter the pool.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from recon.optimize.growth.config import DensifyConfig
from recon.optimize.growth.gradient import GradientDensifier
from recon.types import Cameras, Splats


class CandidateDensifier(GradientDensifier):
    """`GradientDensifier` whose newborn first go where others were pruned."""

    def __init__(self, config: DensifyConfig, n: int, cameras: Cameras, seed: int) -> None:
        super().__init__(config, n, cameras, seed)
        self.pool: Float[Tensor, "P 3"] = torch.zeros(0, 3)

    def _doomed(self, splats: Splats, min_opacity: float) -> dict[str, Bool[Tensor, " N"]]:
        doomed = super()._doomed(splats, min_opacity)
        faint = doomed["opacity"]
        left = splats.means[faint & ~self._unseen(splats.means)]
        self.pool = torch.cat([self.pool, left.cpu()])
        return doomed

    def _grow(self, splats: Splats, chosen: Bool[Tensor, " N"]) -> tuple[Bool[Tensor, " N"], Splats]:
        rows = chosen.nonzero()[:, 0]
        rows = rows[self.gradient[rows].argsort(descending=True, stable=True)]  # the neediest take first
        reach = self.config.candidates.reach * splats.scales[rows].amax(dim=1)
        places = nearest_places(splats.means[rows].cpu(), reach.cpu(), self.pool).to(rows.device)
        helped = rows[places >= 0]
        taken = places[places >= 0].cpu()
        drawn = replace(splats[helped], means=self.pool[taken].to(splats.means))
        free = torch.ones(len(self.pool), dtype=torch.bool)
        free[taken] = False
        self.pool = self.pool[free]
        rest = chosen.clone()
        rest[helped] = False
        gone, born = super()._grow(splats, rest)
        self.account.add_born("drawn", len(helped))
        return gone, Splats.cat([drawn, born])

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "pool": self.pool}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pool = state["pool"].cpu()


def nearest_places(
    means: Float[Tensor, "M 3"], reach: Float[Tensor, " M"], pool: Float[Tensor, "P 3"], tries: int = 4
) -> Int[Tensor, " M"]:
    """For each mean in turn the nearest place within its `reach` that none before it has; -1 where there is none.

    Only the nearest `tries` places are considered.
    """
    places = np.full(len(means), -1, dtype=np.int64)
    if len(pool) == 0 or len(means) == 0:
        return torch.from_numpy(places)
    distance, nearest = cKDTree(pool.numpy()).query(means.numpy(), k=list(range(1, tries + 1)))
    taken: set[int] = set()
    for row, (distances, candidates) in enumerate(zip(distance, nearest)):
        near = candidates[distances <= float(reach[row])]
        place = next((int(c) for c in near if int(c) not in taken), -1)
        if place >= 0:
            taken.add(place)
            places[row] = place
    return torch.from_numpy(places)
