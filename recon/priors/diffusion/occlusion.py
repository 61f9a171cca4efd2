"""Photos with somebody in front, and views in one photo's light (SparseGS-W, Li et al. 2025).

The splats know what the other photos show behind a passer-by. What a photo has and the splats do not (the mask of
`recon.optimize.terms.robust`, or one given by hand) is replaced by what a prior makes of the rendering in the photo's
own place, with the other photos for reference. Views are brought to the look of a chosen photo by one colour
transform, fitted between that photo and the rendering in its place where both agree. Deviation: the paper fills with
inpainting by a large diffusion model; here any prior does, as the other photos show most of what is hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from recon.priors.diffusion.base import Prior
from recon.priors.diffusion.warps import make_views
from recon.types import Cameras, Rendering

GROWN = 0.01
"""By this share of the longest side a mask is widened: rims of people are half background and fool the residual."""
FEATHER = 0.01
"""And over this share the filling fades in."""
OFF = 0.1
"""Difference of colour at which a pixel counts half in the fit of the look."""


@dataclass(frozen=True)
class Filled:
    """A photo without what stood in front."""

    photo: Float[Tensor, "H W 3"]
    replaced: Float[Tensor, "H W"]
    """Share of each pixel that the prior made."""
    confidence: Float[Tensor, "H W"]
    """In [0, 1]: 1 where the photo was kept, the prior's elsewhere."""


def remove_occluders(
    index: int,
    photos: Sequence[Float[Tensor, "_ _ 3"]],
    cameras: Cameras,
    own: Sequence[Rendering],
    inliers: Bool[Tensor, "H W"],
    prior: Prior,
) -> Filled:
    """Photo `index` with everything that is not of the scene replaced.

    Args:
        photos: all photos, in the colours of the renderings.
        cameras: theirs.
        own: what the splats show in each photo's place, without camera dimension, as trained with the robust mask.
        inliers: false where the photo shows what the splats do not: `RobustMask.inliers`, or a mask by hand.

    Raises:
        MissingDependencyError: the prior is not available.
    """
    others = [i for i in range(len(photos)) if i != index]
    here = own[index]
    drawn = Rendering(here.rgb[None], here.alpha[None], here.depth[None])
    views = make_views(drawn, cameras[index], [photos[i] for i in others], [own[i] for i in others], cameras[others])
    repaired = prior.repair(views)
    replaced = soft_mask(~inliers)
    photo = photos[index] + replaced[..., None] * (repaired.images[0] - photos[index])
    return Filled(photo, replaced, 1 - replaced * (1 - repaired.confidence[0]))


def soft_mask(masked: Bool[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """1 on the mask and a little around it, fading to 0."""
    longest = max(masked.shape)
    grown, fade = (2 * max(1, round(share * longest)) + 1 for share in (GROWN + FEATHER, FEATHER))
    plane = F.max_pool2d(masked.float()[None, None], grown, stride=1, padding=grown // 2)
    return F.avg_pool2d(plane, fade, stride=1, padding=fade // 2, count_include_pad=False)[0, 0]


@dataclass(frozen=True)
class Look:
    """Colours of one photo's light: `rgb @ matrix + offset`."""

    matrix: Float[Tensor, "3 3"]
    offset: Float[Tensor, "3"]

    def apply(self, images: Float[Tensor, "*s 3"]) -> Float[Tensor, "*s 3"]:
        return (images @ self.matrix + self.offset).clamp(0, 1)


def look_of(photo: Float[Tensor, "H W 3"], rendering: Float[Tensor, "H W 3"], counts: Float[Tensor, "H W"]) -> Look:
    """The affine colour transform from the splats' colours to a photo's, least squares reweighted by Cauchy's weights.

    Args:
        photo: the one whose look is wanted.
        rendering: what the splats show in its place.
        counts: weight of each pixel: alpha, 0 on what stood in front.
    """
    x = torch.cat([rendering.reshape(-1, 3), torch.ones_like(rendering.reshape(-1, 3)[:, :1])], dim=1).double()
    y, weight = photo.reshape(-1, 3).double(), counts.reshape(-1, 1).double()
    identity = torch.eye(4, 3, dtype=torch.float64)
    fit, robust = identity, torch.ones_like(weight)
    for _ in range(5):
        w = weight * robust
        # A thousandth of the pixels' weight holds colours that the picture does not have to what they are.
        ridge = 1e-3 * w.mean() * len(w) * torch.eye(4, dtype=torch.float64)
        fit = torch.linalg.solve(x.T @ (w * x) + ridge, x.T @ (w * y) + ridge @ identity)
        robust = 1 / (1 + ((y - x @ fit).norm(dim=1, keepdim=True) / OFF) ** 2)
    return Look(fit[:3].to(photo), fit[3].to(photo))
