"""The side panel: the readout on top, and one tab per thing to do, one file per section."""

import threading
from typing import TYPE_CHECKING

from viewer.contents import Contents
from viewer.guard import guarded
from viewer.panels.capture import CapturePanel
from viewer.panels.compare import ComparePanel
from viewer.panels.edit import EditPanel
from viewer.panels.film import FilmPanel
from viewer.panels.look import LookPanel
from viewer.panels.measure import MeasurePanel
from viewer.panels.navigate import NavigatePanel
from viewer.panels.progress import ProgressPanel
from viewer.panels.summary import SummaryPanel
from viewer.panels.watch import WatchPanel

if TYPE_CHECKING:
    from viewer.app import Viewer

# On a phone viser puts the panel over the lower right of the picture, up to 60 % high. Full width and lower it leaves
# room above (see `link.js`). If viser renames its classes, its own layout remains.
STYLE = """<style>
@media (max-width: 36em) {
  .mantine-Paper-root[style*="position: fixed"] { width: 100% !important; max-height: 35% !important; }
  .mantine-Paper-root[style*="position: fixed"] .mantine-ScrollArea-content > div { width: 100% !important; }
}
</style>"""


ICON_SECONDS = 1.5
"""How long after the first tab has come the buttons get their icons."""


class Panels:
    """All sections of one viewer's side panel."""

    def __init__(self, viewer: "Viewer") -> None:
        gui = viewer.server.gui
        gui.add_html(STYLE)
        self.summary = SummaryPanel(viewer)
        self.progress = ProgressPanel(viewer)
        self.watch = WatchPanel(viewer)
        tabs = gui.add_tab_group()
        with tabs.add_tab("Look"):
            self.navigate = NavigatePanel(viewer)
            self.look = LookPanel(viewer)
            self.compare = ComparePanel(viewer)
            self.capture = CapturePanel(viewer)
        with tabs.add_tab("Edit"):
            self.edit = EditPanel(viewer)
        with tabs.add_tab("Measure"):
            self.measure = MeasurePanel(viewer)
        with tabs.add_tab("Film"):
            self.film = FilmPanel(viewer)
        self._decoration: threading.Timer | None = None

    def decorate_soon(self) -> None:
        """Put icons on the buttons, once. viser searches 0.04 s for each, and the first picture need not wait."""
        if self._decoration is None:
            self._decoration = threading.Timer(ICON_SECONDS, guarded(self._decorate))
            self._decoration.daemon = True
            self._decoration.start()

    def stop(self) -> None:
        """End what goes on by itself."""
        if self._decoration is not None:
            self._decoration.cancel()
        self.film.stop()

    def _decorate(self) -> None:
        for panel in (self.capture, self.edit, self.measure, self.film):
            for button, icon in panel.icons:
                button.icon = icon

    def refresh(self, contents: Contents) -> None:
        """Show what is known about a scene; controls for what it lacks are hidden."""
        sections = (self.summary, self.navigate, self.look, self.compare, self.capture)
        for section in (*sections, self.edit, self.measure, self.film):
            section.refresh(contents)
