"""`recon render`: a camera path or given cameras to pictures and a video."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon import paths
from recon.cli.console import Console, Result
from recon.cli.options import Render
from recon.cli.progress import progress_sink
from recon.data import transforms_json
from recon.errors import InputError
from recon.events import Progress, StageStarted
from recon.fields import FieldSplats
from recon.files import write_json
from recon.optimize.pseudo.gate import Judgement
from recon.pipeline import open_finished
from recon.pipeline.core import Run
from recon.pipeline.pictures import render_view, save_depth, save_rgb, save_rgba
from recon.pipeline.repair import Repairer, make_repairer
from recon.pipeline.stages import Trained
from recon.runfolder import open_run
from recon.types import Cameras, Rendering
from recon.video import VideoConfig, even_size, path_cameras, write_video

NOT_THE_SPLATS = "What these pictures show is not all in the splats."


@dataclass(frozen=True)
class Shots:
    """What to render: cameras, and a name for each picture."""

    cameras: Cameras
    names: list[str]
    label: str


def execute(options: Render, console: Console) -> Result:
    """Render, write pictures, and a video where all have one size."""
    if options.frames < 1:
        raise InputError(f"--frames must be at least 1, got {options.frames}.")
    if options.fps < 1:
        raise InputError(f"--fps must be at least 1, got {options.fps}.")
    folder = open_run(options.run, need={"splats": f"recon train {options.run}"})
    with progress_sink(console) as sink:
        run = open_finished(folder, sink, options.device)
        shots = plan(run, options)
        out = (options.out or folder.renders / shots.label).expanduser()
        sink(StageStarted("render"))
        prior = chosen_prior(run, options)
        repairer = make_repairer(run, prior)
        index = render_all(run, shots, out, options, repairer)
        about: dict[str, Any] = {"depth": "z-depth = grey level * depth_unit, in world units", "views": index}
        if repairer is not None:
            about["repair"] = {"prior": prior, "note": NOT_THE_SPLATS} | repairer.judgement.details()
        write_json(out / "renders.json", about)
        video = None if options.no_video else _video(shots, out, index, options.fps)
    value = {"status": "done", "out": str(out), "frames": len(index), "video": str(video) if video else None}
    ending = f", video {video}" if video else ""
    lines = [f"Rendered {len(index)} views -> {out}{ending}"]
    if repairer is not None:
        value["repair_strength"] = round(repairer.judgement.strength, 3)
        lines.append(repaired_by(prior, repairer.judgement))
    return Result(value, lines)


def chosen_prior(run: Run, options: Render) -> str:
    """What `auto` stands for here, or the name that was given."""
    if options.repair != "auto":
        return options.repair
    trained: Trained = run.value("train")
    measured = options.path not in paths.PATH_KINDS
    return "none" if measured or isinstance(trained.splats, FieldSplats) else "blend"


def repaired_by(prior: str, judgement: Judgement) -> str:
    """What was done to the pictures, for the console."""
    if judgement.strength == 0:
        return f"Not repaired. {judgement.reason}"
    return f"Repaired by {prior}, strength {judgement.strength:.2f}; --repair none leaves it away. {NOT_THE_SPLATS}"


def plan(run: Run, options: Render) -> Shots:
    """Cameras of the path or of the file.

    Raises:
        InputError: neither a known path nor a file.
    """
    trained: Trained = run.value("train")
    if options.path in paths.PATH_KINDS:
        points = run.value("dense").points.xyz
        poses = paths.along(options.path, trained.cameras, options.frames, points)
        first = trained.cameras
        size = even_size(int(first.width[0]), int(first.height[0]), options.max_side)
        names = [f"frame_{i:04d}" for i in range(options.frames)]
        return Shots(path_cameras(poses, first, size), names, options.path)
    file = Path(options.path).expanduser()
    if not file.exists():
        raise InputError(f"--path {options.path} is neither {', '.join(paths.PATH_KINDS)} nor a file with cameras.")
    known = transforms_json.read_transforms(file)
    keep = [i for i in range(len(known.names)) if bool(known.cameras.registered[i])]
    return Shots(
        _fitted(known.cameras[keep], options.max_side), _unique_stems([known.names[i] for i in keep]), file.stem
    )


def _fitted(cameras: Cameras, max_side: int | None) -> Cameras:
    """Cameras for pictures of at most `max_side` pixels."""
    if max_side is None:
        return cameras
    scale = (max_side / torch.maximum(cameras.width, cameras.height)).clamp(max=1.0)
    width, height = ((side * scale).round().long().clamp_min(1) for side in (cameras.width, cameras.height))
    return cameras.resized(width, height)


def _unique_stems(names: list[str]) -> list[str]:
    stems = [Path(name).stem for name in names]
    return [stem if stems.count(stem) == 1 else f"{stem}_{i:04d}" for i, stem in enumerate(stems)]


def render_all(
    run: Run, shots: Shots, out: Path, options: Render, repairer: Repairer | None = None
) -> list[dict[str, Any]]:
    """Write each picture; returns the index of what was written."""
    trained: Trained = run.value("train")
    trained = replace(trained, splats=trained.splats.to(run.rasterizer.device))
    index = []
    for i, name in enumerate(shots.names):
        run.emit(Progress("render", i, len(shots.names), name))
        rendering = render_view(trained.splats, shots.cameras[i], run.rasterizer)
        shown = rendering if repairer is None else repairer(rendering, shots.cameras[i])
        save_over(out / f"{name}.png", shown, options.background)
        row: dict[str, Any] = {"name": name, "rgb": f"{name}.png"}
        if options.depth:
            row |= {"depth": f"{name}.depth.png", "depth_unit": save_depth(out / f"{name}.depth.png", rendering.depth)}
        index.append(row)
    return index


def save_over(path: Path, rendering: Rendering, background: str) -> None:
    """A picture with `background` where the splats are not."""
    if background == "transparent":
        return save_rgba(path, rendering.rgb, rendering.alpha)
    behind = 1.0 if background == "white" else 0.0
    return save_rgb(path, rendering.rgb + behind * (1 - rendering.alpha)[..., None])


def _video(shots: Shots, out: Path, index: list[dict[str, Any]], fps: int) -> Path | None:
    """A video of the pictures just written; None for one picture or pictures of several sizes."""
    sizes = set(zip(shots.cameras.width.tolist(), shots.cameras.height.tolist()))
    if len(index) < 2 or len(sizes) != 1:
        return None
    width, height = (side // 2 * 2 for side in next(iter(sizes)))

    def frames() -> Iterator[np.ndarray]:
        from PIL import Image

        for row in index:
            with Image.open(out / row["rgb"]) as picture:
                pixels = np.asarray(picture)[:height, :width]
            if pixels.shape[2] == 4:
                pixels = (pixels[..., :3] * (pixels[..., 3:] / 255.0)).round().astype(np.uint8)
            yield pixels

    return write_video(out / f"{shots.label}.mp4", frames(), (width, height), VideoConfig(fps=fps))
