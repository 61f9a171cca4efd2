"""What `python -m recon.benchmark.priors` can be asked."""

import logging
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from recon.benchmark.priors.examples import scene_of, window_paths
from recon.benchmark.priors.photographed import Photographed, find_scenes, read_scene
from recon.benchmark.priors.rooms import make_room, read_textures
from recon.benchmark.priors.score import arms, score, score_table
from recon.benchmark.priors.train import FitConfig, fit, read_data
from recon.benchmark.priors.windows import WindowConfig, make_window, save_window
from recon.errors import InputError
from recon.render import Rasterizer, select_rasterizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Make windows: few photos, what the optimiser makes of them, and the truth. Goes on where it stopped."""

    scenes: tuple[Path, ...] = ()
    """Folders of scenes, or of sets of them, with a transforms.json for each; or what `recon bench generate` wrote."""
    textures: tuple[Path, ...] = ()
    """Folders of photos that made-up rooms wear, another room for each window; none without."""
    out: Path
    """Folder of the windows, one file each: SCENE_NUMBER.safetensors."""
    windows: int = 20
    """Windows of each scene."""
    first: int = 0
    """Number of the first."""
    only: tuple[str, ...] = ()
    """Names of scenes; all without."""
    device: str = "auto"
    window: WindowConfig = field(default_factory=WindowConfig)

    def run(self) -> None:
        """Scene after scene, window after window, so that a stopped run holds as many of each scene."""
        torch.set_num_threads(1)  # these pictures are too small to share out
        rasterizer = select_rasterizer(self.device)
        paths = [path for path in find_scenes(self.scenes) if path.name in self.only or not self.only]
        scenes = [read_scene(path, max(self.window.max_sides)) for path in paths]
        textures = read_textures(self.textures) if self.textures else None
        for number in range(self.first, self.first + self.windows):
            for scene in scenes:
                self._make(number, scene, rasterizer)
            if textures is not None:
                self._make(number, make_room(textures, max(self.window.max_sides), number), rasterizer)

    def _make(self, number: int, scene: Photographed, rasterizer: Rasterizer) -> None:
        """One window, unless it is there."""
        path = self.out / f"{scene.name}_{number:03d}.safetensors"
        if path.exists():
            return
        started = time.process_time()
        try:
            window = make_window(scene, self.window, rasterizer, zlib.crc32(path.stem.encode()))
        except InputError as error:
            logger.info("%s: left out (%s)", path.stem, error)
            return
        save_window(window, path)
        logger.info("%s: %d photos, %.1f s", path.stem, len(window.photos), time.process_time() - started)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Teach the network on windows; what is written is its best moment on the scenes held out."""

    windows: tuple[Path, ...]
    """Folders that `pairs` wrote."""
    held_out: tuple[str, ...]
    """Names of scenes that choose the best moment, and are never learnt from."""
    out: Path
    """File for the weights."""
    fit: FitConfig = field(default_factory=FitConfig)

    def run(self) -> None:
        """Prints how far it is every few hundred steps."""
        data = read_data(self.windows, self.held_out, self.fit)
        logger.info("%d views to learn from, %d held out", data.views, len(data.held_out))
        fit(data, self.fit, self.out)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Compare renderings, the plain blend and the embedded prior on the truth of windows."""

    windows: tuple[Path, ...]
    """Folders that `pairs` wrote."""
    weights: Path | None = None
    """The shipped ones without."""
    only: tuple[str, ...] = ()
    """Names of scenes; all without."""

    def run(self) -> None:
        """Prints a table."""
        paths = [path for folder in self.windows for path in window_paths(folder)]
        chosen = [path for path in paths if scene_of(path) in self.only or not self.only]
        logger.info("%s", score_table(score(chosen, arms(self.weights))).text())
