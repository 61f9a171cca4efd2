"""Taking a picture away."""

from typing import TYPE_CHECKING

import viser

from viewer.contents import Contents
from viewer.guard import guarded
from viewer.panels.parts import on_change
from viewer.screenshot import MAX_SIDE

if TYPE_CHECKING:
    from viewer.app import Viewer

SIZES: dict[str, int | None] = {"Window": None, "1920 px": 1920, "3840 px": 3840, "Other": None}


class CapturePanel:
    """Screenshot: size, background, button."""

    def __init__(self, viewer: "Viewer") -> None:
        from viewer.app import Shot

        gui = viewer.server.gui
        with gui.add_folder("Picture"):
            self.size = gui.add_dropdown("Longest side", tuple(SIZES), initial_value="Window")
            self.other = gui.add_number(
                "Pixels", 2560, min=16, max=MAX_SIDE, step=1, visible=False, hint="Longest side of the picture"
            )
            self.transparent = gui.add_checkbox("No background", False, hint="Transparent where nothing is")
            self.button = gui.add_button("Screenshot", hint="This view as a PNG file, drawn by recon's own renderer")
        self.icons = ((self.button, viser.Icon.CAMERA),)

        on_change(self.size, self._size_changed)

        @self.button.on_click
        @guarded
        def _(event: viser.GuiEvent) -> None:
            if event.client is None:
                return
            note = event.client.add_notification("Drawing the picture…", "", loading=True, with_close_button=False)
            try:
                viewer.take_screenshot(event.client, Shot(self._long_side(), self.transparent.value))
            except Exception:
                event.client.add_notification("No picture", "Drawing it failed; the log says why.", color="red")
                raise
            finally:
                note.remove()

    def _long_side(self) -> int | None:
        return int(self.other.value) if self.size.value == "Other" else SIZES[self.size.value]

    def _size_changed(self) -> None:
        self.other.visible = self.size.value == "Other"

    def refresh(self, contents: Contents) -> None:
        """Size and transparency are the renderer's to offer; points alone are captured by the browser."""
        self.size.visible = self.transparent.visible = contents.splats is not None
