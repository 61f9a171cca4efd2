"""Ways to say which Gaussians are meant; each shows only its own controls."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import viser

from recon.render import select_rasterizer
from recon.types import Cameras
from viewer.contents import Contents
from viewer.display import FOCUS_DEPTH
from viewer.edit import FloaterFilter, Window, in_box, in_outline, in_sphere, in_window, seen_fraction, similar
from viewer.edit.selection import Mode
from viewer.gizmo import Volume
from viewer.lasso import Outline
from viewer.masks import object_masks
from viewer.panels.parts import on_change, on_press, tell

if TYPE_CHECKING:
    from viewer.app import Viewer

_LASSO, _AREA, _BOX, _SPHERE = "Lasso", "Rectangle", "Box", "Sphere"
_ALIKE, _FLOATERS, _OBJECT = "Alike", "Floaters", "Object"
_ALL, _NONE, _INVERT = "All", "None", "Invert"
_VISIBLE = 0.1
"""Share of a Gaussian that must be seen for it to count as visible."""
_OFF_SIZE, _OFF_ISOLATION = 100.0, 30.0


class SelectSection:
    """The part of the Edit panel that changes the selection."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        self._volume = Volume(viewer.server)
        gui = viewer.server.gui
        self._quick = gui.add_button_group("Select", (_ALL, _NONE, _INVERT))
        self.way = gui.add_dropdown("By", (_AREA, _LASSO, _BOX, _SPHERE, _ALIKE, _FLOATERS, _OBJECT))
        self.mode = gui.add_dropdown("Mode", ("New", "Add", "Remove"), hint="What becomes of the selection so far")
        self._shown: dict[str, list[Any]] = {}
        self._add_pointer_ways(gui)
        self._add_volumes(gui)
        self._add_floaters(gui)
        self._object = gui.add_button(
            "Find the object", hint="Where the photos' masks agree; a small network draws them"
        )
        self._shown[_OBJECT] = [self._object]
        on_press(self._quick, lambda tab: self._quickly())
        on_press(self._object, self._find_object)
        on_change(self.way, self._way_changed)

    def _add_pointer_ways(self, gui: viser.GuiApi) -> None:
        self._front = gui.add_checkbox("Only visible", False, hint="Not what lies behind")
        self._draw = gui.add_button("Draw a rectangle", hint="Then drag in the picture")
        self._draw_around = gui.add_button("Draw around it", hint="Then draw in the picture with the button held down")
        self._color = gui.add_slider("Colour", 0.02, 0.5, 0.01, 0.15, hint="How much colours may differ")
        self._reach = gui.add_slider("Reach", 1, 100, 1, 25, hint="How far from the click, in % of the scene's depth")
        self._point = gui.add_button("Click on it", hint="Then click in the picture")
        self._shown[_AREA], self._shown[_LASSO] = [self._front, self._draw], [self._front, self._draw_around]
        self._shown[_ALIKE] = [self._color, self._reach, self._point]
        on_press(self._draw, self._await_area)
        on_press(self._draw_around, self._await_outline)
        on_press(self._point, self._await_click)

    def _add_volumes(self, gui: viser.GuiApi) -> None:
        start = 0.3 * FOCUS_DEPTH
        self._sides = gui.add_vector3("Sides", (start, start, start), min=(0.05, 0.05, 0.05), step=0.05)
        self._radius = gui.add_slider("Radius", 0.05, 1.5 * FOCUS_DEPTH, 0.05, 0.5 * start)
        self._inside = gui.add_button("Select inside")
        self._shown[_BOX], self._shown[_SPHERE] = [self._sides, self._inside], [self._radius, self._inside]
        on_change(self._sides, self._show_volume)
        on_change(self._radius, self._show_volume)
        on_press(self._inside, lambda tab: self._in_volume())

    def _add_floaters(self, gui: viser.GuiApi) -> None:
        self._opacity = gui.add_slider("Opacity <", 0.0, 0.5, 0.01, 0.0, hint="Fainter than this")
        self._size = gui.add_slider(
            "Size >", 1.0, _OFF_SIZE, 1.0, _OFF_SIZE, hint="Longest axis, % of the scene's depth"
        )
        self._isolation = gui.add_slider("Isolation >", 2.0, _OFF_ISOLATION, 0.5, _OFF_ISOLATION, hint=_ISOLATION)
        self._cameras = gui.add_slider("Photos <", 0, 4, 1, 0, hint="Seen by fewer photos")
        sliders = [self._opacity, self._size, self._isolation, self._cameras]
        self._shown[_FLOATERS] = sliders
        for slider in sliders:
            on_change(slider, self._preview_floaters)

    @property
    def _mode(self) -> Mode:
        return cast(Mode, self.mode.value)

    def _quickly(self) -> None:
        editor = self._viewer.editor
        if editor is not None and self._quick.value == _INVERT:
            editor.invert()
        elif editor is not None:
            editor.select_all(self._quick.value == _ALL)

    def _way_changed(self) -> None:
        """Show the controls of the way chosen, and its volume in the scene."""
        for handle in {id(h): h for handles in self._shown.values() for h in handles}.values():
            handle.visible = False
        if self._viewer.editor is not None:
            for handle in self._shown[self.way.value]:
                handle.visible = True
        self.mode.visible = self._viewer.editor is not None and self.way.value != _FLOATERS
        self._viewer.tool.stop()
        self._show_volume()

    # Ways

    def _await_area(self, tab: viser.ClientHandle) -> None:
        self._viewer.tool.areas(self._in_area)
        tell(tab, "Rectangle", "Drag over what you mean.")

    def _await_outline(self, tab: viser.ClientHandle) -> None:
        self._viewer.tool.outline(tab, self._in_outline)
        tell(tab, "Lasso", "Draw around what you mean. Esc ends it.")

    def _await_click(self, tab: viser.ClientHandle) -> None:
        self._viewer.tool.clicks(self._like_this)
        tell(tab, "Alike", "Click what you mean.")

    def _in_area(self, tab: viser.ClientHandle, low: tuple[float, float], high: tuple[float, float]) -> None:
        self._viewer.tool.stop()
        self._seen(tab, lambda means, camera: in_window(means, camera, Window(*low, *high)))

    def _in_outline(self, tab: viser.ClientHandle, outline: Outline) -> None:
        self._seen(tab, lambda means, camera: in_outline(means, camera, outline))

    def _seen(self, tab: viser.ClientHandle, inside: Callable[[torch.Tensor, Cameras], torch.Tensor]) -> None:
        """Select by what one tab sees."""
        editor = self._viewer.editor
        if editor is None:
            return
        splats, camera = editor.splats, self._viewer.camera_of(tab)
        found = inside(splats.means, camera)
        if self._front.value:
            found &= seen_fraction(splats, camera, select_rasterizer("auto"))[0] > _VISIBLE
        editor.select(found, self._mode)

    def _like_this(self, tab: viser.ClientHandle, at: tuple[float, float]) -> None:
        editor, frame = self._viewer.editor, self._viewer.frame
        point = self._viewer.point_under(tab, at)
        if editor is None or frame is None or point is None:
            return
        self._viewer.tool.stop()
        reach = self._reach.value / 100.0 * FOCUS_DEPTH / frame.scale
        found = similar(editor.splats, torch.from_numpy(point).float(), self._color.value, reach)
        editor.select(found, self._mode)

    def _show_volume(self) -> None:
        if self._viewer.editor is None or self.way.value not in (_BOX, _SPHERE):
            self._volume.hide()
            return
        self._volume.show(self.way.value, self._volume_sides())

    def _volume_sides(self) -> np.ndarray:
        if self.way.value == _SPHERE:
            return np.full(3, 2.0 * self._radius.value)
        return np.maximum(np.array(self._sides.value, dtype=np.float64), 0.01)

    def _in_volume(self) -> None:
        editor, frame = self._viewer.editor, self._viewer.frame
        if editor is None or frame is None or not self._volume.shown:
            return
        if self.way.value == _BOX:
            found = in_box(editor.splats.means, self._volume.box(frame, self._volume_sides()))
        else:
            found = in_sphere(editor.splats.means, self._volume.center(frame), self._radius.value / frame.scale)
        editor.select(found, self._mode)

    def _preview_floaters(self) -> None:
        editor, frame = self._viewer.editor, self._viewer.frame
        if editor is None or frame is None:
            return
        depth = FOCUS_DEPTH / frame.scale
        off = float("inf")
        rule = FloaterFilter(
            min_opacity=self._opacity.value,
            max_size=off if self._size.value >= _OFF_SIZE else self._size.value / 100.0 * depth,
            isolation=off if self._isolation.value >= _OFF_ISOLATION else self._isolation.value,
            min_cameras=int(self._cameras.value),
        )
        editor.select_floaters(rule)

    def _find_object(self, tab: viser.ClientHandle) -> None:
        editor = self._viewer.editor
        if editor is None:
            return
        waiting = tab.add_notification("Looking for the object…", "", loading=True, with_close_button=False)
        try:
            masks = object_masks(self._viewer.contents)
            if all(mask is None for mask in masks):
                tell(tab, "No object", "The photos show no single object that stands out.")
            else:
                editor.select_object(masks, self._mode)
        finally:
            waiting.remove()

    def refresh(self, contents: Contents, on: bool) -> None:
        self._quick.visible = self.way.visible = on
        with_photos = contents.n_placed > 0 and any(file is not None for file in contents.photo_files)
        ways = (_AREA, _LASSO, _BOX, _SPHERE, _ALIKE, _FLOATERS, *((_OBJECT,) if with_photos else ()))
        self.way.options = ways
        self._volume.hide()
        self._way_changed()


_ISOLATION = "Distance to its neighbours, in units of what is usual in the scene"
