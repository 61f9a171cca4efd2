"""Lengths in the scene, its scale, and which way is up."""

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import viser

from viewer.contents import Contents
from viewer.display import FOCUS_DEPTH, Vector
from viewer.edit import Window
from viewer.panels.parts import note, on_press, tell
from viewer.picking import area_points, fit_plane

if TYPE_CHECKING:
    from viewer.app import Viewer

_INK = (255, 92, 160)
_POINTS, _AREA = "3 points", "Area"
_MAX_UNIT = 12


class MeasurePanel:
    """Two points and their distance; a known distance sets the scale; a plane sets the floor."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        self.points: list[Vector] = []
        self._for: Literal["length", "floor"] = "length"
        gui = viewer.server.gui
        self._start = gui.add_button("Measure a length", hint="Then click two points")
        self.icons = ((self._start, viser.Icon.RULER_2),)
        self._result = gui.add_html("")
        self._known = gui.add_number("True length", 1.0, min=1e-6, step=0.001, hint="What the length above really is")
        self._unit = gui.add_text("Unit", "m")
        self._set = gui.add_button("Set the scale", disabled=True)
        self._floor = gui.add_button_group(
            "Floor from",
            (_POINTS, _AREA),
            hint="Click three points of the floor, or drag a rectangle over a part of it",
        )
        self._state = gui.add_html("")
        self._clear = gui.add_button("Clear marks")
        on_press(self._start, lambda tab: self._begin(tab, "length", "Click two points."))
        on_press(self._set, self._set_scale)
        on_press(self._floor, self._begin_floor)
        on_press(self._clear, lambda tab: self._erase())

    def _begin(self, tab: viser.ClientHandle, purpose: Literal["length", "floor"], text: str) -> None:
        self._erase()
        self._for = purpose
        self._viewer.tool.clicks(self._clicked)
        tell(tab, "Measure" if purpose == "length" else "Floor", text)

    def _begin_floor(self, tab: viser.ClientHandle) -> None:
        if self._floor.value == _POINTS:
            self._begin(tab, "floor", "Click three points of the floor.")
            return
        self._erase()
        self._viewer.tool.areas(self._area)
        tell(tab, "Floor", "Drag a rectangle over a part of the floor.")

    def _clicked(self, tab: viser.ClientHandle, at: tuple[float, float]) -> None:
        point = self._viewer.point_under(tab, at)
        if point is None:
            tell(tab, "Nothing there", "Click where the scene is.")
            return
        self.points.append(point)
        self._mark()
        if self._for == "length" and len(self.points) == 2:
            self._viewer.tool.stop()
            self._show_length()
        elif self._for == "floor" and len(self.points) == 3:
            self._viewer.tool.stop()
            self._set_floor(tab, np.stack(self.points))

    def _area(self, tab: viser.ClientHandle, low: tuple[float, float], high: tuple[float, float]) -> None:
        self._viewer.tool.stop()
        model = self._viewer.painter.model
        if model is not None:
            self._set_floor(tab, area_points(model, self._viewer.camera_of(tab), Window(*low, *high)))

    def _set_floor(self, tab: viser.ClientHandle, points: np.ndarray) -> None:
        try:
            middle, normal = fit_plane(points, self._viewer.camera_of(tab).centers[0].double().numpy())
        except ValueError as error:
            tell(tab, "No floor", f"{str(error).capitalize()}.")
            return
        triples = [(float(v[0]), float(v[1]), float(v[2])) for v in (normal, middle)]
        self._viewer.set_notes(replace(self._viewer.notes, up=triples[0], floor=triples[1]))
        self._viewer.level_all()
        self._say()

    def _set_scale(self, tab: viser.ClientHandle) -> None:
        if len(self.points) != 2:
            return
        length = float(np.linalg.norm(self.points[1] - self.points[0]))
        unit = self._unit.value.strip()[:_MAX_UNIT] or "m"
        if length > 0.0:
            scale = float(self._known.value) / length
            self._viewer.set_notes(replace(self._viewer.notes, unit=unit, units_per_world=scale))
            self._show_length()
            self._say()

    def _mark(self) -> None:
        """Draw the points, and the line between the last two."""
        frame, scene = self._viewer.frame, self._viewer.server.scene
        if frame is None:
            return
        places = [frame.points(point) for point in self.points]
        for i, place in enumerate(places):
            scene.add_icosphere(
                f"/marks/{i}", radius=0.008 * FOCUS_DEPTH, color=_INK, position=place, cast_shadow=False
            )
        if len(places) > 1:
            lines = np.stack([np.stack(pair) for pair in itertools.pairwise(places)]).astype(np.float32)
            scene.add_line_segments("/marks/lines", lines, _INK, thickness=3.0, thickness_units="screen")

    def _show_length(self) -> None:
        length = float(np.linalg.norm(self.points[1] - self.points[0]))
        text, frame = self._viewer.notes.length(length), self._viewer.frame
        self._result.content = note(f"Length: {text}")
        self._set.disabled = False
        if frame is not None:
            middle = frame.points((self.points[0] + self.points[1]) / 2.0)
            self._viewer.server.scene.add_label("/marks/length", text, position=middle)

    def _erase(self) -> None:
        self._viewer.tool.stop()
        self.points = []
        self._viewer.server.scene.add_frame("/marks", show_axes=False)  # in the place of what it held
        self._set.disabled = True
        self._result.content = ""

    def _say(self) -> None:
        notes = self._viewer.notes
        scale = f"1 world unit is {notes.units_per_world:.4g} {notes.unit}." if notes.unit else "The scale is not set."
        floor = "The floor is set." if notes.up is not None else "The floor is not set."
        kept = "" if self._viewer.contents.folder is None else " Kept in the run folder."
        self._state.content = note(f"{scale} {floor}{kept if notes.unit or notes.up else ''}")

    def refresh(self, contents: Contents) -> None:
        on = self._viewer.editor is not None
        for handle in (self._start, self._known, self._unit, self._set, self._floor, self._clear):
            handle.visible = on
        self._erase()
        if on:
            self._say()
        else:
            self._state.content = note("Measuring starts when the run is done.")
