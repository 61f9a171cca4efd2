"""A second eye: the splats, seen from a little aside and carried back by the rendered depth, must show the photo.

Binocular-Guided 3DGS (Han et al. 2024), eq. 3 to 6: a view shifted by d along the camera's x axis has the disparity
f d / depth; its rendering, sampled there, is compared with the photo.

Deviations: pixels that the shifted view does not see or sees covered are left out; the difference is clamped; what the
splats leave uncovered in the shifted view costs nothing (that is for other terms); the shift is a share of the photo's
median depth, not a length in an arbitrary unit.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import Step, uniform
from recon.optimize.terms.warping import moved_sideways, positions_and_weight, robust_difference
from recon.stereo.warp import sample_image


@dataclass(frozen=True)
class BinocularConfig:
    start: float = 0.3
    """Share of the training after which the term acts: rendered depth means little before."""
    max_shift: float = 0.1
    """Longest shift in units of the photo's median depth; each step draws one up to it, to either side."""


class Binocular:
    def __init__(self, config: BinocularConfig) -> None:
        self.config = config

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        depth = step.view.depth
        hit = depth.detach()[depth.detach() > 0]
        if step.fraction < self.config.start or hit.numel() == 0:
            return step.rgb.new_zeros(())
        distance = uniform(-1.0, 1.0, step.generator) * self.config.max_shift * float(hit.median())
        aside = moved_sideways(step.camera, distance)
        seen = step.studio.render(aside)
        uv, weight = positions_and_weight(depth, step.camera, seen.depth, aside)
        rgb, alpha = sample_image(seen.rgb, uv), sample_image(seen.alpha.detach()[..., None], uv)
        if step.target.mask is not None:
            weight = weight * step.target.mask
        return robust_difference(rgb + (1 - alpha) * step.target.rgb, step.target.rgb, weight)
