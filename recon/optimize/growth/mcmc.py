"""Growth as Markov chain Monte Carlo (Kheradmand et al. 2024): no heuristics of where, only moves that keep the image.

Faint Gaussians are moved onto strong ones, new ones are added there too, and noise lets those that are nearly
invisible wander until a photo holds them. Deviations: Gaussians that no photo shows and that are not finite die like
faint ones; the noise is measured in units of the median scene depth, so that it does not depend on the world's scale;
Adam starts anew for the Gaussians moved onto as for those moved.
"""

import math
from dataclasses import replace
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.geometry.so3 import quat_to_rotmat
from recon.optimize.growth.base import Densifier
from recon.optimize.parameters import SplatParameters
from recon.types import Splats

MOST_COPIES = 51
"""Of one Gaussian in one place; the published code stops there too."""
STEEPNESS, THRESHOLD = 100.0, 0.005
"""k and t of eq. 8: noise moves only what is about to die."""


class McmcDensifier(Densifier):
    """Relocation, addition and noise."""

    @torch.no_grad()
    def after_step(self, parameters: SplatParameters) -> None:
        """Noise on the means (eq. 8), along each Gaussian's own covariance and less the more opaque it is."""
        strength = self.config.mcmc.noise * parameters.means_rate / parameters.depth_unit
        if strength <= 0:
            return
        splats = parameters.splats().detach()
        noise = torch.randn(len(splats), 3, generator=self.generator).to(splats.means)
        gate = torch.sigmoid(-STEEPNESS * (splats.opacities - THRESHOLD))
        axes = quat_to_rotmat(splats.quats)
        variances = (splats.scales / parameters.depth_unit).square()
        covered = (axes @ (variances * (axes.mT @ noise[..., None])[..., 0])[..., None])[..., 0]
        parameters.tensors()["means"].add_(strength * parameters.depth_unit * gate[:, None] * covered)

    @torch.no_grad()
    def refine(self, parameters: SplatParameters, grow: bool) -> None:
        """Move the dead onto the living and add within the cap; without `grow`, only remove the dead."""
        self._shrink(parameters)
        splats = parameters.splats().detach()
        dead = torch.stack(list(self._doomed(splats, self.config.mcmc.dead_opacity).values())).any(0)
        alive = (~dead).nonzero()[:, 0]
        n_dead, room = int(dead.sum()), self.config.max_gaussians - len(splats)
        n_added = max(0, min(room, int(self.config.grow_fraction * len(splats))))
        if not grow or len(alive) == 0:
            parameters.rewrite(alive)
            return
        born = []
        for cause, n in (("relocated", n_dead), ("added", n_added)):
            born.append(self._move_onto(parameters, alive, n))
            self.account.add_born(cause, n)
        parameters.rewrite(alive, Splats.cat(born))

    def _move_onto(self, parameters: SplatParameters, alive: Int[Tensor, " A"], n: int) -> Splats:
        """`n` copies of living Gaussians, drawn in proportion to opacity; copies and originals share what there was."""
        splats = parameters.splats().detach()
        if n == 0:
            return splats[:0]
        weights = splats.opacities[alive].cpu()
        drawn = alive[torch.multinomial(weights, n, replacement=True, generator=self.generator).to(alive.device)]
        sources, copies = drawn.unique(return_counts=True)
        opacities, scales = shared_by(splats.opacities[sources], splats.scales[sources], 1 + copies)
        opacities = opacities.clamp(self.config.mcmc.dead_opacity, 1 - 1e-6)  # nothing is born dead
        changed = replace(splats[sources], logit_opacities=opacities.logit(), log_scales=scales.log())
        parameters.overwrite(sources, changed)
        return changed[torch.arange(len(sources), device=sources.device).repeat_interleave(copies)]


def shared_by(
    opacities: Float[Tensor, " N"], scales: Float[Tensor, "N 3"], shares: Int[Tensor, " N"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 3"]]:
    """Opacity and scales with which `shares` Gaussians in one place look like one did (eq. 9).

    Together they are as opaque in the middle, and as much along any line through it. Summed over i first, the double
    sum of the paper is sum_k (-1)^k C(n, k+1) o^(k+1) / sqrt(k+1), which is what is computed here.
    """
    n = shares.clamp(max=MOST_COPIES)
    new = 1 - (1 - opacities.double()) ** (1 / n)
    power = torch.arange(1, MOST_COPIES + 1, device=new.device)
    weights = _alternating_binomials().to(new.device)[n]
    total = (weights * new[:, None] ** power / power.sqrt()).sum(dim=1)
    factor = (opacities / total.clamp_min(1e-12)).to(scales)
    return new.to(opacities), scales * factor[:, None]


@cache
def _alternating_binomials() -> Float[Tensor, "n k"]:
    """(-1)^k C(n, k + 1) for n up to `MOST_COPIES`, in double precision: the terms nearly cancel."""
    rows = [[(-1) ** k * math.comb(n, k + 1) for k in range(MOST_COPIES)] for n in range(MOST_COPIES + 1)]
    return torch.tensor(rows, dtype=torch.float64)
