"""What is drawn and how: the look, photos over it, cameras, sizes, background."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import viser

from viewer.contents import Contents
from viewer.frame_loop import Timing
from viewer.guard import guarded
from viewer.looks import SEEN_COLORS, Look, depth_color
from viewer.panels.parts import note, on_change

if TYPE_CHECKING:
    from viewer.app import Viewer


class LookPanel:
    """Toggles and sizes; shared by all tabs."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        self._had_splats = False
        gui, stage = viewer.server.gui, viewer.stage
        self.look = gui.add_dropdown("Draw", tuple(look.value for look in Look), hint=_HINT)
        self._legend = gui.add_html("", visible=False)
        self._timing = gui.add_html("", visible=False)
        self.blend = gui.add_slider(
            "Photo", 0.0, 1.0, 0.05, 0.0, visible=False, hint="Lay the photo over the scene, from where it was taken"
        )
        self.point_size = gui.add_slider("Point size", 0.2, 4.0, 0.1, 1.0, visible=False)
        self.cameras = gui.add_checkbox("Cameras", True, hint="Where the photos were taken; click one to fly there")
        self.camera_size = gui.add_slider("Camera size", 0.2, 4.0, 0.1, 1.0)
        self.fov = gui.add_slider("Field of view", 15, 110, 1, 55, hint="Degrees from top to bottom")
        self.background = gui.add_rgb("Background", viewer.background)
        on_change(self.look, self._look_changed)
        on_change(self.blend, self._blend_changed)
        on_change(self.point_size, lambda: stage.set_point_size(self.point_size.value))
        on_change(self.cameras, self._toggle_cameras)
        on_change(self.camera_size, lambda: stage.set_frustum_size(self.camera_size.value))
        on_change(self.background, lambda: viewer.set_background(self.background.value))

        @self.fov.on_update
        @guarded
        def _(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:
                viewer.set_fov(event.client, math.radians(self.fov.value))

    def _look_changed(self) -> None:
        look = Look(self.look.value)
        self._viewer.painter.look = look
        self.point_size.visible = look is Look.POINTS
        self._legend.visible = look in _LEGENDS
        if look in _LEGENDS:
            self._legend.content = _LEGENDS[look]()
        self._viewer.settings_changed()
        self._timing.visible = self._viewer.painter.by_server

    def _blend_changed(self) -> None:
        self._viewer.painter.blend = self.blend.value
        self._viewer.settings_changed()
        self._timing.visible = self._viewer.painter.by_server

    def _toggle_cameras(self) -> None:
        self._viewer.stage.show_cameras(self.cameras.value)
        self.camera_size.visible = self.cameras.value and self.cameras.visible

    def at_photo(self, index: int) -> None:
        """A tab flew to a photo: offer to lay it over, if it is at hand and Gaussians are there to compare with."""
        files = self._viewer.contents.photo_files
        self.blend.visible = self._viewer.painter.model is not None and index < len(files) and files[index] is not None

    def show_timing(self, timing: Timing) -> None:
        """Say how long frames take on the server."""
        what = "moving" if timing.moving else "at rest"
        width, height = timing.size
        self._timing.content = note(f"Server: {width} × {height} in {1000 * timing.seconds:.0f} ms, {what}")
        self._timing.visible = True

    def refresh(self, contents: Contents) -> None:
        """Offer what the scene has. Until there are splats, the points stand in for them."""
        looks = [look for look in Look if self._possible(look, contents)]
        look = Look(self.look.value)
        if contents.splats is None:
            look = Look.POINTS if contents.points is not None else Look.NOTHING
            look = Look.MESH if contents.mesh is not None else look
        elif not self._had_splats or look not in looks:
            look = Look.SPLATS
        self._had_splats = contents.splats is not None
        self.look.options = tuple(look.value for look in looks)
        self.look.value = look.value  # type: ignore[misc]  # viser's setter is untyped
        self.cameras.visible = contents.n_placed > 0
        self._look_changed()
        self._toggle_cameras()

    def _possible(self, look: Look, contents: Contents) -> bool:
        if look is Look.POINTS:
            return contents.points is not None
        if look is Look.MESH:
            return contents.mesh is not None
        if look is Look.SEEN:
            return self._viewer.editor is not None and contents.n_placed > 0
        if look.by_server:
            return self._viewer.editor is not None
        return look is Look.NOTHING or contents.splats is not None


_HINT = "Splats are drawn by your browser; the exact ones, depth, normals and uncertainty by the computer recon runs on"


_KEY = "padding:0.1em 0.75em;font-size:0.75rem;display:flex;gap:0.7em;align-items:center;flex-wrap:wrap"


def _seen_legend() -> str:
    names = ("no photo", "1", "2", "3+")
    return f'<div style="{_KEY}">Seen by {"".join(_dot(c, name) for c, name in zip(SEEN_COLORS.tolist(), names))}</div>'


def _normals_legend() -> str:
    """Of faces turned to the right, up and towards the viewer; the other ways lack that colour."""
    faces = (((1.0, 0.5, 0.5), "right"), ((0.5, 1.0, 0.5), "up"), ((0.5, 0.5, 1.0), "to you"))
    return f'<div style="{_KEY}">Faces {"".join(_dot(color, name) for color, name in faces)}</div>'


def _depth_legend() -> str:
    bar = ",".join(_css(color) for color in depth_color(np.linspace(1.0, 0.0, 9)[None])[0].tolist())
    style = f"flex:1;height:0.7em;border-radius:2px;background:linear-gradient(to right,{bar})"
    return f'<div style="{_KEY}"><span>near</span><span style="{style}"></span><span>far</span></div>'


_LEGENDS = {Look.SEEN: _seen_legend, Look.NORMALS: _normals_legend, Look.DEPTH: _depth_legend}


def _dot(color: Sequence[float], name: str) -> str:
    return f'<span style="white-space:nowrap"><span style="color:{_css(color)}">●</span> {name}</span>'


def _css(color: Sequence[float]) -> str:
    """A colour in [0, 1] as CSS has it."""
    return f"rgb({','.join(str(round(255 * value)) for value in color)})"
