"""Watching a run: an event sink that feeds the page from a thread of its own and never makes the run wait."""

import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from recon.errors import ReconError
from recon.events import Event, HeldOutReady, Progress, SceneReady, SplatsUpdated, StageFinished, StageStarted, Warned
from recon.render import select_rasterizer
from recon.types import PosedScene, Splats
from viewer.app import Viewer
from viewer.contents import Contents, Thumbnail, load, shrink
from viewer.gaussians import most_visible, to_bytes
from viewer.guard import guarded
from viewer.watch import compare, watched

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_SPLATS = 2.0
SECONDS_BETWEEN_PROGRESS = 0.25
MAX_LIVE_SPLATS = 400_000
STAGE_TITLES = {
    "images": "Reading the photos",
    "poses": "Placing the photos",
    "dense": "Measuring depth",
    "placing": "Doubtful photos",
    "train": "Training the splats",
    "evaluate": "Checking the result",
    "export": "Writing the files",
}


@dataclass(frozen=True)
class _Placed:
    """The held-out photos for which a place was found."""

    scene: PosedScene


# Cameras before splats: they decide where the splats go. Readings before the picture that they stand under.
_ORDER = (SceneReady, HeldOutReady, _Placed, StageStarted, StageFinished, Progress, SplatsUpdated, Warned)


class LiveViewer:
    """An `EventSink` with a page. The server is up when the constructor returns; `finish` shows the result.

    Events land in a mailbox in which the latest of each kind wins; a background thread takes them out. What the sink
    itself does is bounded: at most every `SECONDS_BETWEEN_SPLATS` it copies the Gaussians (training changes them in
    place).

    Raises:
        InputError, ResourceError: as `open_run`.
    """

    def __init__(self, title: str = "recon", *, host: str = "127.0.0.1", port: int = 8080) -> None:
        self.viewer = Viewer(title, host=host, port=port)
        self.url = self.viewer.url
        self._mail: dict[type, Event | _Placed] = {}
        self._wake = threading.Condition()
        self._closing = False
        self._last_splats = -SECONDS_BETWEEN_SPLATS
        self._scene: PosedScene | None = None
        self._held_out: PosedScene | None = None
        self._latest: SplatsUpdated | None = None
        self.viewer.panels.watch.chosen = self._look_again
        self.viewer.panels.progress.show("Waiting for the run to start", None)
        self._thread = threading.Thread(target=self._work, daemon=True, name="viewer-live")
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take an event. Returns at once, whatever the page is doing."""
        try:
            if isinstance(event, SplatsUpdated):
                now = time.monotonic()
                if now - self._last_splats < SECONDS_BETWEEN_SPLATS:
                    return
                self._last_splats = now
                event = SplatsUpdated(event.step, _own_copy(event.splats))
            self._post(event)
        except Exception:
            logger.exception("The viewer could not take an event; the run goes on.")

    def _post(self, letter: Event | _Placed) -> None:
        with self._wake:
            self._mail[type(letter)] = letter
            self._wake.notify()

    def finish(self, path: Path, photos: Path | None = None) -> None:
        """Show the finished run in place of the live one.

        Raises:
            InputError: the run folder cannot be read.
        """
        self._end_thread()
        self.viewer.show(load(Path(path), photos))
        self.viewer.panels.progress.hide()
        self.viewer.panels.watch.hide()

    def fail(self, message: str) -> None:
        """Say on the page that the run ended early; what was shown stays."""
        self._end_thread()
        self.viewer.panels.progress.show("The run ended early", None, message)

    def wait(self) -> None:
        """Block until Ctrl-C."""
        self.viewer.wait()

    def stop(self) -> None:
        """Close the page and end the threads."""
        self._end_thread()
        self.viewer.stop()

    def _end_thread(self) -> None:
        with self._wake:
            self._closing = True
            self._mail.clear()
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10.0)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._mail or self._closing)
                if self._closing:
                    return
                mail, self._mail = self._mail, {}
            for kind in _ORDER:
                if kind in mail and not self._closing:
                    guarded(self._apply)(mail[kind])
            time.sleep(SECONDS_BETWEEN_PROGRESS)

    def _apply(self, event: Event | _Placed) -> None:
        progress = self.viewer.panels.progress
        if isinstance(event, SceneReady):
            self._scene = event.scene
            self.viewer.show(_scene_contents(self.viewer.contents, event.scene), editable=False)
            self._offer()
        elif isinstance(event, HeldOutReady):
            threading.Thread(target=guarded(self._place), args=(event,), daemon=True, name="viewer-place").start()
        elif isinstance(event, _Placed):
            self._held_out = event.scene
            self._offer()
            self._look_again()
        elif isinstance(event, SplatsUpdated):
            self._latest = event
            self._show_splats(event)
            self._watch(event)
        elif isinstance(event, StageStarted):
            progress.show(_stage_title(event.stage), None, event.description)
        elif isinstance(event, Progress):
            share = event.done / event.total if event.total > 0 else None
            heading = _stage_title(event.stage)
            message = "" if event.message.lower() in heading.lower() else event.message
            progress.show(heading, share, message, event.values)
            if "loss" in event.values:
                self.viewer.panels.watch.add_loss(event.values["loss"])
        elif isinstance(event, Warned):
            for client in self.viewer.server.get_clients().values():
                client.add_notification("Note", event.message, color="yellow", auto_close_seconds=12.0)

    def _show_splats(self, event: SplatsUpdated) -> None:
        if self.viewer.frame is None:  # splats without a scene: they place themselves
            self.viewer.show(replace(self.viewer.contents, splats=event.splats), editable=False)
            return
        first = self.viewer.contents.splats is None
        contents = replace(self.viewer.contents, splats=event.splats)
        shown = most_visible(event.splats, MAX_LIVE_SPLATS)
        self.viewer.show_splats_of(replace(contents, splats=shown))
        self.viewer.contents = contents
        if first:
            self.viewer.panels.refresh(contents)
        self.viewer.panels.summary.refresh(contents, shown=len(shown))

    def _watch(self, event: SplatsUpdated) -> None:
        """Show the photo watched beside the splats in its place. Drawn here, and not by the run."""
        choices = self._choices()
        if not choices:
            return
        photo = watched(*choices[self.viewer.panels.watch.index])
        self.viewer.panels.watch.show(*compare(event.splats, photo, select_rasterizer("auto")), event.step)

    def _place(self, event: HeldOutReady) -> None:
        """Find, beside the run, where held-out photos were taken."""
        try:
            scene = event.place()
        except ReconError as error:
            logger.warning("Held-out photos are not shown: %s", error)
            return
        if len(scene):
            self._post(_Placed(scene))

    def _choices(self) -> list[tuple[PosedScene, int]]:
        """The photos to watch: those that are trained on, and after them the held-out ones."""
        scenes = [scene for scene in (self._scene, self._held_out) if scene is not None]
        return [(scene, index) for scene in scenes for index in range(len(scene))]

    def _offer(self) -> None:
        """Offer the photos. A held-out one says most, and is watched unless a person chose another."""
        choices = self._choices()
        names = [f"{s.names[i]}{' (held out)' if s is self._held_out else ''}" for s, i in choices]
        first = next((row for row, (s, _) in enumerate(choices) if s is self._held_out), None)
        self.viewer.panels.watch.offer(names, _middle(choices[0][0]) if first is None else first)

    def _look_again(self) -> None:
        """Another photo was chosen: the thread draws it from the splats at hand, unless newer ones have come."""
        with self._wake:
            if self._latest is not None and not self._closing:
                self._mail.setdefault(SplatsUpdated, self._latest)
                self._wake.notify()


def _stage_title(stage: str) -> str:
    return STAGE_TITLES.get(stage, stage.capitalize())


def _own_copy(splats: Splats) -> Splats:
    """A copy on the CPU that training cannot change."""
    return Splats(**{name: value.detach().to("cpu", copy=True) for name, value in splats.tensors().items()})


def _scene_contents(before: Contents, scene: PosedScene) -> Contents:
    """What is known once cameras and points are; splats already shown stay."""
    return replace(
        before,
        cameras=scene.cameras.to("cpu"),
        names=scene.names,
        thumbnails=tuple(_thumbnail(image) for image in scene.images),
        points=scene.points,
    )


def _middle(scene: PosedScene) -> int:
    """The photo taken from the middle of the others' places."""
    centers = scene.cameras.centers
    return int(torch.linalg.vector_norm(centers - centers.mean(dim=0), dim=1).argmin())


def _thumbnail(image: torch.Tensor) -> Thumbnail:
    pixels: np.ndarray = to_bytes(image)
    return shrink(pixels)
