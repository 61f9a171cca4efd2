"""Photo against photo: another photo, carried over by the rendered depth, must look like this one.

CoherentGS (Paliwal et al. 2024) ties pixels of two photos by optical flow and asks their Gaussians to meet. Here the
photos' own colours say whether they do, as in self-supervised depth (Zhou et al. 2017, eq. 1 and 2): nothing has to be
matched beforehand, and the term speaks for every pixel. Only depth is moved by it.

Deviation from both: a pixel counts only where the other camera's own rendered depth says that it is seen from there.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import Setup, Step
from recon.optimize.terms.warping import positions_and_weight, robust_difference
from recon.stereo.neighbours import choose
from recon.stereo.warp import sample_image

NEIGHBOURS = 4
"""Photos that one is compared with, one of them a step."""


@dataclass(frozen=True)
class PhotosConfig:
    start: float = 0.1
    """Share of the training after which the term acts."""


class PhotoConsistency:
    def __init__(self, setup: Setup, config: PhotosConfig) -> None:
        self.config = config
        self.neighbours = [hood.views for hood in choose(setup.scene, NEIGHBOURS)]

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        views = self.neighbours[step.index]
        if step.fraction < self.config.start or len(views) == 0:
            return step.rgb.new_zeros(())
        other = views[int(torch.randint(len(views), (1,), generator=step.generator))]
        camera = step.studio.camera(other)
        with torch.no_grad():
            surface = step.studio.render(camera).depth
        uv, weight = positions_and_weight(step.view.depth, step.camera, surface, camera)
        if step.target.mask is not None:
            weight = weight * step.target.mask
        colors = step.studio.recolor(sample_image(step.studio.photo(other).rgb, uv), other)
        return robust_difference(colors, step.target.rgb, weight)
