"""The side panel, one file per section, in the order in which they appear."""

from typing import TYPE_CHECKING

from viewer.contents import Contents
from viewer.panels.capture import CapturePanel
from viewer.panels.look import LookPanel
from viewer.panels.navigate import NavigatePanel
from viewer.panels.progress import ProgressPanel
from viewer.panels.summary import SummaryPanel

if TYPE_CHECKING:
    from viewer.app import Viewer

# On a phone viser puts the panel over the lower right of the picture, up to 60 % high. Full width and lower, a
# landscape photo that one flew to stays visible above it. If viser renames its classes, its own layout remains.
STYLE = """<style>
@media (max-width: 36em) {
  .mantine-Paper-root[style*="position: fixed"] { width: 100% !important; max-height: 35% !important; }
  .mantine-Paper-root[style*="position: fixed"] .mantine-ScrollArea-content > div { width: 100% !important; }
}
</style>"""


class Panels:
    """All sections of one viewer's side panel."""

    def __init__(self, viewer: "Viewer") -> None:
        viewer.server.gui.add_html(STYLE)
        self.summary = SummaryPanel(viewer)
        self.progress = ProgressPanel(viewer)
        self.navigate = NavigatePanel(viewer)
        self.look = LookPanel(viewer)
        self.capture = CapturePanel(viewer)

    def refresh(self, contents: Contents) -> None:
        """Show what is known about a scene; controls for what it lacks are hidden."""
        self.summary.refresh(contents)
        self.navigate.refresh(contents)
        self.look.refresh(contents)
        self.capture.refresh(contents)
