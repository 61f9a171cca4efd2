"""What each tab's server-drawn frame shows: a look, a comparison of runs, a photo laid over."""

import functools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import viser
from jaxtyping import UInt8

from recon.types import Cameras
from viewer.blend import photo_over
from viewer.compare import Comparison, align, draw_comparison
from viewer.contents import Contents, read_photo
from viewer.display import FOCUS_DEPTH, DisplayFrame, window_camera
from viewer.edit import transform_splats
from viewer.editor import Scene
from viewer.looks import RGB, Look, Model, Picture, draw_look

AT_PHOTO = 0.02
"""How far from a photo's place, in units of the scene's depth, a camera still counts as being there."""


class Painter:
    """Settings shared by all tabs, and the Gaussians to draw. Drawing happens in one thread at a time."""

    def __init__(self, background: RGB) -> None:
        self._drawing = threading.Lock()
        self.background = background
        self.look = Look.SPLATS
        self.blend = 0.0
        """Share of the photo in the picture, for tabs that are where one was taken."""
        self.comparison: Comparison | None = None
        self.contents = Contents("")
        self.model: Model | None = None
        self._others: list[Model] = []
        self.titles: list[str] = []

    @property
    def by_server(self) -> bool:
        """Whether what is asked for is beyond the browser."""
        return self.model is not None and (self.look.by_server or self.blend > 0.0 or self.comparison is not None)

    def set_scene(self, contents: Contents, scene: Scene, frame: DisplayFrame) -> None:
        """Draw these Gaussians from now on."""
        before = self.model
        self.contents = contents
        self.model = Model(scene.splats, frame, scene.selected, scene.seen_by)
        if before is not None and before.splats is scene.splats and before.frame is frame:
            self.model.take_activated(before)

    def set_live(self, contents: Contents, frame: DisplayFrame) -> None:
        """Draw the Gaussians of a run in progress, which nobody edits."""
        self.contents = contents
        self.model = None if contents.splats is None else Model(contents.splats, frame)

    def set_others(self, others: list[Contents]) -> None:
        """Runs to compare with: their Gaussians, brought into the shown run's world."""
        assert self.model is not None, "the run that the others are aligned to is shown first"
        self.titles = [self.contents.title, *(contents.title for contents in others)]
        self._others = []
        for other in others:
            if other.splats is not None:
                motion = align(self.contents, other)
                single = replace(motion, scale=motion.scale.float(), R=motion.R.float(), t=motion.t.float())
                self._others.append(Model(transform_splats(other.splats, single), self.model.frame))

    def paint(
        self, client: viser.ClientHandle, size: tuple[int, int], photo: int | None, moving: bool = False
    ) -> Picture:
        """One tab's frame of `size` (width, height); `photo` is the one that the tab flew to last."""
        assert self.model is not None, "nothing is painted before there is a scene"
        seen = client.camera
        camera = window_camera(seen.wxyz, seen.position, seen.fov, size, self.model.frame)
        return self.picture(camera, photo, moving)

    def picture(self, camera: Cameras, photo: int | None = None, moving: bool = False) -> Picture:
        """What a camera in the world sees, as the settings say; without detail if it is `moving`."""
        assert self.model is not None, "nothing is painted before there is a scene"
        look = self.look if self.look.by_server else Look.EXACT
        with self._drawing:
            if self.comparison is not None and self._others:
                models = [self.model, *self._others]
                return draw_comparison(models, self.titles, camera, self.comparison, look, self.background)
            pixels = draw_look(self.model.coarse if moving else self.model, camera, look, self.background)
        return self._with_photo(pixels, camera, photo)

    def _with_photo(self, pixels: Picture, camera: Cameras, photo: int | None) -> Picture:
        cameras, files = self.contents.cameras, self.contents.photo_files
        if self.blend <= 0.0 or photo is None or cameras is None or photo >= len(files):
            return pixels
        file = files[photo]
        assert self.model is not None
        away = float(np.linalg.norm(camera.centers[0].numpy() - cameras.centers[photo].numpy()))
        if file is None or away > AT_PHOTO * FOCUS_DEPTH / self.model.frame.scale:
            return pixels
        return photo_over(pixels, camera, _photo(file), cameras[photo], self.blend)


@functools.lru_cache(maxsize=4)
def _photo(path: Path) -> UInt8[np.ndarray, "_ _ 3"]:
    return read_photo(path)
