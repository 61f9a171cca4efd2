"""The viewer put together: a server, a stage, panels, and one pilot per tab."""

import atexit
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import viser
from jaxtyping import UInt8

from viewer import screenshot
from viewer.contents import Contents, load
from viewer.display import (
    FOCUS_DEPTH,
    DisplayFrame,
    View,
    camera_view,
    first_view,
    fit_display,
    placed_indices,
    window_camera,
)
from viewer.flight import Pilot
from viewer.gaussians import to_browser
from viewer.guard import guarded
from viewer.panels import Panels
from viewer.server import page_url, start_server, stop_server
from viewer.stage import Stage

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

    def __init__(self, title: str, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        self.server = start_server(host, port)
        self.url = page_url(self.server)
        self.contents = Contents(title)
        self.frame: DisplayFrame | None = None
        self.home: View | None = None
        self.background = BACKGROUND
        self.stage = Stage(self.server)
        self._pilots: dict[int, Pilot] = {}
        self._drawing = threading.Lock()
        self._stopped = threading.Event()
        gui = self.server.gui
        gui.configure_theme(
            dark_mode=True, show_logo=False, show_share_button=False, brand_color=_BRAND, control_width="small"
        )
        gui.set_panel_label("recon")
        gui.main_panel.dock_right()
        self.panels = Panels(self)
        self.stage.set_background(self.background)
        self.server.on_client_connect(guarded(self._welcome))
        self.server.on_client_disconnect(guarded(self._forget))
        atexit.register(self.stop)

    # What is shown

    def show(self, contents: Contents) -> None:
        """Put a scene on the page, in place of what was there. Tabs keep their view when it still fits the scene."""
        frame = fit_display(contents.cameras, contents.centers())
        with self.server.atomic():
            moved = self._set_frame(frame, contents)
            self.contents = contents
            self.show_splats_of(contents)
            self.stage.set_points(contents.points, self._frame())
            self.stage.set_cameras(contents.cameras, contents.thumbnails, self._frame(), self.fly_to_photo)
            self.panels.refresh(contents)
        if moved:
            for pilot in list(self._pilots.values()):
                self._send_home(pilot)

    def show_splats_of(self, contents: Contents) -> None:
        """Put `contents.splats` on the page and leave the rest as it is."""
        self.contents = contents
        if contents.splats is None:
            self.stage.set_splats(None)
            return
        self.stage.set_splats(to_browser(contents.splats, self._frame(), contents.cameras))

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

    # Tabs

    def _welcome(self, client: viser.ClientHandle) -> None:
        pilot = Pilot(client, self.server, self.stage)
        self._pilots[client.client_id] = pilot
        client.camera.max_orbit_distance = 100.0 * FOCUS_DEPTH
        if self.home is not None:
            pilot.fit_window(self.home)
        if client.client_id not in self.server.get_clients():  # gone already, and `_forget` came first
            self._forget(client)

    def _forget(self, client: viser.ClientHandle) -> None:
        self._pilots.pop(client.client_id, None)

    def _send_home(self, pilot: Pilot) -> None:
        if self.home is not None:
            pilot.fly_to(self.home, self._frame().up)

    # What a tab can ask for

    def fly_to_photo(self, client: viser.ClientHandle, index: int) -> None:
        """Fly one tab to where photo `index` was taken."""
        pilot, cameras = self._pilots.get(client.client_id), self.contents.cameras
        if pilot is None or cameras is None:
            return
        pilot.photo = index
        pilot.fly_to(camera_view(cameras, index, self._frame()), self._frame().up)

    def step_photo(self, client: viser.ClientHandle, step: int) -> None:
        """Fly one tab to the next (+1) or previous (-1) photo."""
        placed, pilot = placed_indices(self.contents.cameras), self._pilots.get(client.client_id)
        if not placed or pilot is None:
            return
        here = placed.index(pilot.photo) if pilot.photo in placed else (-1 if step > 0 else 0)
        self.fly_to_photo(client, placed[(here + step) % len(placed)])

    def reset_view(self, client: viser.ClientHandle) -> None:
        """Fly one tab back to the first view."""
        if client.client_id in self._pilots:
            self._send_home(self._pilots[client.client_id])

    def level_view(self, client: viser.ClientHandle) -> None:
        """Make the scene's up direction vertical again in one tab."""
        if client.client_id in self._pilots and self.frame is not None:
            self._pilots[client.client_id].level(self.frame)

    def set_background(self, rgb: tuple[int, int, int]) -> None:
        self.background = rgb
        self.stage.set_background(rgb)

    def take_screenshot(self, client: viser.ClientHandle, shot: Shot) -> None:
        """Draw one tab's view and let the tab download it as a PNG."""
        name = f"{self.contents.title or 'scene'}-{time.strftime('%Y%m%d-%H%M%S')}.png"
        with self._drawing:
            client.send_file_download(name, screenshot.png(self._draw(client, shot)), save_immediately=True)

    def _draw(self, client: viser.ClientHandle, shot: Shot) -> UInt8[np.ndarray, "H W C"]:
        camera, splats = client.camera, self.contents.splats
        if splats is None or self.frame is None:
            return screenshot.browser_picture(client)
        size = screenshot.picture_size((camera.image_width, camera.image_height), shot.long_side)
        ours = window_camera(camera.wxyz, camera.position, camera.fov, size, self.frame)
        return screenshot.draw(splats, ours, None if shot.transparent else self.background, NEAR / self.frame.scale)

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
        stop_server(self.server)


def open_run(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    block: bool = True,
    photos: Path | None = None,
) -> Viewer:
    """Show a run folder or a splat file in the browser.

    Args:
        path: a run folder, or a splat file.
        host: the address to listen on; anything but this machine's own loopback is logged as a warning.
        port: the first port to try; the one used is in `Viewer.url`.
        block: stay until Ctrl-C.
        photos: folder of the original photos, when their thumbnails are not in the run folder.

    Raises:
        InputError: nothing that can be shown, or a host that cannot be used.
        ResourceError: no free port.
    """
    contents = load(Path(path), photos)
    viewer = Viewer(contents.title, host=host, port=port)
    viewer.show(contents)
    logger.info("The viewer is at %s", viewer.url)
    if block:
        viewer.wait()
    return viewer
