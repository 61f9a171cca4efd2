"""The plain blend: renderings with what the nearest photos know better. No weights, no learning.

Where a photo and the splats in its place differ, the photo is right; the difference is carried into the view and added
to the rendering, by how sure it is that both see the same surface. On nine real scenes with three photos, held-out
views of splats of 300 steps rose from 22.33 to 22.49 dB so; the photos' own colours, pasted, lowered them to 22.06.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.priors.diffusion.base import Licence, Repaired, Views

RENDERING_WEIGHT = 0.25
"""Of the rendering itself, against 1 of the nearest photo where it is surely seen."""
UNSEEN = 1e-4
"""Weight of a photo that does not show the place: not 0, so that a network's correction of the logarithm is finite."""


def blend_logits(views: Views) -> Float[Tensor, "V C H W"]:
    """Logarithms of weights of (rendering, reference 1, ..., reference R), C = R + 1: their softmax is the plain blend.

    A photo counts as far as it surely sees the place, and less than the nearest in proportion to its distance.
    """
    apart = torch.cdist(views.cameras.centers, views.photo_cameras.centers).gather(1, views.nearest)
    near = (apart.amin(dim=1, keepdim=True) + 1e-9) / (apart + 1e-9)
    photos = (views.valid * near[..., None, None]).clamp_min(UNSEEN)
    rendering = torch.full_like(views.alpha, RENDERING_WEIGHT)
    return torch.cat([rendering[:, None], photos], dim=1).log()


def blend(
    views: Views,
    logits: Float[Tensor, "V C H W"] | None = None,
    residual: Float[Tensor, "V 3 H W"] | None = None,
) -> Float[Tensor, "V H W 3"]:
    """The views blended, in [0, 1].

    Args:
        logits: weights in place of `blend_logits(views)`.
        residual: added to the blend.
    """
    weights = (blend_logits(views) if logits is None else logits).softmax(dim=1)
    better = views.valid[..., None] * (views.warped - views.warped_own)
    image = views.rgb + (weights[:, 1:, ..., None] * better).sum(dim=1)
    if residual is not None:
        image = image + residual.permute(0, 2, 3, 1)
    return image.clamp(0, 1)


def seen_by_any(views: Views) -> Float[Tensor, "V H W"]:
    """In [0, 1]: how sure it is that at least one of the references shows what the view shows."""
    return 1 - (1 - views.valid).prod(dim=1)


class BlendPrior:
    """Photos blended into the renderings; believed where a photo sees the place."""

    name = "blend"
    licence = Licence("")

    def available(self) -> tuple[bool, str]:
        return True, ""

    @torch.no_grad()
    def repair(self, views: Views) -> Repaired:
        return Repaired(blend(views), seen_by_any(views))
