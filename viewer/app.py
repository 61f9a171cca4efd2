"""The viewer put together: a server, a stage, panels, frames drawn on the server, and one pilot per tab."""

import atexit
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import viser
import viser.transforms as vtf
from jaxtyping import UInt8

from recon.types import Cameras
from viewer import screenshot
from viewer.contents import Contents, load
from viewer.display import (
    FOCUS_DEPTH,
    DisplayFrame,
    Vector,
    View,
    camera_view,
    first_view,
    fit_display,
    placed_indices,
    window_camera,
)
from viewer.editor import Editor
from viewer.flight import At, Pilot
from viewer.frame_loop import FrameLoop, Timing
from viewer.gaussians import to_browser
from viewer.guard import guarded
from viewer.link import PageLink
from viewer.looks import Look, Picture
from viewer.notes import Notes, read_notes, write_notes
from viewer.painter import Painter
from viewer.panels import Panels
from viewer.picking import surface_point
from viewer.server import PageServer, page_url, start_server, stop_server
from viewer.sharing import Sharing
from viewer.stage import Stage
from viewer.tidy import Tidier
from viewer.tools import PointerTool

logger = logging.getLogger(__name__)

NEAR, FAR = 0.005 * FOCUS_DEPTH, 1000.0 * FOCUS_DEPTH
BACKGROUND = (24, 26, 31)
_BRAND = (240, 140, 46)


@dataclass(frozen=True)
class Shot:
    """What a screenshot should be."""

    long_side: int | None = None
    """Longest side in pixels; None is the window's."""
    transparent: bool = False


class Viewer:
    """A page that shows one scene at a time. Made by `open_run` and `LiveViewer`."""

    def __init__(
        self, title: str, *, host: str = "127.0.0.1", port: int = 8080, server: PageServer | None = None
    ) -> None:
        self.server = server or start_server(host, port)
        self.url = page_url(self.server)
        self.contents = Contents(title)
        self.others: list[Contents] = []
        self.frame: DisplayFrame | None = None
        self.home: View | None = None
        self.notes = Notes()
        self.editor: Editor | None = None
        self.painter = Painter(BACKGROUND)
        self.stage = Stage(self.server)
        self._pilots: dict[int, Pilot] = {}
        link = PageLink(self.server)
        self.tool = PointerTool(self.server, link)
        self.sharing = Sharing(link, self.stage, self.painter, self._pilots)
        self._tidier = Tidier(lambda: bool(self.server.get_clients()))
        self._drawing = threading.Lock()
        self._stopped = threading.Event()
        gui = self.server.gui
        gui.configure_theme(
            dark_mode=True, show_logo=False, show_share_button=False, brand_color=_BRAND, control_width="small"
        )
        gui.set_panel_label("recon")
        gui.main_panel.dock_right()
        self.panels = Panels(self)
        self.frames = FrameLoop(self.server, self._paint, self.sharing.by_server, self._frame_drawn)
        self.stage.set_background(self.background)
        self.server.on_client_connect(guarded(self._welcome))
        self.server.on_client_disconnect(guarded(self._forget))
        atexit.register(self.stop)

    @property
    def background(self) -> tuple[int, int, int]:
        return self.painter.background

    # What is shown

    def show(self, contents: Contents, others: Sequence[Contents] = (), *, editable: bool = True) -> None:
        """Put a scene on the page, in place of what was there. Tabs keep their view when it still fits the scene.

        Args:
            others: further runs of it, to compare with.
            editable: whether it is finished: what a run still changes cannot be edited.
        """
        self.notes = read_notes(contents.folder)
        frame = fit_display(contents.cameras, contents.centers())
        if self.notes.up is not None:
            frame = replace(frame, up=np.array(self.notes.up))
        self.tool.stop()
        first = self.frame is None
        with self.server.atomic():
            moved = self._set_frame(frame, contents)
            self.contents, self.others = contents, [other for other in others if other.splats is not None]
            self.editor = None
            if editable and contents.splats is not None:
                self.editor = Editor(contents.splats, contents.cameras, self.redraw)
                self.redraw()
                self.painter.set_others(self.others)
            else:
                self.show_splats_of(contents)
            self.stage.set_points(contents.points, self._frame())
            self.stage.set_mesh(contents.mesh, self._frame())
            self.stage.set_cameras(contents.cameras, contents.thumbnails, self._frame(), self.fly_to_photo)
            self.panels.refresh(contents)
        if moved:
            for pilot in list(self._pilots.values()):
                pilot.fly_to(self._home(), self._frame().up, *((0.0,) if first else ()))

    def show_splats_of(self, contents: Contents) -> None:
        """Put `contents.splats`, which nobody edits, on the page and leave the rest as it is."""
        self.contents = contents
        self.painter.set_live(contents, self._frame())
        splats, frame = contents.splats, self._frame()
        self.stage.set_splats(None if splats is None else lambda: to_browser(splats, frame, contents.cameras))
        self._share_out()

    def redraw(self) -> None:
        """Show the scene as it is edited now, with the selection tinted."""
        if self.editor is None:
            return
        with self._drawing:
            scene = self.editor.scene()
            self.painter.set_scene(self.contents, scene, self._frame())
            frame, cameras = self._frame(), self.contents.cameras
            self.stage.set_splats(lambda: to_browser(scene.splats, frame, cameras, scene.selected))
        self._share_out()
        self.panels.edit.refresh_counts()

    def settings_changed(self) -> None:
        """Send to the browser or the server what the settings say now, and draw it."""
        look, by_server = self.painter.look, self.painter.by_server
        if look is Look.SEEN and self.editor is not None:
            self.editor.seen_by()
            self.painter.set_scene(self.contents, self.editor.scene(), self._frame())
        self.stage.show_splats(look is Look.SPLATS and not by_server)
        self.stage.show_points(look is Look.POINTS and not by_server)
        self.stage.show_mesh(look is Look.MESH)
        self._share_out()

    def _share_out(self) -> None:
        self.sharing.update()
        self.frames.refresh()

    def _paint(self, client: viser.ClientHandle, size: tuple[int, int], moving: bool = False) -> Picture:
        pilot = self._pilots.get(client.client_id)
        return self.painter.paint(client, size, None if pilot is None else pilot.photo, moving)

    def _frame_drawn(self, timing: Timing) -> None:
        self.panels.look.show_timing(timing)

    def _set_frame(self, frame: DisplayFrame, contents: Contents) -> bool:
        """Take `frame`, unless what is known is as good and tabs look through the present one. True when taken."""
        if self.frame is not None and self.frame.agrees_with(frame) and self.contents.cameras is not None:
            return False
        self.frame, self.home = frame, first_view(contents.cameras, frame)
        self.server.scene.set_up_direction(frame.up)
        initial = self.server.initial_camera
        initial.near, initial.far = NEAR, FAR
        initial.fov = self.home.fov_y_rad
        initial.up = self.home.orbit_up(frame.up)
        initial.position = self.home.position
        initial.look_at = self.home.look_at
        return True

    def _frame(self) -> DisplayFrame:
        assert self.frame is not None, "a scene is shown before its parts are"
        return self.frame

    # What a person says about the scene

    def set_notes(self, notes: Notes) -> None:
        """Take notes, and keep them in the run folder if there is one.

        Raises:
            ResourceError: the folder cannot be written to.
        """
        self.notes = notes
        if self.frame is not None and notes.up is not None:
            # Not `set_up_direction`: open tabs would turn by the old axis and the new one at once.
            self.frame = replace(self.frame, up=np.array(notes.up))
        if self.contents.folder is not None:
            write_notes(self.contents.folder, notes)

    # Tabs

    def _welcome(self, client: viser.ClientHandle) -> None:
        if client.client_id not in self.server.get_clients():
            return
        self.panels.decorate_soon()
        pilot = Pilot(client, self.server, self.stage, self.frames.moved)
        self._pilots[client.client_id] = pilot
        self.sharing.welcome(pilot)
        self.frames.moved(client.client_id)
        client.camera.max_orbit_distance = 100.0 * FOCUS_DEPTH
        if self.home is not None:
            pilot.fit_window(self.home)
            if self.notes.up is not None:
                pilot.level(self._frame())
        pilot.look_about()
        if client.client_id not in self.server.get_clients():  # gone already, and `_forget` came first
            self._forget(client)

    def _forget(self, client: viser.ClientHandle) -> None:
        pilot = self._pilots.pop(client.client_id, None)
        if pilot is not None:
            pilot.end()
        self.stage.forget(client.client_id)
        self.frames.forget(client.client_id)
        self._tidier.left()

    def _home(self) -> View:
        assert self.home is not None, "a scene is shown before one flies about in it"
        return self.home

    # What a tab can ask for

    def fly_to_photo(self, client: viser.ClientHandle, index: int) -> None:
        """Fly one tab to where photo `index` was taken."""
        pilot, cameras = self._pilots.get(client.client_id), self.contents.cameras
        if pilot is None or cameras is None:
            return
        pilot.photo = index
        pilot.fly_to(camera_view(cameras, index, self._frame()), self._frame().up)
        self.panels.look.at_photo(index)

    def step_photo(self, client: viser.ClientHandle, step: int) -> None:
        """Fly one tab to the next (+1) or previous (-1) photo."""
        placed, pilot = placed_indices(self.contents.cameras), self._pilots.get(client.client_id)
        if not placed or pilot is None:
            return
        here = placed.index(pilot.photo) if pilot.photo in placed else (-1 if step > 0 else 0)
        self.fly_to_photo(client, placed[(here + step) % len(placed)])

    def reset_view(self, client: viser.ClientHandle) -> None:
        """Fly one tab back to the first view."""
        if client.client_id in self._pilots and self.home is not None:
            self._pilots[client.client_id].fly_to(self.home, self._frame().up)

    def level_view(self, client: viser.ClientHandle) -> None:
        """Make the scene's up direction vertical again in one tab."""
        if client.client_id in self._pilots and self.frame is not None:
            self._pilots[client.client_id].level(self.frame)

    def level_all(self) -> None:
        """Make the scene's up direction vertical in all tabs."""
        for pilot in list(self._pilots.values()):
            pilot.level(self._frame())

    def fly_to(self, client: viser.ClientHandle, view: View, seconds: float | None = None) -> None:
        """Fly one tab to a view; at once with `seconds` 0."""
        if client.client_id in self._pilots:
            pilot = self._pilots[client.client_id]
            pilot.fly_to(view, self._frame().up, *(() if seconds is None else (seconds,)))

    def ride(self, client: viser.ClientHandle, views: list[View], seconds: float, start: float, at: At) -> None:
        """Take one tab along a path, from the share `start` of it on; see `Pilot.ride`."""
        if client.client_id in self._pilots:
            self._pilots[client.client_id].ride(views, self._frame().up, seconds, start, at)

    def halt(self, client: viser.ClientHandle) -> None:
        """Stop one tab's flight, ride or turntable."""
        if client.client_id in self._pilots:
            self._pilots[client.client_id].halt()

    def set_fov(self, client: viser.ClientHandle, fov_y_rad: float) -> None:
        """Set one tab's field of view, until it flies somewhere."""
        if client.client_id in self._pilots:
            self._pilots[client.client_id].set_fov(fov_y_rad)

    def point_under(self, client: viser.ClientHandle, at: tuple[float, float]) -> Vector | None:
        """The point of the scene, in the world, under a place of one tab's picture (shares of width and height)."""
        model = self.painter.model
        return None if model is None else surface_point(model, self.camera_of(client), at)

    def turn_table(self, client: viser.ClientHandle) -> None:
        """Let one tab circle the scene, or stop that."""
        if client.client_id in self._pilots:
            self._pilots[client.client_id].turn(self._frame().up)

    def view_of(self, client: viser.ClientHandle) -> View:
        """What one tab looks at."""
        camera = client.camera
        position, target = camera.position.astype(float), camera.look_at.astype(float)
        up = -vtf.SO3(camera.wxyz).as_matrix()[:, 1]
        return View(position, target, up, camera.fov, camera.aspect)

    def camera_of(self, client: viser.ClientHandle) -> Cameras:
        """One tab's camera in the world, for a picture of its window's size."""
        camera = client.camera
        size = (camera.image_width, camera.image_height)
        return window_camera(camera.wxyz, camera.position, camera.fov, size, self._frame())

    def set_background(self, rgb: tuple[int, int, int]) -> None:
        self.painter.background = rgb
        self.stage.set_background(rgb)
        self.frames.refresh()

    def take_screenshot(self, client: viser.ClientHandle, shot: Shot) -> None:
        """Draw one tab's view and let the tab download it as a PNG."""
        name = f"{self.contents.title or 'scene'}-{time.strftime('%Y%m%d-%H%M%S')}.png"
        client.send_file_download(name, screenshot.png(self._draw(client, shot)), save_immediately=True)

    def _draw(self, client: viser.ClientHandle, shot: Shot) -> UInt8[np.ndarray, "H W C"]:
        camera = client.camera
        splats = self.contents.splats if self.editor is None else self.editor.scene().splats
        if splats is None or self.frame is None:
            return screenshot.browser_picture(client)
        size = screenshot.picture_size((camera.image_width, camera.image_height), shot.long_side)
        if self.painter.by_server and not shot.transparent:
            return self._paint(client, size)
        ours = window_camera(camera.wxyz, camera.position, camera.fov, size, self.frame)
        with self._drawing:
            near = NEAR / self.frame.scale
            return screenshot.draw(splats, ours, None if shot.transparent else self.background, near)

    # Life

    def wait(self) -> None:
        """Block until `stop` is called or Ctrl-C is pressed."""
        try:
            while not self._stopped.wait(1.0):
                pass
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """Close the page: tabs are disconnected, the port and the threads are given back. Safe to call twice."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        atexit.unregister(self.stop)
        self.panels.stop()
        self._tidier.stop()
        self.frames.stop()
        stop_server(self.server)


def open_run(
    path: Path,
    *others: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    block: bool = True,
    photos: Path | None = None,
    server: PageServer | None = None,
) -> Viewer:
    """Show a run folder or a splat file in the browser.

    Args:
        path: a run folder, or a splat file.
        others: further runs of the same scene, shown beside it.
        host: the address to listen on; anything but this machine's own loopback is logged as a warning.
        port: the first port to try; the one used is in `Viewer.url`.
        block: stay until Ctrl-C.
        photos: folder of the original photos, when their thumbnails are not in the run folder.
        server: one that was started already, on its own host and port.

    Raises:
        InputError: nothing that can be shown, or a host that cannot be used.
        ResourceError: no free port.
    """
    contents = load(Path(path), photos)
    beside = [load(Path(other)) for other in others]
    viewer = Viewer(contents.title, host=host, port=port, server=server)
    viewer.show(contents, beside)
    logger.info("The viewer is at %s", viewer.url)
    if block:
        viewer.wait()
    return viewer
