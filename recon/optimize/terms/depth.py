"""Rendered depth against depth of the right scale."""

from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import Step, weighted_mean


def relative_depth(
    depth: Float[Tensor, "H W"], target: Float[Tensor, "H W"], confidence: Float[Tensor, "H W"]
) -> Float[Tensor, ""]:
    """Confidence-weighted mean of |log depth - log target|: scale-free, and mild on far surfaces.

    Pixels without a target (confidence 0) or without a hit (depth 0) do not count.
    """
    weight = confidence * (target > 0) * (depth.detach() > 0)
    distance = (depth.clamp_min(1e-6).log() - target.clamp_min(1e-6).log()).abs()
    # A stereo outlier must not drag the surface: beyond a tenth there is no pull.
    return weighted_mean(distance.clamp(max=0.1), weight)


def term(step: Step) -> Float[Tensor, ""]:
    stereo = step.target.stereo
    if stereo is None:
        return step.rgb.new_zeros(())
    return relative_depth(step.view.depth, stereo.depth, stereo.confidence)
