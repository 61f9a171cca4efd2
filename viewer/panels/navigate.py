"""Getting around: from photo to photo, home, upright, centred, circling."""

from typing import TYPE_CHECKING

import viser

from viewer.contents import Contents
from viewer.panels.parts import note, on_press, tell

if TYPE_CHECKING:
    from viewer.app import Viewer

_PREVIOUS, _NEXT = "‹ Photo", "Photo ›"
_RESET, _LEVEL = "Reset view", "Level"
_CENTRE, _TURN = "Centre", "Turntable"


class NavigatePanel:
    """Buttons that move the camera of the tab they are pressed in."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        gui = viewer.server.gui
        self._photos = gui.add_button_group(
            "Fly to", (_PREVIOUS, _NEXT), visible=False, hint="To where the previous or next photo was taken"
        )
        self._views = gui.add_button_group(
            "View", (_RESET, _LEVEL), hint="Back to the first view; or make the horizon level again"
        )
        self._orbit = gui.add_button_group(
            "Orbit", (_CENTRE, _TURN), hint="Circle about the point clicked next; or start and stop circling"
        )
        gui.add_html(note("Drag: turn · right drag: shift · wheel: zoom · keys W A S D Q E and arrows: fly"))
        on_press(self._photos, lambda tab: viewer.step_photo(tab, 1 if self._photos.value == _NEXT else -1))
        on_press(
            self._views, lambda tab: (viewer.reset_view if self._views.value == _RESET else viewer.level_view)(tab)
        )
        on_press(self._orbit, lambda tab: self._centre(tab) if self._orbit.value == _CENTRE else viewer.turn_table(tab))

    def _centre(self, tab: viser.ClientHandle) -> None:
        self._viewer.tool.clicks(self._centre_at)
        tell(tab, "Centre", "Click the point to circle about.")

    def _centre_at(self, tab: viser.ClientHandle, at: tuple[float, float]) -> None:
        point = self._viewer.point_under(tab, at)
        if point is not None and self._viewer.frame is not None:
            self._viewer.tool.stop()
            tab.camera.look_at = self._viewer.frame.points(point)

    def refresh(self, contents: Contents) -> None:
        self._photos.visible = contents.n_placed > 0
        self._orbit.visible = contents.splats is not None
