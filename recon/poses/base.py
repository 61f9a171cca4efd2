"""What every pose backend takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from recon.events import EventSink, ignore
from recon.types import Cameras, ImageSet, PoseResult

KnownCameras = Mapping[str, Cameras]
"""Given cameras by file name, each a `Cameras` of one view at any image size."""


@dataclass(frozen=True)
class PosesConfig:
    """How cameras are found."""

    backend: str = "auto"
    """`auto` (learned features, escalating), `colmap` (pooled affine SIFT, no weights), `known` (given poses), or a
    feed-forward model with its own package and weights: `da3`, `mapanything`, `vggt`."""
    checkpoint: str = ""
    """Weights of a feed-forward model: an id on the Hugging Face hub or a folder; empty: the backend's own choice."""
    max_side: int = 1024
    """Photos are matched at this longest side at most, in pixels."""
    seed: int = 0
    """Of every random sampler, so that the same photos give the same cameras."""
    time_limit_s: float = 600.0
    """Wall time for one mapping job; a longer one counts as failed."""


@runtime_checkable
class Backend(Protocol):
    """One way to get cameras from photos. To add one: write a module with such a class, list it in `BACKENDS`."""

    name: str

    def available(self) -> tuple[bool, str]:
        """Whether it can run here, and if not, what is missing and how to get it."""
        ...

    def estimate(
        self, images: ImageSet, config: PosesConfig, emit: EventSink = ignore, known: KnownCameras | None = None
    ) -> PoseResult:
        """Cameras in pixels of `images`, world frame as in `recon.poses.gauge` (given poses keep their own).

        Raises:
            PoseError: fewer than two photos could be placed.
        """
        ...
