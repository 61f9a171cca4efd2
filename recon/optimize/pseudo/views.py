"""Pseudo-views: renderings from where no photo was taken, repaired by a prior, as further things to fit.

They are added to steps on photos, never taken in their place: a pilot lost by replacing and won by adding. A round of
them is placed, drawn, repaired and weighed now and then, and kept in between. Colours are those of the splats, without
any photo's exposure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.pseudo.places import joined
from recon.optimize.studio import StepStudio
from recon.optimize.terms.photometric import discounted, photometric
from recon.priors.diffusion import Repaired, Views, make_views
from recon.types import Cameras, Rendering

SSIM_WEIGHT = 0.2
"""As 3DGS has for photos."""
DISAGREEMENT = 0.1
"""Difference of colour between neighbouring pseudo-views at which a pixel counts 1/e."""


@dataclass(frozen=True)
class Scenery:
    """The photos as priors take them, and what the splats show in their places."""

    photos: tuple[Float[Tensor, "_ _ 3"], ...]
    cameras: Cameras
    own: tuple[Rendering, ...]

    @staticmethod
    @torch.no_grad()
    def of(studio: StepStudio) -> "Scenery":
        """At the step's resolution, with exposures taken out and black where masks say there is no object."""
        indices = range(len(studio.cameras.base))
        cameras = joined([studio.camera(index) for index in indices])
        photos = []
        for index in indices:
            target = studio.photo(index)
            rgb = studio.cameras.unexpose(target.rgb, index).clamp(0, 1)
            photos.append(rgb if target.mask is None else rgb * target.mask[..., None])
        return Scenery(tuple(photos), cameras, tuple(draw(studio, cameras[index]) for index in indices))

    def views(self, drawn: Rendering, camera: Cameras, references: int, seed: int) -> Views:
        return make_views(drawn, camera, self.photos, self.own, self.cameras, references=references, seed=seed)


@dataclass(frozen=True)
class PseudoView:
    """One view to fit, in half precision: there are many."""

    camera: Cameras
    image: Float[Tensor, "H W 3"]
    weight: Float[Tensor, "H W"]
    """In [0, 1]."""

    def loss(self, studio: StepStudio) -> Float[Tensor, ""]:
        """The photometric loss of the splats as they are, pixel by pixel as far as the view is believed."""
        shown = studio.render(self.camera)
        return photometric(*discounted(shown.rgb, self.image.float(), self.weight.float()), SSIM_WEIGHT)


def draw(studio: StepStudio, camera: Cameras) -> Rendering:
    """The splats from one camera, with a leading dimension of 1, black behind."""
    seen = studio.render(camera)
    return Rendering(seen.rgb[None], seen.alpha[None], seen.depth[None])


@dataclass(frozen=True)
class Mended:
    """A repaired view before it is weighed, in as little memory as will do: all of a round are kept at once."""

    camera: Cameras
    image: Float[Tensor, "H W 3"]
    confidence: Float[Tensor, "H W"]
    alpha: Float[Tensor, "H W"]
    depth: Float[Tensor, "H W"]
    distance: float
    """To the nearest photo, as `Views.distance`."""

    @staticmethod
    def of(views: Views, repaired: Repaired) -> "Mended":
        half = (repaired.images[0].half(), repaired.confidence[0].clamp(0, 1).half(), views.alpha[0].half())
        return Mended(views.cameras, *half, views.depth[0], float(views.distance[0]))

    @property
    def rendering(self) -> Rendering:
        """As if the splats had shown the repaired view."""
        return Rendering(self.image.float()[None], self.alpha.float()[None], self.depth[None])


@torch.no_grad()
def weighed(mended: Sequence[Mended]) -> list[PseudoView]:
    """The repaired views with what each pixel counts: confidence, times nearness to a photo, times agreement with the
    nearest other pseudo-view where that sees the same surface."""
    found = []
    for k, one in enumerate(mended):
        near = 1 / (1 + one.distance**2)
        weight = one.confidence.float() * near * _agreement(k, mended)
        found.append(PseudoView(one.camera, one.image, weight.half()))
    return found


def _agreement(k: int, mended: Sequence[Mended]) -> Float[Tensor, "H W"]:
    """In [0, 1]; 1 where no other view says anything."""
    one = mended[k]
    if len(mended) < 2:
        return torch.ones_like(one.depth)
    centers = joined([each.camera for each in mended]).centers
    apart = (centers - centers[k]).norm(dim=1)
    apart[k] = torch.inf
    other = mended[int(apart.argmin())]
    photo = other.rendering
    looked = make_views(one.rendering, one.camera, [photo.rgb[0]], photo, other.camera, references=1)
    difference = (looked.warped[0, 0] - looked.rgb[0]).abs().mean(dim=-1)
    return 1 - looked.valid[0, 0] * (1 - torch.exp(-((difference / DISAGREEMENT) ** 2)))
