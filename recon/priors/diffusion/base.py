"""What a prior for pictures is asked, and what it answers. A new prior is one file with a class like `NullPrior`.

A prior looks at renderings from places where no photo was taken (`Views`) and says what they should look like
(`Repaired`), or how unlikely they are (`ScorePrior.score`). Everything it may look at is worked out once, outside:
the photos, where they lie, and what they show of each view (`recon.priors.diffusion.warps`).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.types import Cameras


@dataclass(frozen=True)
class Licence:
    """What a user agrees to, and downloads, before a prior's weights are used."""

    name: str
    """Such as `Apache-2.0`; empty where there are no weights."""
    url: str = ""
    megabytes: float = 0.0
    commercial: bool = True
    """Whether the weights may be used commercially."""


@dataclass(frozen=True)
class Views:
    """V renderings of one size, and what R photos show of each."""

    rgb: Float[Tensor, "V H W 3"]
    """The renderings, black behind."""
    alpha: Float[Tensor, "V H W"]
    depth: Float[Tensor, "V H W"]
    """z-depth in world units; 0 where nothing was hit."""
    cameras: Cameras
    photos: tuple[Float[Tensor, "_ _ 3"], ...]
    """All photos of the scene, in the colours of the renderings (exposure removed)."""
    photo_cameras: Cameras
    nearest: Int[Tensor, "V R"]
    """The photos that were warped into each view, nearest first."""
    warped: Float[Tensor, "V R H W 3"]
    """Those photos' pixels in the view's place, through its depth."""
    warped_own: Float[Tensor, "V R H W 3"]
    """What the splats show in their places, warped alike: `warped - warped_own` is what the photos know better."""
    valid: Float[Tensor, "V R H W"]
    """In [0, 1]: how sure it is that photo and view see the same surface there."""
    distance: Float[Tensor, " V"]
    """To the nearest photo's camera, in units of the typical distance between neighbouring photos' cameras."""
    seed: int = 0
    """Of everything random."""

    def __len__(self) -> int:
        return int(self.rgb.shape[0])


@dataclass(frozen=True)
class Repaired:
    """What a prior makes of views."""

    images: Float[Tensor, "V H W 3"]
    """In [0, 1], the colours of `Views.rgb`."""
    confidence: Float[Tensor, "V H W"]
    """In [0, 1]: how much each pixel may count in the optimisation."""


@runtime_checkable
class Prior(Protocol):
    """One source of knowledge about pictures. To add one: write such a class and list it in `PRIORS`."""

    name: str
    licence: Licence

    def available(self) -> tuple[bool, str]:
        """Whether it can run here, and if not, what is missing and how to get it. Never touches the network."""
        ...

    def repair(self, views: Views) -> Repaired:
        """What the views should look like.

        Raises:
            MissingDependencyError: it is not available.
        """
        ...


@runtime_checkable
class ScorePrior(Prior, Protocol):
    """A prior that can also say in which direction a rendering becomes more likely."""

    def score(self, views: Views) -> Float[Tensor, ""]:
        """Score distillation (Poole et al. 2023, "DreamFusion", eq. 3): a loss whose gradient by `views.rgb` is the
        distilled score; its value is for reading only."""
        ...


class NullPrior:
    """Knows nothing: returns the renderings, with no confidence."""

    name = "none"
    licence = Licence("")

    def available(self) -> tuple[bool, str]:
        return True, ""

    def repair(self, views: Views) -> Repaired:
        return Repaired(views.rgb, torch.zeros_like(views.alpha))
