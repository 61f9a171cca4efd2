"""Camera paths from saved views, and films of them: rendered by our own renderer, with progress, cancelled at will."""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from recon.video import VideoConfig, write_frames, write_mp4
from viewer.display import View, view_camera
from viewer.looks import RGB, Look, Model, Picture, draw_look

logger = logging.getLogger(__name__)

MAX_FRAMES = 6000
KINDS = ("MP4", "PNGs")


class FilmCancelled(Exception):
    """Someone pressed Cancel."""


@dataclass(frozen=True)
class FilmOrder:
    """A film to be made."""

    model: Model
    views: list[View]
    """One per frame, display units."""
    size: tuple[int, int]
    """Width and height in pixels, both even."""
    fps: int
    kind: str
    """One of `KINDS`."""
    path: Path
    """The MP4 file, or the folder of the PNG files."""
    look: Look = Look.EXACT
    background: RGB = (0, 0, 0)


def path_through(views: list[View], frames: int, closed: bool = False) -> list[View]:
    """A smooth way through all of `views`, in their order; back to the first if `closed`.

    Cubic splines through position, target, up and field of view, timed by the way between neighbouring views, so
    that the camera keeps its pace.

    Raises:
        ValueError: no views.
    """
    from scipy.interpolate import CubicSpline  # here, as in the other places, so that a page is up sooner

    if not views:
        raise ValueError("a path needs at least one view")
    if len(views) == 1 or frames == 1:
        return [views[0]] * frames
    keys = np.stack([np.concatenate([v.position, v.look_at, v.up, [v.fov_y_rad]]) for v in views])
    if closed:
        keys = np.concatenate([keys, keys[:1]])
    steps = np.linalg.norm(np.diff(keys[:, :6], axis=0), axis=1) + 1e-3
    times = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
    spline = CubicSpline(times, keys, bc_type="periodic" if closed else "natural")
    asked = np.arange(frames) / frames if closed else np.linspace(0.0, 1.0, frames)
    return [_view(values, views[0].aspect) for values in spline(asked)]


def _view(values: Float[np.ndarray, "10"], aspect: float) -> View:
    position, look_at, up = values[:3], values[3:6], values[6:9]
    forward = look_at - position
    forward = forward / max(float(np.linalg.norm(forward)), 1e-9)
    up = up - (up @ forward) * forward
    return View(
        position, look_at, up / max(float(np.linalg.norm(up)), 1e-9), float(np.clip(values[9], 0.05, 2.8)), aspect
    )


def render_film(order: FilmOrder, progress: Callable[[int], None], cancelled: threading.Event) -> Path:
    """Make the film. `progress(frames done)` is called after each frame.

    Raises:
        FilmCancelled: `cancelled` was set; nothing is left behind.
        MissingDependencyError, ResourceError: as `recon.video.write_mp4`.
    """

    def frames() -> Iterator[Picture]:
        for done, view in enumerate(order.views, start=1):
            if cancelled.is_set():
                raise FilmCancelled
            camera = view_camera(view, order.size, order.model.frame)
            yield draw_look(order.model, camera, order.look, order.background)
            progress(done)

    if order.kind == "MP4":
        write_mp4(order.path, frames(), order.size, VideoConfig(fps=order.fps))
        return order.path
    part = order.path.with_name(f".{order.path.name}.part")
    try:
        write_frames(part, frames())
        part.replace(order.path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return order.path
