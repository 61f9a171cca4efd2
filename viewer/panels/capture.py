"""Taking a picture away."""

from typing import TYPE_CHECKING

import viser

from viewer.contents import Contents
from viewer.guard import guarded

if TYPE_CHECKING:
    from viewer.app import Viewer

SIZES: dict[str, int | None] = {"Window": None, "1920 px": 1920, "3840 px": 3840}


class CapturePanel:
    """Screenshot: size, background, button."""

    def __init__(self, viewer: "Viewer") -> None:
        from viewer.app import Shot

        gui = viewer.server.gui
        with gui.add_folder("Picture"):
            self.size = gui.add_dropdown("Longest side", tuple(SIZES), initial_value="Window")
            self.transparent = gui.add_checkbox("No background", False, hint="Transparent where nothing is")
            self.button = gui.add_button(
                "Screenshot", icon=viser.Icon.CAMERA, hint="This view as a PNG file, drawn by recon's own renderer"
            )

        @self.button.on_click
        @guarded
        def _(event: viser.GuiEvent) -> None:
            if event.client is None:
                return
            note = event.client.add_notification("Drawing the picture…", "", loading=True, with_close_button=False)
            try:
                viewer.take_screenshot(event.client, Shot(SIZES[self.size.value], self.transparent.value))
            except Exception:
                event.client.add_notification("No picture", "Drawing it failed; the log says why.", color="red")
                raise
            finally:
                note.remove()

    def refresh(self, contents: Contents) -> None:
        """Size and transparency are the renderer's to offer; points alone are captured by the browser."""
        self.size.visible = self.transparent.visible = contents.splats is not None
