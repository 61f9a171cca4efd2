"""Photos to cameras: features, matches, mapping, verification. Start at `estimate`; backends are one file each."""

from recon.errors import InputError, MissingDependencyError, PoseError
from recon.events import EventSink, ignore
from recon.poses.auto import AutoBackend
from recon.poses.base import Backend, KnownCameras, PosesConfig
from recon.poses.colmap import ColmapBackend
from recon.poses.feedforward import FEED_FORWARD
from recon.poses.known import KnownBackend
from recon.poses.localize import localize
from recon.poses.scene import make_scene
from recon.types import ImageSet, PoseResult

__all__ = ["BACKENDS", "Backend", "KnownCameras", "PosesConfig", "estimate", "localize", "make_scene"]

_ALL: tuple[Backend, ...] = (AutoBackend(), ColmapBackend(), KnownBackend(), *FEED_FORWARD)
BACKENDS = {backend.name: backend for backend in _ALL}


def estimate(
    images: ImageSet, config: PosesConfig | None = None, emit: EventSink = ignore, known: KnownCameras | None = None
) -> PoseResult:
    """Cameras and sparse points of `images` with the backend `config` names.

    Raises:
        InputError: no such backend, or fewer than two photos.
        MissingDependencyError: the backend cannot run here.
        PoseError: fewer than two photos could be placed.
    """
    config = config or PosesConfig()
    if config.backend not in BACKENDS:
        raise InputError(f"No pose backend '{config.backend}'. Choose one of: {', '.join(sorted(BACKENDS))}.")
    if len(images) < 2:
        raise PoseError(f"Need at least 2 photos to find cameras, got {len(images)}. Add photos from other places.")
    backend = BACKENDS[config.backend]
    ready, why = backend.available()
    if not ready:
        raise MissingDependencyError(f"The pose backend '{config.backend}' cannot run: {why}.")
    return backend.estimate(images, config, emit, known)
