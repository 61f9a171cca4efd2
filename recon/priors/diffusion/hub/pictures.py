"""Between renderings of any size and what latent models take, and how far to believe what they give back."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.priors.diffusion.base import Views

LONGEST = 1024
"""Longer sides are shrunk to it: memory grows with the fourth power of it in the attention layers."""
MULTIPLE = 64
"""Sides become multiples of it: eight for the autoencoder, eight more for the network's own levels."""
AGREES = 0.1
"""Difference of colour at which a repaired pixel that a photo shows is believed 1/e."""
INVENTED = 0.3
"""Confidence where no photo shows the place: what Difix3D+ (Wu et al. 2025) weighs its repaired views by."""


@dataclass(frozen=True)
class Fitted:
    """Pictures as a model takes them, and the size they had."""

    planes: Float[Tensor, "V 3 h w"]
    """In [0, 1]."""
    shrunk: tuple[int, int]
    size: tuple[int, int]

    def restore(self, planes: Float[Tensor, "V 3 h w"]) -> Float[Tensor, "V H W 3"]:
        """The model's answer in the size that was given, float32, in [0, 1]."""
        cut = planes.float()[..., : self.shrunk[0], : self.shrunk[1]]
        if self.shrunk != self.size:
            cut = F.interpolate(cut, self.size, mode="bicubic", align_corners=False)
        return cut.permute(0, 2, 3, 1).clamp(0, 1)


def fit(images: Float[Tensor, "V H W 3"], longest: int = LONGEST, multiple: int = MULTIPLE) -> Fitted:
    """Shrink if too large, and pad at the right and the bottom by repeating the last pixels."""
    size = (int(images.shape[1]), int(images.shape[2]))
    planes = images.permute(0, 3, 1, 2)
    scale = min(1.0, longest / max(size))
    shrunk = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    if shrunk != size:
        planes = F.interpolate(planes, shrunk, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
    padding = (0, -shrunk[1] % multiple, 0, -shrunk[0] % multiple)
    return Fitted(F.pad(planes, padding, mode="replicate"), shrunk, size)


def confidence_of(views: Views, images: Float[Tensor, "V H W 3"]) -> Float[Tensor, "V H W"]:
    """How far to believe pictures that a generative model made.

    Where photos surely show the place, as far as one of them agrees; elsewhere `INVENTED`.
    """
    difference = (images[:, None] - views.warped).abs().mean(dim=-1)
    agreement = views.valid * torch.exp(-((difference / AGREES) ** 2))
    return (agreement.amax(dim=1) + INVENTED * (1 - views.valid.amax(dim=1))).clamp(0, 1)
