"""Getting around: from photo to photo, home, upright."""

from typing import TYPE_CHECKING

import viser

from viewer.contents import Contents
from viewer.guard import guarded

if TYPE_CHECKING:
    from viewer.app import Viewer

_PREVIOUS, _NEXT = "‹ Photo", "Photo ›"
_RESET, _LEVEL = "Reset view", "Level"


class NavigatePanel:
    """Buttons that move the camera of the tab they are pressed in."""

    def __init__(self, viewer: "Viewer") -> None:
        gui = viewer.server.gui
        with gui.add_folder(None):
            self._photos = gui.add_button_group(
                "Fly to", (_PREVIOUS, _NEXT), visible=False, hint="To where the previous or next photo was taken"
            )
            self._views = gui.add_button_group(
                "View", (_RESET, _LEVEL), hint="Back to the first view; or make the horizon level again"
            )

        @self._photos.on_click
        @guarded
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                viewer.step_photo(event.client, 1 if self._photos.value == _NEXT else -1)

        @self._views.on_click
        @guarded
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                (viewer.reset_view if self._views.value == _RESET else viewer.level_view)(event.client)

    def refresh(self, contents: Contents) -> None:
        self._photos.visible = contents.n_placed > 0
