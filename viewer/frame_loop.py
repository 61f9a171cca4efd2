"""Frames drawn on the server, for tabs that look at what the browser cannot draw: coarse while moving, fine at rest."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import viser

from viewer.guard import guarded
from viewer.looks import Picture

logger = logging.getLogger(__name__)

MAX_SIDE = 1600
"""Longest side, in pixels, of a frame at rest; the browser stretches it to the window."""
MOVING_SECONDS = 0.045
"""What a frame may take while the camera moves; its size follows."""
REST_SECONDS = 0.18
"""A camera that did not move for so long is at rest."""
LEAST_FACTOR = 0.2
LEAST_SIDE = 96
REPORT_SECONDS = 0.5
JPEG_MOVING, JPEG_REST = 75, 92

Paint = Callable[[viser.ClientHandle, tuple[int, int], bool], Picture]


@dataclass(frozen=True)
class Timing:
    """How the last frames went."""

    size: tuple[int, int]
    """Width and height of the last one."""
    seconds: float
    """What it took to draw and to pack, median of the last few of its kind."""
    moving: bool


@dataclass
class _Tab:
    moved: float
    """When its camera moved last (monotonic); frames are owed since."""
    coarse: bool = False
    """Whether a first frame was sent since."""
    sharp: bool = False
    """Whether the frame at rest was sent."""


class FrameLoop:
    """One thread that draws for all tabs in turn that want it.

    `paint(tab, (width, height), moving)` makes the picture, `wants(tab's id)` says who gets one.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        paint: Paint,
        wants: Callable[[int], bool],
        report: Callable[[Timing], None],
    ) -> None:
        self._server, self._paint, self._wants, self._report = server, paint, wants, report
        self._wake = threading.Condition()
        self._tabs: dict[int, _Tab] = {}
        self._closing = False
        self._factor = 0.5
        self._recent: deque[float] = deque(maxlen=9)
        self._reported = 0.0
        self._thread = threading.Thread(target=self._work, daemon=True, name="viewer-frames")
        self._thread.start()

    def moved(self, client_id: int) -> None:
        """A tab's camera moved. Returns at once."""
        with self._wake:
            self._tabs[client_id] = _Tab(time.monotonic())
            self._wake.notify()

    def refresh(self) -> None:
        """What is shown changed: every tab gets a new frame."""
        for client_id in self._server.get_clients():
            self.moved(client_id)

    def forget(self, client_id: int) -> None:
        """A tab was closed."""
        with self._wake:
            self._tabs.pop(client_id, None)

    def stop(self) -> None:
        """End the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10.0)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._closing and not (due := self._due()):
                    self._wake.wait(timeout=REST_SECONDS / 2 if self._pending() else None)
                if self._closing:
                    return
            for client_id, moving in due:
                guarded(self._serve)(client_id, moving)

    def _pending(self) -> bool:
        return any(not tab.sharp and self._wants(client_id) for client_id, tab in self._tabs.items())

    def _due(self) -> list[tuple[int, bool]]:
        """Tabs that want a frame now, and whether a coarse one (the lock is held)."""
        now, due = time.monotonic(), []
        for client_id, tab in self._tabs.items():
            if not self._wants(client_id):
                continue
            resting = now - tab.moved >= REST_SECONDS
            if not tab.coarse or (resting and not tab.sharp):
                due.append((client_id, not resting))
        return due

    def _serve(self, client_id: int, moving: bool) -> None:
        client = self._server.get_clients().get(client_id)
        tab = self._tabs.get(client_id)
        if client is None or tab is None or client.camera.image_height == 0:
            self.forget(client_id)
            return
        size = self._size(client, moving)
        begun = time.monotonic()
        pixels = self._paint(client, size, moving)
        if client_id not in self._server.get_clients() or not self._wants(client_id):
            return
        quality = JPEG_MOVING if moving else JPEG_REST
        client.scene.set_background_image(pixels, format="jpeg", jpeg_quality=quality)
        client.flush()
        seconds = time.monotonic() - begun
        tab.coarse, tab.sharp = True, not moving
        if moving:
            self._adapt(seconds)
        self._tell(Timing(size, seconds, moving))

    def _size(self, client: viser.ClientHandle, moving: bool) -> tuple[int, int]:
        width, height = client.camera.image_width, client.camera.image_height
        factor = min(1.0, MAX_SIDE / max(width, height))
        if moving:
            factor = min(factor, max(self._factor, LEAST_SIDE / max(width, height)))
        return max(1, round(width * factor)), max(1, round(height * factor))

    def _adapt(self, seconds: float) -> None:
        """Choose the size of the next coarse frame. Half of a frame's time goes with its area, about."""
        step = min(max(MOVING_SECONDS / max(seconds, 1e-4), 0.5), 1.5) ** 0.5
        self._factor = min(max(self._factor * step, LEAST_FACTOR), 1.0)

    def _tell(self, timing: Timing) -> None:
        if timing.moving:
            self._recent.append(timing.seconds)
            timing = Timing(timing.size, sorted(self._recent)[len(self._recent) // 2], True)
        now = time.monotonic()
        if not timing.moving or now - self._reported > REPORT_SECONDS:
            self._reported = now
            self._report(timing)
