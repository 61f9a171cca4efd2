"""Measuring: the input views as the splats show them, and photos that were held out.

Only photos that no stage has seen say something about the quality of new views. Where cameras were estimated, such a
photo is first placed against the finished model (features, then a camera-only optimisation against the splats); the
model does not change.
"""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import MissingDependencyError
from recon.events import Progress
from recon.files import write_json
from recon.metrics import lpips, psnr, ssim
from recon.optimize import align_camera
from recon.pipeline.core import Outcome, Run
from recon.pipeline.pictures import render_view, save_depth, save_rgb
from recon.pipeline.stages import Photos, Trained, dense_scene, posed_scene
from recon.poses import localize, make_scene
from recon.types import Cameras, ImageSet, PointCloud, PosedScene, PoseResult, PoseStatus, Rendering

log = logging.getLogger(__name__)

GIVEN, LOCALIZED = "given camera", "localized, then aligned to the splats"
NOT_A_MEASURE = "The splats were trained on these photos: this says how well they fit, not how good new views are."


@dataclass(frozen=True)
class Scored:
    """One photo beside its rendering."""

    name: str
    truth: Float[Tensor, "H W 3"]
    rendering: Rendering
    camera: Cameras
    scores: dict[str, float | None]


class EvaluateStage:
    name = "evaluate"
    description = "rendering the photos' views"

    def settings(self, run: Run) -> Any:
        return None  # photos, held-out count and splats are in the fingerprints of the stages before

    def compute(self, run: Run) -> Outcome:
        trained: Trained = run.value("train")
        scene = replace(dense_scene(run), cameras=trained.cameras)
        held_out = run.value("images").held_out
        total = len(scene) + (len(held_out) if held_out else 0)
        rows = []
        for i in range(len(scene)):
            run.emit(Progress(self.name, i, total, scene.names[i]))
            rendering = render_view(trained.splats, scene.cameras[i], run.rasterizer)
            rows.append((scene.names[i], rendering, _training_scores(rendering, scene, i)))
        files = save_views(run.folder.renders / "inputs", [(name, rendering) for name, rendering, _ in rows])
        details: dict[str, Any] = {"training_views": _training_summary([(name, s) for name, _, s in rows])}
        if held_out is not None:
            scored, unplaced = score(run, held_out)
            files += save_views(run.folder.renders / "held_out", [(s.name, s.rendering) for s in scored])
            details["held_out"] = summarize(run, scored, unplaced)
        return Outcome(None, files, details)

    def load(self, run: Run) -> None:
        return None


def _training_scores(rendering: Rendering, scene: PosedScene, index: int) -> dict[str, float]:
    return {"psnr": _db(psnr(rendering.rgb, scene.images[index]))}


def _training_summary(rows: list[tuple[str, dict[str, float]]]) -> dict[str, Any]:
    mean = round(fmean(scores["psnr"] for _, scores in rows), 2)
    return {"note": NOT_A_MEASURE, "psnr": mean, "views": [{"name": name, **scores} for name, scores in rows]}


def score(run: Run, queries: ImageSet) -> tuple[list[Scored], dict[str, str]]:
    """Place `queries` against the finished model, render and compare; also why some could not be placed."""
    trained: Trained = run.value("train")
    placed = place(run, queries)
    scene = make_scene(queries, placed, run.config.train.max_side)
    given = run.config.known_poses is not None
    scored = []
    for i, (name, truth) in enumerate(zip(scene.names, scene.images)):
        run.emit(Progress("evaluate", i, len(scene), f"measuring {name}"))
        camera = scene.cameras[i]
        if not given:
            camera = with_refined_lens(camera, posed_scene(run).cameras, trained.cameras)
            camera = align_camera(trained.splats, truth, camera, run.rasterizer)
        rendering = render_view(trained.splats, camera, run.rasterizer)
        scored.append(Scored(name, truth, rendering, camera, _scores(run, rendering.rgb, truth)))
    unplaced = {name: placed.reasons[v] for v, name in enumerate(queries.names) if not placed.cameras.registered[v]}
    return scored, unplaced


def with_refined_lens(camera: Cameras, before: Cameras, after: Cameras) -> Cameras:
    """A held-out camera (V = 1) with the focal length to which training moved that of its lens, if any photo shares it.

    Args:
        before, after: the training cameras as they were given to training, and refined.
    """
    shares = (before.width == camera.width) & (before.height == camera.height)
    shares &= (before.Ks[:, 0, 0] / camera.Ks[:, 0, 0] - 1).abs() < 1e-3
    if not bool(shares.any()):
        return camera
    Ks = camera.Ks.clone()
    Ks[:, :2, :2] *= (after.Ks[:, 0, 0] / before.Ks[:, 0, 0])[shares].median()
    return replace(camera, Ks=Ks)


def place(run: Run, queries: ImageSet) -> PoseResult:
    """Cameras of photos that the model was not made from."""
    photos: Photos = run.value("images")
    if photos.known is None:
        return localize(queries, photos.used, run.value("poses"), run.config.poses)
    return _given_cameras(queries, photos.known)


def held_out_scene(run: Run, queries: ImageSet) -> PosedScene:
    """Those photos that can be placed among the run's, at the size trained at; before and without the splats.

    Raises:
        PoseError: as `localize`.
    """
    return make_scene(queries, place(run, queries), run.config.train.max_side)


def _given_cameras(queries: ImageSet, known: dict[str, Cameras]) -> PoseResult:
    """The given cameras of `queries`, as far as there are any."""
    n = len(queries)
    width = torch.tensor([image.shape[1] for image in queries.images])
    height = torch.tensor([image.shape[0] for image in queries.images])
    poses, Ks = torch.eye(4).repeat(n, 1, 1), torch.eye(3).repeat(n, 1, 1)
    found = torch.tensor([name in known for name in queries.names])
    for v, name in enumerate(queries.names):
        if name in known:
            camera = known[name].resized(width[v : v + 1], height[v : v + 1])
            poses[v], Ks[v] = camera.cam_from_world[0], camera.Ks[0]
    empty = torch.zeros(0, 3)
    return PoseResult(
        cameras=Cameras(poses, Ks, width, height, found, found.float()),
        points=PointCloud(empty, empty, torch.zeros(0)),
        status=tuple(PoseStatus.OK if f else PoseStatus.UNREGISTERED for f in found),
        reasons=tuple("" if f else "no camera is given for it" for f in found),
        n_observations=torch.zeros(n, dtype=torch.int64),
        reprojection_error_px=torch.full((n,), math.nan),
        backend="known",
    )


def _scores(run: Run, rgb: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"]) -> dict[str, float | None]:
    rgb = rgb.clamp(0, 1)
    scores: dict[str, float | None] = {"psnr": _db(psnr(rgb, truth)), "ssim": round(float(ssim(rgb, truth)), 4)}
    try:
        with torch.inference_mode():
            scores["lpips"] = round(float(lpips(rgb, truth)), 4)
    except MissingDependencyError as error:
        scores["lpips"] = None
        if str(error) not in run.warnings:
            run.warn(str(error))
    return scores


def _db(value: Tensor) -> float:
    """Decibels as a finite JSON number (equal pictures would be infinite)."""
    return round(min(float(value), 99.0), 2)


def summarize(run: Run, scored: list[Scored], unplaced: dict[str, str]) -> dict[str, Any]:
    """The held-out part of `metrics.json`."""
    placed_by = GIVEN if run.config.known_poses is not None else LOCALIZED
    views: list[dict[str, Any]] = [{"name": s.name, "placed_by": placed_by, **s.scores} for s in scored]
    views += [{"name": name, "placed_by": None, "reason": reason} for name, reason in unplaced.items()]
    summary: dict[str, Any] = {"measured": len(scored), "not_placed": len(unplaced), "views": views}
    for metric in ("psnr", "ssim", "lpips"):
        values = [s.scores[metric] for s in scored if s.scores[metric] is not None]
        summary[metric] = round(fmean(v for v in values if v is not None), 4) if values else None
    return summary


def save_views(folder: Path, views: list[tuple[str, Rendering]]) -> list[Path]:
    """Write colour and depth of each view, and an index; drop what an earlier result left there. Returns the files."""
    files, index = [], []
    for name, rendering in views:
        rgb_path, depth_path = folder / f"{name}.png", folder / f"{name}.depth.png"
        save_rgb(rgb_path, rendering.rgb)
        unit = save_depth(depth_path, rendering.depth)
        index.append({"photo": name, "rgb": rgb_path.name, "depth": depth_path.name, "depth_unit": unit})
        files += [rgb_path, depth_path]
    index_path = folder / "renders.json"
    write_json(index_path, {"depth": "z-depth = grey level * depth_unit, in world units; 0: nothing", "views": index})
    for stale in set(folder.glob("*.png")) - set(files):
        stale.unlink()
    return [*files, index_path]
