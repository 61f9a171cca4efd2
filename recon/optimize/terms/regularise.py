"""Opacity and scale penalties of 3DGS-MCMC (Kheradmand et al. 2024), eq. 9: what explains nothing fades and shrinks."""

from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import Step


def mean_opacity(step: Step) -> Float[Tensor, ""]:
    return step.splats.opacities.mean()


def mean_scale(step: Step) -> Float[Tensor, ""]:
    """In units of the median scene depth."""
    return (step.splats.scales / step.depth_unit).mean()
