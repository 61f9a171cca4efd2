"""What a term of the training loss is, and what it may look at.

A term is made once per scene from a `Setup` and then called with the `Step` at hand; it returns one number, a mean, so
that weights carry over between image sizes.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.targets import Target
from recon.types import Cameras, DepthMaps, PosedScene, Splats


@dataclass(frozen=True)
class Setup:
    """The scene, for terms that prepare something once."""

    scene: PosedScene
    depths: DepthMaps | None
    """What `Target.stereo` is taken from."""


@dataclass(frozen=True)
class View:
    """The splats as a camera sees them, before a background colour."""

    rgb: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    depth: Float[Tensor, "H W"]
    """Expected z-depth, 0 where nothing was hit."""


@runtime_checkable
class Studio(Protocol):
    """The photos and the present splats at the resolution of a step."""

    def photo(self, index: int) -> Target:
        """Any photo."""
        ...

    def camera(self, index: int) -> Cameras:
        """Its camera (V = 1) as refined so far; no gradient flows to it."""
        ...

    def render(self, camera: Cameras) -> View:
        """All of the splats, none dropped, from a camera (V = 1) of the step's size, in the colours of the step's
        photo. Gradients flow to the splats."""
        ...

    def recolor(self, rgb: Float[Tensor, "*s 3"], index: int) -> Float[Tensor, "*s 3"]:
        """Colours of photo `index` as the step's photo would have recorded them: exposures undone and applied."""
        ...


@dataclass(frozen=True)
class Step:
    """One training step: a photo, and what the splats show in its place."""

    index: int
    """Of the photo."""
    fraction: float
    """Of the training that is done, in [0, 1)."""
    target: Target
    wanted: Float[Tensor, "H W 3"]
    """The photo, with the step's background where its mask is 0."""
    rgb: Float[Tensor, "H W 3"]
    """The rendering over the background, exposed as the photo was; `view` is it before both."""
    view: View
    splats: Splats
    depth_unit: float
    generator: torch.Generator
    """On the CPU; of the terms alone."""
    studio: Studio

    @property
    def camera(self) -> Cameras:
        """Of the photo (V = 1), as refined so far, without gradient."""
        return self.studio.camera(self.index)


@runtime_checkable
class Term(Protocol):
    def __call__(self, step: Step) -> Float[Tensor, ""]:
        """The penalty, not yet weighted; 0 where the step gives nothing to compare."""
        ...


def weighted_mean(values: Float[Tensor, "*s"], weight: Float[Tensor, "*s"]) -> Float[Tensor, ""]:
    """Mean over what has weight; 0 where nothing has."""
    return (weight * values).sum() / weight.sum().clamp_min(1.0)


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
