"""Writing up: the fly-through video, the mesh and the report."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recon import paths
from recon.config import to_mapping
from recon.events import Progress
from recon.files import write_text
from recon.mesh import Shots, make_mesh, require_packages, write_mesh, y_up_rotation
from recon.pipeline import summary
from recon.pipeline.core import Outcome, Run
from recon.pipeline.pictures import load_depth, render_view
from recon.pipeline.stages import Photos, Trained, place_back
from recon.report import HeldOutView, InputView, Report, build_report
from recon.types import PoseResult
from recon.video import even_size, ffmpeg_path, forth_and_back, path_cameras, to_bytes, write_mp4

log = logging.getLogger(__name__)


class ExportStage:
    name = "export"
    description = "video and report"

    def settings(self, run: Run) -> Any:
        parts = [run.config.video, run.config.report]
        if run.config.mesh.enabled:
            require_packages()  # before the long work
            parts.append(run.config.mesh)
        return to_mapping(parts)

    def compute(self, run: Run) -> Outcome:
        outputs = []
        video = make_video(run)
        if video is not None:
            outputs.append(video)
        if run.config.mesh.enabled:
            outputs.append(run.folder.root / "mesh.glb")
            export_mesh(run, outputs[-1])
        write_text(run.folder.report, build_report(gather(run), run.config.report))
        return Outcome(None, [*outputs, run.folder.report], {"video": video.name if video else None})

    def load(self, run: Run) -> None:
        return None


def make_video(run: Run) -> Path | None:
    """The fly-through; None when it is switched off or there is no ffmpeg (with a warning)."""
    config = run.config.video
    if config.frames < 2:
        return None
    if ffmpeg_path() is None:
        run.warn("No video: ffmpeg is missing. Get it with: pip install imageio-ffmpeg")
        return None
    trained: Trained = run.value("train")
    size = even_size(int(trained.cameras.width[0]), int(trained.cameras.height[0]), config.max_side)
    poses = paths.along(config.path, trained.cameras, config.frames, run.value("dense").points.xyz)
    cameras = path_cameras(poses, trained.cameras, size)

    def frames() -> Iterator[np.ndarray]:
        splats = trained.splats.to(run.rasterizer.device)
        for i in range(len(cameras)):
            run.emit(Progress("export", i, len(cameras) + 10, "rendering the video"))
            yield to_bytes(render_view(splats, cameras[i], run.rasterizer).rgb)

    closed = config.path == "orbit" or paths.is_ring(trained.cameras)
    write_mp4(run.folder.video, frames() if closed else forth_and_back(frames()), size, config)
    return run.folder.video


def export_mesh(run: Run, out: Path) -> int:
    """Write a textured mesh of the result in the format of `out`'s suffix; returns the number of triangles.

    Raises:
        InputError: the splats show no surface.
        MissingDependencyError: the packages of the extra `mesh` are not installed.
        ResourceError: the folder is not writable or the disk is full.
    """
    photos: Photos = run.value("images")
    result: PoseResult = run.value("poses")
    trained: Trained = run.value("train")
    placed = result.cameras.registered.nonzero()[:, 0].tolist()
    cameras = place_back(trained.cameras, result.cameras)[placed]
    masks = None if photos.used.masks is None else [photos.used.masks[v] for v in placed]
    shots = Shots([photos.used.images[v] for v in placed], cameras, masks)
    frames = run.config.mesh.between * len(placed)
    poses = paths.interpolate(trained.cameras, frames, run.value("dense").points.xyz)
    between = replace(trained.cameras[[0] * frames], cam_from_world=poses)
    mesh = make_mesh(trained.splats, shots, between, run.rasterizer, run.config.mesh, run.emit)
    write_mesh(out, mesh, y_up_rotation(cameras))
    return len(mesh.surface.faces)


@dataclass(frozen=True)
class SavedViews:
    """What `save_views` wrote into one folder."""

    folder: Path

    def __iter__(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Photo name, colour [H, W, 3] in [0, 1], depth [H, W]."""
        index = self.folder / "renders.json"
        if not index.is_file():
            return
        for view in json.loads(index.read_text(encoding="utf-8"))["views"]:
            with Image.open(self.folder / view["rgb"]) as picture:
                rgb = torch.from_numpy(np.asarray(picture.convert("RGB")).astype(np.float32) / 255)
            yield view["photo"], rgb, load_depth(self.folder / view["depth"], view["depth_unit"])


def gather(run: Run) -> Report:
    """Everything the report shows, from this pass or from the run folder."""
    photos: Photos = run.value("images")
    result: PoseResult = run.value("poses")
    trained: Trained = run.value("train")
    metrics = summary.metrics(run)
    return Report(
        title=run.config.images_dir.resolve().name,
        verdict=summary.verdict(metrics),
        inputs=_input_views(run, photos, result),
        held_out=_held_out_views(run, photos, metrics),
        points=run.value("dense").points,
        cameras=trained.cameras,
        pairs=result.pairs,
        photos=photos.used,
        metrics=metrics,
        config=to_mapping(run.config),
        run_folder=run.folder.root,
    )


def _input_views(run: Run, photos: Photos, result: PoseResult) -> list[InputView]:
    rendered = {name: (rgb, depth) for name, rgb, depth in SavedViews(run.folder.renders / "inputs")}
    depths = dict(zip(_placed_names(photos, result), run.value("dense").depths.depth))
    rows = summary.photo_rows(run)
    views = []
    for v, name in enumerate(photos.used.names):
        rgb, depth = rendered.get(name, (None, None))
        views.append(InputView(name, photos.used.images[v], rows[name], rgb, depth, depths.get(name)))
    return views


def _placed_names(photos: Photos, result: PoseResult) -> list[str]:
    return [name for v, name in enumerate(photos.used.names) if result.cameras.registered[v]]


def _held_out_views(run: Run, photos: Photos, metrics: dict[str, Any]) -> list[HeldOutView]:
    if photos.held_out is None:
        return []
    rendered = {name: rgb for name, rgb, _ in SavedViews(run.folder.renders / "held_out")}
    scores = {view["name"]: view for view in metrics["held_out"]["views"]}
    return [
        HeldOutView(name, image, rendered.get(name), scores[name])
        for name, image in zip(photos.held_out.names, photos.held_out.images)
    ]
