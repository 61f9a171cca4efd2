"""Measuring: the input views as the splats show them, and photos that were held out.

Only photos that no stage has seen say something about the quality of new views. Where cameras were estimated, such a
photo is first placed against the finished model (features, then a camera-only optimisation against the splats); the
model does not change. Where cameras were given, so is a photo that they have none for and that the run did not know.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon import data
from recon.errors import InputError, MissingDependencyError
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
    placed_by: str = GIVEN


@dataclass(frozen=True)
class Placed:
    """Photos that the model was not made from, and their cameras."""

    images: ImageSet
    """Straightened where a given lens bends lines."""
    poses: PoseResult
    given: tuple[bool, ...]
    """Which photos have a given camera, or are known to have none; the others were localized."""


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
            details["held_out"] = summarize(scored, unplaced)
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
    scene = make_scene(placed.images, placed.poses, run.config.train.max_side)
    given = {name for name, is_given in zip(queries.names, placed.given) if is_given}
    scored = []
    for i, (name, truth) in enumerate(zip(scene.names, scene.images)):
        run.emit(Progress("evaluate", i, len(scene), f"measuring {name}"))
        camera = scene.cameras[i]
        if name not in given:
            camera = with_refined_lens(camera, posed_scene(run).cameras, trained.cameras)
            camera = align_camera(trained.splats, truth, camera, run.rasterizer)
        rendering = render_view(trained.splats, camera, run.rasterizer)
        placed_by = GIVEN if name in given else LOCALIZED
        scored.append(Scored(name, truth, rendering, camera, _scores(run, rendering.rgb, truth), placed_by))
    poses = placed.poses
    unplaced = {name: poses.reasons[v] for v, name in enumerate(queries.names) if not poses.cameras.registered[v]}
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


def place(run: Run, queries: ImageSet) -> Placed:
    """Cameras of photos that the model was not made from: given, else found by localizing.

    Raises:
        InputError: a photo has not the shape that its given camera is for.
        PoseError: as `localize`.
    """
    photos: Photos = run.value("images")
    if photos.known is None:
        poses = localize(queries, photos.used, run.value("poses"), run.config.poses)
        return Placed(queries, poses, (False,) * len(queries))
    # The very pictures that the run holds out were straightened when it read them; others of that name were not.
    own = {} if photos.held_out is None else dict(zip(photos.held_out.names, photos.held_out.images))
    known = {n: photos.known[n] for n, image in zip(queries.names, queries.images) if own.get(n) is image}
    others = [v for v, name in enumerate(queries.names) if name not in known]
    queries, more = _read_cameras(run, queries, others)
    known |= more
    given = _given_cameras(queries, known)
    rest = [v for v in others if queries.names[v] not in known]
    if not rest:
        return Placed(queries, given, (True,) * len(queries))
    found = localize(data.select(queries, rest), photos.used, run.value("poses"), run.config.poses)
    return Placed(queries, _merged(given, found, rest), tuple(v not in rest for v in range(len(queries))))


def held_out_scene(run: Run, queries: ImageSet) -> PosedScene:
    """Those photos that can be placed among the run's, at the size trained at; before and without the splats.

    Raises:
        InputError, PoseError: as `place`.
    """
    placed = place(run, queries)
    return make_scene(placed.images, placed.poses, run.config.train.max_side)


def _read_cameras(run: Run, queries: ImageSet, rows: Sequence[int]) -> tuple[ImageSet, dict[str, Cameras]]:
    """Given cameras by name of those photos in `rows` that the camera file has one for; and all photos, these
    straightened as the run's were."""
    path, photos = run.config.known_poses, run.value("images")
    if path is None or not rows:
        return queries, {}
    try:
        given = data.load_posed(path, run.config.images_dir)
    except InputError as error:
        run.warn(f"The given cameras cannot be read again, so photos are placed by their matches: {error}")
        return queries, {}
    owners = data.own_cameras(given, dict.fromkeys((*queries.names, *photos.known)))
    rows = [v for v in rows if queries.names[v] in owners]
    if not rows:
        return queries, {}
    straight, cameras = data.apply_known(given, data.select(queries, list(rows)))
    images, masks = list(queries.images), None if queries.masks is None else list(queries.masks)
    for i, v in enumerate(rows):
        images[v] = straight.images[i]
        if masks is not None and straight.masks is not None:
            masks[v] = straight.masks[i]
    queries = replace(queries, images=tuple(images), masks=None if masks is None else tuple(masks))
    return queries, {name: cameras[i] for i, name in enumerate(straight.names)}


def _merged(given: PoseResult, found: PoseResult, rows: Sequence[int]) -> PoseResult:
    """`given` with `found` for the photos in `rows`."""

    def put(mine: Tensor, theirs: Tensor) -> Tensor:
        out = mine.clone()
        out[torch.tensor(rows)] = theirs.to(mine)
        return out

    place_of = {v: i for i, v in enumerate(rows)}
    return replace(
        given,
        cameras=Cameras(
            **{f.name: put(getattr(given.cameras, f.name), getattr(found.cameras, f.name)) for f in fields(Cameras)}
        ),
        status=tuple(found.status[place_of[v]] if v in place_of else s for v, s in enumerate(given.status)),
        reasons=tuple(found.reasons[place_of[v]] if v in place_of else r for v, r in enumerate(given.reasons)),
        n_observations=put(given.n_observations, found.n_observations),
        reprojection_error_px=put(given.reprojection_error_px, found.reprojection_error_px),
    )


def _given_cameras(queries: ImageSet, known: dict[str, Cameras]) -> PoseResult:
    """The given cameras of `queries`, as far as there are any."""
    n = len(queries)
    width = torch.tensor([image.shape[1] for image in queries.images])
    height = torch.tensor([image.shape[0] for image in queries.images])
    poses, Ks = torch.eye(4).repeat(n, 1, 1), torch.eye(3).repeat(n, 1, 1)
    found = torch.tensor([name in known and bool(known[name].registered[0]) for name in queries.names])
    for v, name in enumerate(queries.names):
        if found[v]:
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


def summarize(scored: list[Scored], unplaced: dict[str, str]) -> dict[str, Any]:
    """The held-out part of `metrics.json`."""
    views: list[dict[str, Any]] = [{"name": s.name, "placed_by": s.placed_by, **s.scores} for s in scored]
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
