"""Views to keep, paths through them, and films along these."""

import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import viser
from jaxtyping import Float

from recon.errors import ReconError
from recon.video import even_size
from viewer.contents import Contents
from viewer.display import FOCUS_DEPTH, DisplayFrame, View, camera_view, placed_indices
from viewer.film import KINDS, MAX_FRAMES, FilmCancelled, FilmOrder, path_through, render_film
from viewer.guard import guarded
from viewer.looks import Look
from viewer.notes import SavedView
from viewer.panels.parts import note, on_press, tell
from viewer.places import new_path

if TYPE_CHECKING:
    from viewer.app import Viewer

FOLDER = "films"
_SAVED, _ROUND = "Saved views", "Saved views, round"
_OF_PHOTOS = {"Photos": "interpolate", "Orbit": "orbit", "Spiral": "spiral"}
_SIZES = {"640 × 360": (640, 360), "1280 × 720": (1280, 720), "1920 × 1080": (1920, 1080)}
_ADD, _GO, _DROP = "Save", "Go", "Remove"
_NO_VIEW = "none yet"
_PLAY, _PAUSE = "Play", "Pause"
_PREVIEW_FPS = 30
_NO_PATH = "No path yet", "Save a view or two, or choose a path along the photos."
_PATH_KEYS = 120
"""Views of a path along the photos; a film with more frames goes smoothly through them."""


class FilmPanel:
    """One film at a time is rendered, for all tabs."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        self._job: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._playing: viser.ClientHandle | None = None
        """The tab that goes along the path."""
        gui = viewer.server.gui
        self._views = gui.add_dropdown("View", (_NO_VIEW,))
        self._keep = gui.add_button_group(
            " ", (_ADD, _GO, _DROP), hint="Save what you see; go to the view above; drop it"
        )
        self._path = gui.add_dropdown("Path", (_SAVED, _ROUND))
        self._seconds = gui.add_slider("Seconds", 1.0, 60.0, 0.5, 6.0)
        self._time = gui.add_slider("Timeline", 0.0, 1.0, 0.005, 0.0, hint="Move along the path")
        self._play = gui.add_button(_PLAY, hint="Go along the path at its own pace")
        self._size = gui.add_dropdown("Size", tuple(_SIZES), initial_value="1280 × 720")
        self._fps = gui.add_dropdown("Frames/s", ("12", "24", "30", "60"), initial_value="24")
        self._kind = gui.add_dropdown("Format", KINDS)
        self._render = gui.add_button("Render")
        self.icons = ((self._play, viser.Icon.PLAYER_PLAY), (self._render, viser.Icon.MOVIE))
        self._state = gui.add_html("")
        self._bar = gui.add_progress_bar(0.0, visible=False)
        self._cancel = gui.add_button("Cancel", visible=False, color="red")
        on_press(self._keep, self._keep_or_go)
        on_press(self._play, self._play_or_pause)
        on_press(self._render, self._start)
        on_press(self._cancel, lambda tab: self._cancelled.set())

        @self._time.on_update
        @guarded
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                self._preview(event.client)

    # Views

    def _keep_or_go(self, tab: viser.ClientHandle) -> None:
        notes, frame = self._viewer.notes, self._viewer.frame
        names = [view.name for view in notes.views]
        if frame is None:
            return
        if self._keep.value == _ADD:
            used = [int(name.split()[-1]) for name in names if name.split()[-1].isdigit()]
            saved = SavedView.of(self._viewer.view_of(tab), frame, f"View {max(used, default=0) + 1}")
            self._viewer.set_notes(notes.with_view(saved))
            self._list(saved.name)
        elif self._views.value in names:
            index = names.index(self._views.value)
            if self._keep.value == _GO:
                self._viewer.fly_to(tab, notes.views[index].view(frame))
            else:
                self._viewer.set_notes(replace(notes, views=notes.views[:index] + notes.views[index + 1 :]))
                self._list()

    def _list(self, chosen: str | None = None) -> None:
        names = tuple(view.name for view in self._viewer.notes.views) or (_NO_VIEW,)
        self._views.options = names
        self._views.value = chosen if chosen in names else names[-1]  # type: ignore[misc]  # viser's setter is untyped

    # Paths

    def path(self, frames: int) -> list[View]:
        """The chosen path, one view per frame; empty when there is nothing to go through."""
        frame, notes = self._viewer.frame, self._viewer.notes
        assert frame is not None, "there is a frame before there are controls"
        if self._path.value in _OF_PHOTOS:
            return self._photo_path(_OF_PHOTOS[self._path.value], frames)
        views = [view.view(frame) for view in notes.views]
        return path_through(views, frames, closed=self._path.value == _ROUND) if views else []

    def _photo_path(self, kind: str, frames: int) -> list[View]:
        from recon import paths  # SciPy's signal processing takes a while to load

        contents, frame = self._viewer.contents, self._viewer.frame
        if contents.cameras is None or frame is None:
            return []
        placed = contents.cameras[placed_indices(contents.cameras)]
        xyz = torch.from_numpy(contents.centers()).float()
        poses = paths.along(kind, placed, min(frames, _PATH_KEYS), xyz if len(xyz) else None)
        like = camera_view(placed, 0, frame)
        return path_through([_pose_view(pose.double().numpy(), like, frame) for pose in poses], frames)

    def _frames(self) -> int:
        return int(min(max(round(self._seconds.value * int(self._fps.value)), 1), MAX_FRAMES))

    def _preview(self, tab: viser.ClientHandle) -> None:
        views = self.path(201)
        if views:
            self._viewer.fly_to(tab, views[round(200 * self._time.value)], seconds=0.0)

    def _play_or_pause(self, tab: viser.ClientHandle) -> None:
        if self._playing is not None:
            self._viewer.halt(self._playing)
            self._played(self._playing, 0.0, True)
            return
        seconds = float(self._seconds.value)
        views = self.path(round(seconds * _PREVIEW_FPS) + 1)
        if not views:
            tell(tab, *_NO_PATH)
            return
        self._playing = tab
        self._play.label, self._play.icon = _PAUSE, viser.Icon.PLAYER_PAUSE
        start = 0.0 if self._time.value >= 1.0 else float(self._time.value)
        self._viewer.ride(tab, views, seconds, start, lambda share, over: self._played(tab, share, over))

    def _played(self, tab: viser.ClientHandle, share: float, over: bool) -> None:
        """Show how far the ride of `tab` is."""
        if self._playing is not tab:
            return
        if not over or share >= 1.0:
            self._time.value = share  # type: ignore[misc]  # viser's setter is untyped
        if over:
            self._playing = None
            self._play.label, self._play.icon = _PLAY, viser.Icon.PLAYER_PLAY

    # Rendering

    def _start(self, tab: viser.ClientHandle) -> None:
        views, model = self.path(self._frames()), self._viewer.painter.model
        if not views or model is None:
            tell(tab, *_NO_PATH)
            return
        if self._job is not None and self._job.is_alive():
            tell(tab, "Busy", "A film is being rendered already.")
            return
        run, kind = self._viewer.contents.folder, self._kind.value
        home = Path(tempfile.mkdtemp(prefix="recon-film-")) if run is None else run
        look = self._viewer.painter.look
        order = FilmOrder(
            model,
            views,
            even_size(*_SIZES[self._size.value]),
            int(self._fps.value),
            kind,
            new_path(home, FOLDER, "film", ".mp4" if kind == "MP4" else ""),
            look if look.by_server else Look.EXACT,
            self._viewer.background,
        )
        self._cancelled.clear()
        arguments = (tab, order, home if run is None else None)
        self._job = threading.Thread(target=guarded(self._work), args=arguments, daemon=True, name="viewer-film")
        self._job.start()

    def _work(self, tab: viser.ClientHandle, order: FilmOrder, scratch: Path | None) -> None:
        """Make the film. One in a `scratch` folder, which goes afterwards, is handed over as a download at once."""
        self._show(True, f"Rendering {len(order.views)} frames…")
        said = "The film could not be made; the log says why."
        try:
            path = render_film(order, lambda done: self._progress(done / len(order.views)), self._cancelled)
            if scratch is not None and path.is_dir():  # frames have no other way to the person
                path = Path(shutil.make_archive(str(path), "zip", path))
            said = f"Done: {path.name}" if scratch is not None else f"Done: {path.parent.name}/{path.name}"
            if path.is_file() and tab.client_id in self._viewer.server.get_clients():
                tab.send_file_download(path.name, path.read_bytes(), save_immediately=scratch is not None)
        except FilmCancelled:
            said = "Cancelled; nothing was kept."
        except ReconError as error:
            said = str(error)
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            self._show(False, said)

    def _progress(self, share: float) -> None:
        self._bar.value = 100.0 * share  # type: ignore[misc]  # viser's setter is untyped

    def _show(self, busy: bool, text: str) -> None:
        self._state.content = note(text)
        self._bar.visible = self._cancel.visible = busy
        self._render.visible = not busy

    def stop(self) -> None:
        """End what is being rendered."""
        self._cancelled.set()
        if self._job is not None:
            self._job.join(timeout=20.0)

    def refresh(self, contents: Contents) -> None:
        on = self._viewer.editor is not None
        for handle in (
            *(self._views, self._keep, self._path, self._seconds, self._time, self._play),
            *(self._size, self._fps, self._kind, self._render),
        ):
            handle.visible = on
        self._path.options = (_SAVED, _ROUND, *(_OF_PHOTOS if contents.n_placed > 1 else ()))
        self._state.content = "" if on else note("Films can be made when the run is done.")
        self._list()


def _pose_view(cam_from_world: Float[np.ndarray, "4 4"], like: View, frame: DisplayFrame) -> View:
    """A pose of the world as a view, with the lens of `like`."""
    R, t = cam_from_world[:3, :3], cam_from_world[:3, 3]
    position = frame.points(-R.T @ t)
    distance = float(np.clip(-position @ R[2], 0.2 * FOCUS_DEPTH, 2.0 * FOCUS_DEPTH))
    return View(position, position + distance * R[2], -R[1], like.fov_y_rad, like.aspect)
