"""Cleaning and rearranging the scene: choose what is meant, change it, take it back, save a copy."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import viser

from recon.compress import SPLAT_SUFFIXES, write_splats
from recon.files import write_text
from recon.geometry import Sim3
from viewer.contents import Contents
from viewer.editor import Editor
from viewer.gizmo import Handle, about
from viewer.panels.parts import note, on_press, tell
from viewer.panels.select import SelectSection
from viewer.places import new_path

if TYPE_CHECKING:
    from viewer.app import Viewer

_DELETE, _KEEP, _HIDE, _SHOW = "Delete", "Keep only", "Hide", "Show all"
_MOVE, _COPY = "Move", "Duplicate"
_MOST = 0.9
"""Share of a selection that says how large it is: a few strays do not."""
_UNDO, _REDO = "Undo", "Redo"
_PAGE = ".html"
FOLDER = "edits"


class EditPanel:
    """Shared by all tabs: they look at one scene."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        gui = viewer.server.gui
        self._counts = gui.add_html("")
        self.select = SelectSection(viewer)
        self._remove = gui.add_button_group("Selected", (_DELETE, _KEEP), hint="Take it away, or everything else")
        self._hide = gui.add_button_group(" ", (_HIDE, _SHOW), hint="Leave it out of the picture, not of the file")
        self._move = gui.add_button_group("Change", (_MOVE, _COPY), hint="A handle to drag; or a copy with a handle")
        self._scale = gui.add_slider("Scale", 0.25, 4.0, 0.05, 1.0, visible=False, hint="About the selection's middle")
        self._apply = gui.add_button("Apply scale", visible=False)
        self._steps = gui.add_button_group("Step", (_UNDO, _REDO))
        self._format = gui.add_dropdown("Format", (*SPLAT_SUFFIXES, _PAGE), hint="html: a page that opens by itself")
        self._save = gui.add_button("Save a copy", hint="The run's own file stays as it is")
        self.icons = ((self._save, viser.Icon.DEVICE_FLOPPY),)
        self._handle = Handle(viewer.server, self._moved)
        self._eye = np.zeros(3)
        """Where the tab that took the handle looked from, in the world."""
        self._connect()

    def _connect(self) -> None:
        self._choices(self._remove, {_DELETE: Editor.delete, _KEEP: Editor.keep})
        self._choices(self._hide, {_HIDE: Editor.hide, _SHOW: Editor.show_all})
        self._choices(self._steps, {_UNDO: Editor.undo, _REDO: Editor.redo})
        on_press(self._move, self._grab)
        on_press(self._apply, lambda tab: self._scaled())
        on_press(self._save, self._save_copy)

    def _choices(self, group: viser.GuiButtonGroupHandle, actions: dict[str, Callable[[Editor], None]]) -> None:
        """Do to the scene what the button of the group that was pressed says."""

        def act(_: viser.ClientHandle) -> None:
            if self._viewer.editor is not None:
                actions[group.value](self._viewer.editor)

        on_press(group, act)

    def _middle(self) -> np.ndarray | None:
        """The middle of the selection in the world; None when nothing is selected."""
        editor = self._viewer.editor
        if editor is None or not bool(editor.selected.any()):
            return None
        return editor.splats.means[editor.selected].double().median(dim=0).values.numpy()

    def _grab(self, tab: viser.ClientHandle) -> None:
        editor, middle = self._viewer.editor, self._middle()
        if editor is None or middle is None:
            tell(tab, "Nothing is selected", "Select what to move first.")
            return
        self._eye = self._viewer.camera_of(tab).centers[0].double().numpy()
        if self._move.value == _COPY:
            editor.duplicate(about(middle, middle))
        elif self._handle.shown:
            self._put_down()
            return
        self._place_handle()

    def _place_handle(self) -> None:
        middle, frame, editor = self._middle(), self._viewer.frame, self._viewer.editor
        if middle is None or frame is None or editor is None:
            self._put_down()
            return
        distance = np.linalg.norm(editor.splats.means[editor.selected].double().numpy() - middle, axis=1)
        self._handle.show(middle, float(np.quantile(distance, _MOST)), self._eye, frame)
        self._scale.visible = self._apply.visible = True

    def _put_down(self) -> None:
        self._handle.hide()
        self._scale.visible = self._apply.visible = False

    def _moved(self, motion: Sim3) -> None:
        if self._viewer.editor is not None:
            self._viewer.editor.move(motion)
            self._place_handle()

    def _scaled(self) -> None:
        middle = self._middle()
        if middle is not None:
            self._moved(about(middle, middle, scale=float(self._scale.value)))
            self._scale.value = 1.0  # type: ignore[misc]  # viser's setter is untyped

    def _save_copy(self, tab: viser.ClientHandle) -> None:
        """Into the run folder, or, where there is none, as a download."""
        suffix, folder, title = self._format.value, self._viewer.contents.folder, self._viewer.contents.title
        if folder is not None:
            path = new_path(folder, FOLDER, "scene", suffix)
            self._write(path)
            tell(tab, "Saved", f"{path.relative_to(folder)} in {folder.name}")
            return
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{title or 'scene'}-edited{suffix}"
            self._write(path)
            tab.send_file_download(path.name, path.read_bytes(), save_immediately=True)

    def _write(self, path: Path) -> None:
        """Write the scene as edited, hidden Gaussians included, in the format that the path's ending says."""
        editor, frame = self._viewer.editor, self._viewer.frame
        if editor is None or frame is None:
            return
        if path.suffix == _PAGE:
            from viewer.page import page_of  # here, so that the viewer is up sooner

            write_text(path, page_of(self._viewer.contents, editor.splats, frame))
        else:
            write_splats(path, editor.splats)

    def refresh_counts(self) -> None:
        """Say how much there is and is selected; put the handle away when there is nothing to hold."""
        editor = self._viewer.editor
        if editor is None:
            self._counts.content = note("Editing starts when the run is done.")
            return
        total, selected, hidden = (f"{n:,}".replace(",", " ") for n in editor.counts())
        away = "" if hidden == "0" else f", {hidden} hidden"
        self._counts.content = note(f"{selected} of {total} Gaussians selected{away}")
        if self._handle.shown and selected == "0":
            self._put_down()

    def refresh(self, contents: Contents) -> None:
        on = self._viewer.editor is not None
        for handle in (self._remove, self._hide, self._move, self._steps, self._format, self._save):
            handle.visible = on
        self._put_down()
        self.select.refresh(contents, on)
        self.refresh_counts()
