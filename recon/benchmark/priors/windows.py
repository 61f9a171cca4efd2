"""Windows: a few photos of a scene, what our optimiser makes of them, and what other photos show in other places.

They keep what a prior is asked (renderings at several stages of the optimisation) and what it should have said (the
photos there), but not the warps between them: those are worked out when a window is read, so that pairs outlive changes
of the warps.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from recon.benchmark.priors.photographed import Photographed
from recon.config import RunConfig, resolve
from recon.files import atomic_path
from recon.geometry.se3 import exp_se3
from recon.optimize import TrainConfig, Trainer
from recon.render import Rasterizer, render
from recon.stereo import StereoConfig, reconstruct
from recon.types import Cameras, PointCloud, PosedScene, Rendering, Splats


@dataclass(frozen=True)
class WindowConfig:
    """How pairs are made."""

    steps: tuple[int, ...] = (100, 240)
    """Optimiser steps; a window draws one."""
    stages: tuple[float, ...] = (0.6, 1.0)
    """Fractions of the steps at which the splats are looked at: priors are asked from half-way on, and of what is
    finished. At 1 that is the result, with all that is added when the training is over."""
    photos: tuple[int, int] = (2, 9)
    """Fewest and most photos that a window is given; few are likelier."""
    max_gaussians: int = 12_000
    """Of the start: as many a pixel as at usual sizes."""
    tests: int = 8
    """Other photos whose places are rendered, at most."""
    max_sides: tuple[int, ...] = (160, 200, 256, 320)
    """Longest sides of the photos in pixels; a window draws one."""
    perturbed: float = 0.3
    """Share of windows whose cameras are off, as estimated ones are."""
    turn_rad: float = 0.002
    """Standard deviation of the error of a camera's rotation: half a pixel at 200 pixels and a usual lens."""


@dataclass(frozen=True)
class Window:
    """n photos, m other places, s stages, all of one size. Colours in [0, 1], depths in world units."""

    photos: Float[Tensor, "n H W 3"]
    photo_cameras: Cameras
    """As the optimiser left them."""
    truth: Float[Tensor, "m H W 3"]
    cameras: Cameras
    own: tuple[Rendering, ...]
    """For each stage, what the splats show in the photos' places."""
    drawn: tuple[Rendering, ...]
    """For each stage, what the splats show in the other places."""


def draw_views(scene: Photographed, config: WindowConfig, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Which photos a window is given, and which are its truth.

    The photos are drawn among the neighbours of one, which stand close and look the same way; the truth are the nearest
    others.
    """

    def below(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    centers, axes = scene.cameras.centers, scene.cameras.cam_from_world[:, 2, :3]
    first = below(len(scene))
    spread = (centers - centers.mean(0)).norm(dim=1).mean()
    apart = (centers - centers[first]).norm(dim=1) / spread + (1 - axes @ axes[first])
    least, most = config.photos
    given = min(least + min(below(most - least + 1), below(most - least + 1)), len(scene) - 2)
    near = apart.argsort()[: 2 * given + 1]
    photos = near[torch.randperm(len(near), generator=generator)][:given]
    to_photos = torch.cdist(centers, centers[photos]).amin(1)
    to_photos[photos] = torch.inf
    return photos.tolist(), to_photos.argsort()[: min(config.tests, len(scene) - given)].tolist()


def make_window(scene: Photographed, config: WindowConfig, rasterizer: Rasterizer, seed: int) -> Window:
    """Optimise splats on some photos of `scene`, and look at them where others were taken.

    Raises:
        InputError: the photos share too little for a start.
    """
    generator = torch.Generator().manual_seed(seed)
    side, steps = (
        values[int(torch.randint(len(values), (1,), generator=generator))]
        for values in (config.max_sides, config.steps)
    )
    scene = scene.shrunk(side)
    given, tests = draw_views(scene, config, generator)
    cameras = scene.cameras[given]
    if torch.rand(1, generator=generator).item() < config.perturbed:
        cameras = _perturb(cameras, config.turn_rad, generator)
    posed = PosedScene(tuple(map(str, given)), tuple(scene.photos[given]), cameras, _no_points())
    settings = _settings(config, steps, side, seed)
    depths, points = reconstruct(posed, settings.dense)
    trainer = Trainer(replace(posed, points=points), depths, settings.train, rasterizer)
    own, drawn = [], []
    for stage in config.stages:
        while trainer.step_index < round(stage * steps):
            trainer.step()
        splats = trainer.result().splats if stage == 1 else trainer.shown()
        own.append(_look(splats, trainer.cameras.cameras(), rasterizer))
        drawn.append(_look(splats, scene.cameras[tests], rasterizer))
    refined = replace(trainer.cameras.cameras(), confidence=torch.ones(len(given)))
    return Window(scene.photos[given], refined, scene.photos[tests], scene.cameras[tests], tuple(own), tuple(drawn))


@dataclass(frozen=True)
class _Settings:
    dense: StereoConfig
    train: TrainConfig


def _settings(config: WindowConfig, steps: int, side: int, seed: int) -> _Settings:
    """The draft's, at this size. Colours of the photos stay: the sets that pairs are made from were exposed alike."""
    run = resolve(RunConfig(Path(), Path()), quality="draft")
    start = replace(run.train.init, max_gaussians=config.max_gaussians)
    train = replace(run.train, steps=steps, max_side=side, init=start, seed=seed, refine_exposure=False)
    return _Settings(replace(run.dense, scale=1.0, seed=seed), train)


def _perturb(cameras: Cameras, turn_rad: float, generator: torch.Generator) -> Cameras:
    """Cameras turned a little; marked as estimated, so that the optimiser may correct them."""
    turns = torch.randn(len(cameras), 3, generator=generator) * turn_rad
    error = exp_se3(torch.cat([torch.zeros_like(turns), turns], 1))
    moved = error @ cameras.cam_from_world
    return replace(cameras, cam_from_world=moved, confidence=torch.full((len(cameras),), 0.5))


def _no_points() -> PointCloud:
    return PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))


@torch.no_grad()
def _look(splats: Splats, cameras: Cameras, rasterizer: Rasterizer) -> Rendering:
    seen = [render(splats, cameras[v], rasterizer) for v in range(len(cameras))]
    # Copies: a rasterizer may use its buffers again.
    rgb, alpha, depth = (
        torch.cat([getattr(view, name) for view in seen]).clone() for name in ("rgb", "alpha", "depth")
    )
    return Rendering(rgb, alpha, depth)


def save_window(window: Window, path: Path) -> None:
    """Write a window: colours and opacities in 8 bits, depths in half precision of their median."""
    tensors = {"photos": _to_bytes(window.photos), "truth": _to_bytes(window.truth)}
    for name in ("photo_cameras", "cameras"):
        cameras = getattr(window, name)
        tensors |= {f"{name}.{f.name}": getattr(cameras, f.name).contiguous() for f in fields(Cameras)}
    for name in ("own", "drawn"):
        seen: tuple[Rendering, ...] = getattr(window, name)
        tensors[f"{name}.rgb"] = _to_bytes(torch.stack([view.rgb for view in seen]))
        tensors[f"{name}.alpha"] = _to_bytes(torch.stack([view.alpha for view in seen]))
        depth = torch.stack([view.depth for view in seen])
        unit = depth[depth > 0].median() if bool((depth > 0).any()) else depth.new_ones(())
        tensors |= {f"{name}.depth": (depth / unit).half(), f"{name}.unit": unit.reshape(1)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def load_window(path: Path) -> Window:
    """What `save_window` wrote."""
    tensors = load_file(path)

    def views(name: str) -> tuple[Rendering, ...]:
        depth = tensors[f"{name}.depth"].float() * tensors[f"{name}.unit"]
        parts = zip(_from_bytes(tensors[f"{name}.rgb"]), _from_bytes(tensors[f"{name}.alpha"]), depth)
        return tuple(Rendering(rgb, alpha, z) for rgb, alpha, z in parts)

    def cameras(name: str) -> Cameras:
        return Cameras(*(tensors[f"{name}.{f.name}"] for f in fields(Cameras)))

    photos, truth = (_from_bytes(tensors[name]) for name in ("photos", "truth"))
    return Window(photos, cameras("photo_cameras"), truth, cameras("cameras"), views("own"), views("drawn"))


def _to_bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().byte()


def _from_bytes(values: Tensor) -> Tensor:
    return values.float() / 255
