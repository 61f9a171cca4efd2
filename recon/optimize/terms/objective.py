"""The loss of a step, summed over its terms."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms import coverage, depth, invariant, normals, ranking, regularise
from recon.optimize.terms.base import Setup, Step, Term
from recon.optimize.terms.binocular import Binocular
from recon.optimize.terms.config import LossConfig, TermsConfig
from recon.optimize.terms.photometric import discounted, photometric
from recon.optimize.terms.photos import PhotoConsistency
from recon.optimize.terms.robust import RobustMask

TERMS: dict[str, Callable[[Setup, TermsConfig], Term]] = {
    "alpha": lambda setup, how: coverage.term,
    "depth": lambda setup, how: depth.term,
    "opacity": lambda setup, how: regularise.mean_opacity,
    "scale": lambda setup, how: regularise.mean_scale,
    "ranking": lambda setup, how: ranking.term,
    "correlation": lambda setup, how: invariant.correlation_term,
    "patch_correlation": lambda setup, how: invariant.patch_correlation_term,
    "scale_shift": lambda setup, how: invariant.scale_shift_term,
    "normals": lambda setup, how: normals.consistency_term,
    "smoothness": lambda setup, how: normals.smoothness_term,
    "binocular": lambda setup, how: Binocular(how.binocular),
    "photos": lambda setup, how: PhotoConsistency(setup, how.photos),
}
"""How each term beside the photometric one is made, by the name of its weight in `LossConfig`."""


class Objective:
    """The photometric loss and every term of `TERMS` that has a weight."""

    def __init__(self, setup: Setup, weights: LossConfig, how: TermsConfig) -> None:
        self.weights = weights
        self.robust = RobustMask(len(setup.scene), how.robust)
        self.terms = {name: build(setup, how) for name, build in TERMS.items() if getattr(weights, name) > 0}
        self.readings: dict[str, Tensor] = {}
        """What each term contributed to the last step, weighted."""

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        loss = photometric(*self._compared(step), self.weights.ssim)
        self.readings = {"photometric": loss.detach()}
        for name, term in self.terms.items():
            value = getattr(self.weights, name) * term(step)
            self.readings[name] = value.detach()
            loss = loss + value
        return loss

    def _compared(self, step: Step) -> tuple[Tensor, Tensor]:
        """Rendering and photo, less the parts of it that the other photos contradict."""
        if self.weights.robust == 0:
            return step.rgb, step.wanted
        inlier = self.robust.inliers(step.rgb.detach(), step.wanted, step.index, step.fraction, step.target.mask)
        weight = torch.where(inlier, 1.0, 1 - self.weights.robust)
        return discounted(step.rgb, step.wanted, weight)

    def state_dict(self) -> dict[str, Any]:
        return {"robust": self.robust.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.robust.load_state_dict(state["robust"])
