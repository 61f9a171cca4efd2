"""Moving a tab's camera: smooth flights, and hiding the frustum one is inside of. One `Pilot` per tab."""

import threading
import time
from collections.abc import Callable

import numpy as np
import viser
import viser.transforms as vtf

from viewer.display import DisplayFrame, Vector, View
from viewer.guard import guarded
from viewer.stage import Stage

FLIGHT_SECONDS = 0.9
TURN_SECONDS = 20.0
"""A full turn of the turntable."""
SHOW_SECONDS = 0.2
"""How often a ride says how far it is."""
_FRAME_SECONDS = 1 / 30

At = Callable[[float, bool], None]


class Pilot:
    """Flies one tab's camera. A new flight ends the one under way."""

    def __init__(
        self,
        client: viser.ClientHandle,
        server: viser.ViserServer,
        stage: Stage,
        moved: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._client, self._server, self._stage, self._moved = client, server, stage, moved
        self._turning = False
        self._flight = 0
        self._hidden: dict[str, viser.FrameHandle] = {}
        self._lock = threading.Lock()
        self.photo: int | None = None
        """The photo this tab flew to last."""
        self.in_software = True
        """Whether this tab has no graphics card; until it says that it has one, it is spared."""
        self.framed = False
        """Whether the server draws for this tab."""
        self._goal: View | None = None
        self._aspect = 0.0
        client.camera.on_update(guarded(self._camera_changed))

    @property
    def client(self) -> viser.ClientHandle:
        return self._client

    def fly_to(self, view: View, scene_up: Vector, seconds: float = FLIGHT_SECONDS) -> None:
        """Move the camera to `view` and fit its picture into the window. Returns at once."""
        self._goal = view
        self._turning = False
        arguments = (view, view.orbit_up(scene_up), seconds)
        threading.Thread(target=guarded(self._fly), args=arguments, daemon=True, name="viewer-flight").start()

    def fit_window(self, view: View) -> None:
        """Only set the field of view, so that the whole picture of `view` fits, now and when the window changes."""
        self._goal = view
        self._client.camera.fov = view.fov_in_window(self._client.camera.aspect)

    def look_about(self) -> None:
        """Hide the frusta around a tab that has just come: its camera may stay as it is and never be heard of again."""
        self._hide_frusta_around(self._client.camera)

    def set_fov(self, fov_y_rad: float) -> None:
        """A field of view chosen by hand: it stays as the window changes."""
        self._goal = None
        self._client.camera.fov = fov_y_rad
        self._moved(self._client.client_id)

    def _camera_changed(self, camera: viser.CameraHandle) -> None:
        if not self._connected() or camera.image_height == 0:
            return
        self._moved(self._client.client_id)
        if self._goal is not None and abs(camera.aspect - self._aspect) > 1e-3:
            self._aspect = camera.aspect
            camera.fov = self._goal.fov_in_window(camera.aspect)
        self._hide_frusta_around(camera)

    def level(self, frame: DisplayFrame) -> None:
        """Turn the scene's up direction up again; the place and the direction of view stay."""
        camera = self._client.camera
        forward = vtf.SO3(camera.wxyz).as_matrix()[:, 2]
        if abs(float(forward @ frame.up)) < 0.99:
            camera.up_direction = frame.up

    def turn(self, up: Vector) -> None:
        """Circle about what is looked at, until this is called again or a flight starts."""
        self._turning = not self._turning
        if self._turning:
            threading.Thread(target=guarded(self._circle), args=(up,), daemon=True, name="viewer-turn").start()

    def ride(self, views: list[View], scene_up: Vector, seconds: float, start: float, at: At) -> None:
        """Go along `views`, evenly spaced in time, all of which take `seconds`. Returns at once.

        Args:
            start: where to begin, as a share of the way.
            at: `at(share, over)` is told now and then how far it is, and once that it is over.
        """
        self._turning = False
        arguments = (views, scene_up, seconds, start, at)
        threading.Thread(target=guarded(self._ride), args=arguments, daemon=True, name="viewer-ride").start()

    def halt(self) -> None:
        """Stay where the camera is."""
        self._turning = False
        with self._lock:
            self._flight += 1

    def end(self) -> None:
        """The tab is gone."""
        self.halt()

    def _ride(self, views: list[View], scene_up: Vector, seconds: float, start: float, at: At) -> None:
        with self._lock:
            self._flight += 1
            flight = self._flight
        self._goal = None
        begun, shown, share = time.monotonic() - start * seconds, 0.0, start
        while share < 1.0 and self._flight == flight and self._connected():
            now = time.monotonic()
            share = min((now - begun) / seconds, 1.0)
            view = views[round(share * (len(views) - 1))]
            fov = view.fov_in_window(self._client.camera.aspect)
            self._place(view.position, view.look_at, view.orbit_up(scene_up), fov)
            if now - shown > SHOW_SECONDS:
                shown = now
                at(share, False)
            time.sleep(_FRAME_SECONDS)
        if self._flight == flight and self._connected():
            self._goal = views[-1]
        at(share, True)

    def _place(self, position: Vector, look_at: Vector, up: Vector, fov_y_rad: float) -> None:
        """Be there at once. The place first: viser moves what is looked at along with it."""
        camera = self._client.camera
        with self._client.atomic():
            camera.position = position
            camera.look_at, camera.up_direction, camera.fov = look_at, up, fov_y_rad
        self._client.flush()

    def _circle(self, up: Vector) -> None:
        camera, before = self._client.camera, time.monotonic()
        with self._lock:
            self._flight += 1
            flight = self._flight
        while self._turning and self._flight == flight and self._connected():
            now = time.monotonic()
            step = vtf.SO3.exp(up * (2.0 * np.pi * min(now - before, 0.2) / TURN_SECONDS))
            before = now
            target = camera.look_at
            self._place(target + step @ (camera.position - target), target, camera.up_direction, camera.fov)
            time.sleep(_FRAME_SECONDS)

    def _fly(self, view: View, up: Vector, seconds: float) -> None:
        with self._lock:
            self._flight += 1
            flight = self._flight
        camera = self._client.camera
        start = (camera.position.copy(), camera.look_at.copy(), camera.up_direction.copy(), camera.fov)
        goal = (view.position, view.look_at, up, view.fov_in_window(camera.aspect))
        begun = time.monotonic()
        done = 0.0
        while done < 1.0 and self._flight == flight and self._connected():
            done = min((time.monotonic() - begun) / seconds, 1.0) if seconds > 0 else 1.0
            ease = done * done * (3.0 - 2.0 * done)
            up, fov = _turn(start[2], goal[2], ease), float(_between(start[3], goal[3], ease))
            self._place(_between(start[0], goal[0], ease), _between(start[1], goal[1], ease), up, fov)
            time.sleep(_FRAME_SECONDS if done < 1.0 else 0.0)

    def _connected(self) -> bool:
        return self._client.client_id in self._server.get_clients()

    def _hide_frusta_around(self, camera: viser.CameraHandle) -> None:
        """A frustum's picture would fill the window of a camera inside it. Hidden in this tab only.

        A node added to one tab under a shared node's name stands in for it there (viser's rule), so an empty frame
        hides it and removing that frame brings it back.
        """
        with self._lock:
            apexes = self._stage.camera_names()
            reach = self._stage.frustum_depth
            near = {name for name, apex in apexes.items() if np.linalg.norm(camera.position - apex) < reach}
            for name in near - self._hidden.keys():
                self._hidden[name] = self._client.scene.add_frame(name, show_axes=False, visible=False)
            for name in self._hidden.keys() - near:
                self._hidden.pop(name).remove()


def _between(a: np.ndarray | float, b: np.ndarray | float, t: float) -> np.ndarray:
    return np.asarray((1.0 - t) * a + t * b)


def _turn(a: Vector, b: Vector, t: float) -> Vector:
    """A direction between two, by the shorter way round."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-6:
        return b
    angle = t * float(np.arctan2(sine, a @ b))
    return vtf.SO3.exp(axis / sine * angle) @ a
