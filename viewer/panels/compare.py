"""Two runs in one picture."""

from typing import TYPE_CHECKING

from viewer.compare import Comparison
from viewer.contents import Contents
from viewer.panels.parts import on_change

if TYPE_CHECKING:
    from viewer.app import Viewer

_OFF, _WIPE, _SIDES = "Off", "Wipe", "Side by side"


class ComparePanel:
    """Shown when several runs were opened."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        gui = viewer.server.gui
        self._folder = gui.add_folder("Compare", visible=False)
        with self._folder:
            self.mode = gui.add_dropdown("Runs", (_OFF, _WIPE, _SIDES), initial_value=_OFF)
            self.left = gui.add_dropdown("Left", ("1",))
            self.right = gui.add_dropdown("Right", ("1",))
            self.wipe = gui.add_slider("Wipe", 0.0, 1.0, 0.01, 0.5)
        for handle in (self.mode, self.left, self.right, self.wipe):
            on_change(handle, self._changed)

    def _changed(self) -> None:
        painter, names = self._viewer.painter, list(self.left.options)
        self.left.visible = self.right.visible = self.mode.value != _OFF and len(names) > 2
        self.wipe.visible = self.mode.value == _WIPE
        painter.comparison = None
        if self.mode.value != _OFF and len(names) > 1:
            pair = names.index(self.left.value), names.index(self.right.value)
            painter.comparison = Comparison(*pair, self.wipe.value, self.mode.value == _SIDES)
        self._viewer.settings_changed()

    def refresh(self, contents: Contents) -> None:
        others = self._viewer.others
        self._folder.visible = bool(others) and self._viewer.editor is not None
        names = tuple(f"{i} {run.title}" for i, run in enumerate((contents, *others), start=1))
        self.left.options = self.right.options = names
        self.left.value, self.right.value = names[0], names[min(1, len(names) - 1)]  # type: ignore[misc]
        self.mode.value = _WIPE if others else _OFF  # type: ignore[misc]  # viser's setter is untyped
        self._changed()
