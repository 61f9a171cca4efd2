"""The steps in order."""

import importlib.util
import logging
import time

from recon.errors import MissingDependencyError
from recon.events import EventSink, Progress, ignore
from recon.mesh.clean import clean
from recon.mesh.config import MeshConfig
from recon.mesh.fuse import fuse
from recon.mesh.surface import TexturedMesh
from recon.mesh.texture import bake
from recon.mesh.unwrap import unwrap
from recon.mesh.views import DepthView, Shots, depth_views
from recon.render import Rasterizer
from recon.types import Cameras, Splats

log = logging.getLogger(__name__)

PACKAGES = {
    "mcubes": "PyMCubes",
    "fast_simplification": "fast-simplification",
    "xatlas": "xatlas",
    "trimesh": "trimesh",
}
"""What is imported, and what it is called in the package index."""
STEPS = 5


def require_packages() -> None:
    """Raises:
    MissingDependencyError: the packages of the extra `mesh` are not installed.
    """
    missing = [package for name, package in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"A mesh needs {', '.join(missing)}, a few megabytes that are not installed. "
            "Get them with: pip install 'recon[mesh]'"
        )


def make_mesh(
    splats: Splats,
    shots: Shots,
    between: Cameras,
    rasterizer: Rasterizer,
    config: MeshConfig | None = None,
    emit: EventSink = ignore,
) -> TexturedMesh:
    """A textured mesh of what the splats show.

    Args:
        between: further cameras to look from, at most as far from the surface as the photos'.

    Raises:
        InputError: the splats show no surface.
        MissingDependencyError: the packages of the extra `mesh` are not installed.
    """
    require_packages()
    config = config or MeshConfig()
    clock = _Clock(emit)
    clock.next("rendering depth")
    views = _views(splats, shots, between, rasterizer, config)
    clock.next("fusing")
    surface = fuse(views, config)
    clock.next("cleaning")
    surface = clean(surface, config)
    clock.next("unwrapping")
    atlas = unwrap(surface, config.texture_side)
    clock.next("painting")
    mesh = bake(surface, atlas, shots, config.texture_side)
    clock.end()
    return mesh


def _views(
    splats: Splats, shots: Shots, between: Cameras, rasterizer: Rasterizer, config: MeshConfig
) -> list[DepthView]:
    seen = depth_views(splats, shots.cameras, shots.masks, rasterizer, config)
    return [*seen, *depth_views(splats, between, None, rasterizer, config)]


class _Clock:
    """Says what is being done, and logs what it took."""

    def __init__(self, emit: EventSink) -> None:
        self.emit, self.step, self.label, self.started = emit, 0, "", 0.0

    def next(self, label: str) -> None:
        self.end()
        self.emit(Progress("export", self.step, STEPS, f"mesh: {label}"))
        self.label, self.started = label, time.process_time()
        self.step += 1

    def end(self) -> None:
        if self.label:
            log.info("mesh: %s took %.1f CPU-s", self.label, time.process_time() - self.started)
