"""From photos to splats: the four stages that make the result. Measuring and writing up have their own modules."""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from recon import data
from recon.compress import read_ply, write_ply, write_points
from recon.config import to_mapping
from recon.data import colmap, transforms_json
from recon.errors import InputError
from recon.events import HeldOutReady, Progress, SceneReady, SplatsUpdated
from recon.optimize import train
from recon.pipeline import store
from recon.pipeline.budget import weigh, write_within
from recon.pipeline.core import Outcome, Run
from recon.poses import estimate, make_scene
from recon.priors.depth import make_depth_model, monocular_depths
from recon.runfolder import RunFolder
from recon.stereo import reconstruct
from recon.types import Cameras, DepthMaps, ImageSet, PointCloud, PosedScene, PoseResult, Splats

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photos:
    """The photos of a run."""

    used: ImageSet
    held_out: ImageSet | None = None
    """Kept out of every stage that makes the result."""
    known: dict[str, Cameras] | None = None
    """Given cameras of all photos by name, each a `Cameras` of one, at the photo's size."""


@dataclass(frozen=True)
class Dense:
    """What the dense stage adds to the poses."""

    depths: DepthMaps
    points: PointCloud


@dataclass(frozen=True)
class Trained:
    """The result."""

    splats: Splats
    cameras: Cameras
    """Refined, for the photos of the posed scene."""


class ImagesStage:
    name = "images"
    description = "reading and checking"

    def settings(self, run: Run) -> Any:
        config = run.config
        known = None if config.known_poses is None else _hash_cameras(config.known_poses, config.out_dir)
        return data.fingerprint(config.images_dir, config.images), config.holdout, known

    def compute(self, run: Run) -> Outcome:
        photos = read_photos(run)
        shown = [photos.used, *([photos.held_out] if photos.held_out else [])]
        details = {
            "photos": [row for images in shown for row in _photo_rows(images)],
            "held_out": list(photos.held_out.names) if photos.held_out else [],
        }
        return Outcome(photos, (), details)

    def load(self, run: Run) -> Photos:
        return read_photos(run, quiet=True)


def read_photos(run: Run, quiet: bool = False) -> Photos:
    """The photos, split into used and held out."""
    config = run.config
    images = data.load_images(config.images_dir, config.images, *(() if quiet else (run.emit,)))
    known = None
    if config.known_poses is not None:  # photos come back straightened where the given lens bends lines
        given = data.load_posed(config.known_poses, config.images_dir)
        for message in () if quiet else given.warnings:
            run.warn(message)
        images, cameras = data.apply_known(given, images)
        known = {name: cameras[v] for v, name in enumerate(images.names)}
    if config.holdout == 0:
        return Photos(images, None, known)
    train_indices, test_indices = data.holdout_split(len(images), config.holdout)
    return Photos(data.select(images, train_indices), data.select(images, test_indices), known)


def _photo_rows(images: ImageSet) -> list[dict[str, Any]]:
    focals = [None if torch.isnan(f) else round(float(f), 1) for f in images.focal_px]
    return [
        {"name": name, "width": image.shape[1], "height": image.shape[0], "exif_focal_px": focal}
        for name, image, focal in zip(images.names, images.images, focals)
    ]


class PosesStage:
    name = "poses"
    description = "matching and placing"

    def settings(self, run: Run) -> Any:
        return to_mapping(run.config.poses)

    def compute(self, run: Run) -> Outcome:
        photos: Photos = run.value("images")
        config = run.config.poses if photos.known is None else replace(run.config.poses, backend="known")
        result = estimate(photos.used, config, run.emit, photos.known)
        for message in result.warnings:
            run.warn(message)
        path = run.folder.state(self.name)
        store.save(path, result)
        scene = make_scene(photos.used, result, run.config.train.max_side)
        run.emit(SceneReady(scene))
        run.keep("poses", result)
        if not run.folder.splats.exists():  # an older result stays whole until the new one is
            publish(run, scene.cameras, result.points)
        return Outcome(result, (path,), poses_details(photos.used, result))

    def load(self, run: Run) -> PoseResult:
        return store.load(run.folder.state(self.name))


def poses_details(images: ImageSet, result: PoseResult) -> dict[str, Any]:
    """What is known about each photo's camera, and each pair."""
    errors = [None if torch.isnan(e) else round(float(e), 3) for e in result.reprojection_error_px]
    photos = [
        {
            "name": name,
            "status": result.status[v].value,
            "reason": result.reasons[v],
            "confidence": round(float(result.cameras.confidence[v]), 3),
            "points_seen": int(result.n_observations[v]),
            "reprojection_error_px": errors[v],
            "focal_px": round(float(result.cameras.Ks[v, 0, 0]), 1) if result.cameras.registered[v] else None,
        }
        for v, name in enumerate(images.names)
    ]
    pairs = [
        {"a": images.names[p.i], "b": images.names[p.j], "matches": p.n_matches, "inliers": p.n_inliers,
         "parallax_deg": None if p.median_parallax_deg is None else round(p.median_parallax_deg, 2), "kind": p.kind}
        for p in result.pairs
    ]  # fmt: skip
    return {
        "backend": result.backend,
        "photos": photos,
        "placed": int(result.cameras.registered.sum()),
        "sparse_points": len(result.points),
        "pairs": pairs,
    }


class DenseStage:
    name = "dense"
    description = "depth from neighbouring photos"

    def settings(self, run: Run) -> Any:
        return to_mapping(run.config.dense), run.config.train.max_side

    def compute(self, run: Run) -> Outcome:
        sparse = posed_scene(run)
        depths, points = reconstruct(sparse, run.config.dense, run.emit)
        scene = replace(sparse, points=points)
        path = run.folder.state(self.name)
        store.save(path, {"depths": depths, "points": points})
        run.emit(SceneReady(scene))
        if not run.folder.splats.exists():
            publish(run, scene.cameras, points)
        known = [float((depth > 0).float().mean()) for depth in depths.depth]
        details = {"points": len(points), "known_depth_share": dict(zip(scene.names, (round(k, 3) for k in known)))}
        return Outcome(Dense(depths, points), (path,), details)

    def load(self, run: Run) -> Dense:
        return Dense(**store.load(run.folder.state(self.name)))


def posed_scene(run: Run) -> PosedScene:
    """The placed photos with the sparse points."""
    return make_scene(run.value("images").used, run.value("poses"), run.config.train.max_side)


def dense_scene(run: Run) -> PosedScene:
    """The placed photos with the dense points, which is what training starts from."""
    return replace(posed_scene(run), points=run.value("dense").points)


def depth_prior(run: Run, scene: PosedScene, depths: DepthMaps) -> DepthMaps | None:
    """Depth that a network sees in the photos, where one was asked for."""
    config = run.config.depth_prior
    if config.model == "none":
        return None
    run.emit(Progress("train", 0, run.config.train.steps, f"depth by {config.model}"))
    return monocular_depths(scene, make_depth_model(config.model, config.checkpoint), depths)


class TrainStage:
    name = "train"
    description = "optimising"

    def settings(self, run: Run) -> Any:
        field = [to_mapping(run.config.hashgrid)] if run.config.representation == "hashgrid" else []
        return to_mapping(run.config.train), to_mapping(run.config.depth_prior), *field

    def compute(self, run: Run) -> Outcome:
        from recon.pipeline.evaluate import held_out_scene  # which builds on this module

        folder, config = run.folder, run.config.train
        scene = dense_scene(run)
        run.emit(SceneReady(scene))
        held_out = run.value("images").held_out
        if held_out is not None:
            run.emit(HeldOutReady(lambda: held_out_scene(run, held_out)))
        from recon.pipeline import fields  # which builds on this module

        if run.config.representation == "hashgrid":
            return fields.fit_field(run, scene)
        checkpoint = folder.checkpoints / "train.pt"
        depths = run.value("dense").depths
        prior = depth_prior(run, scene, depths)
        result = train(
            scene, depths, config, run.rasterizer, prior=prior, emit=run.emit, checkpoint=checkpoint, weigh=weigh
        )
        cameras_path = folder.state(self.name)
        store.save(cameras_path, {"cameras": result.cameras})
        write_ply(folder.splats, result.splats)
        published = publish(run, result.cameras, scene.points)
        small, about_it = write_within(run, result.splats, result.cameras)
        checkpoint.unlink(missing_ok=True)
        fields.remove_stale(folder, fields.CHECKPOINT, fields.FILE)
        run.emit(SplatsUpdated(result.steps, result.splats))
        details = {
            "gaussians": len(result.splats),
            "steps": result.steps,
            "history": result.history,
            "account": result.account,
            "small": about_it,
            "prior": result.prior,
            "stopping": result.stopping,
            "rasterizer": run.rasterizer.name,
            "device": str(run.rasterizer.device),
        }
        outputs = (cameras_path, folder.splats, *published, *small)
        return Outcome(Trained(result.splats, result.cameras), outputs, details)

    def load(self, run: Run) -> Trained:
        if run.config.representation == "hashgrid":
            from recon.pipeline.fields import load_trained

            return load_trained(run)
        cameras = store.load(run.folder.state(self.name))["cameras"]
        return Trained(read_ply(run.folder.splats), cameras)


def publish(run: Run, cameras: Cameras, points: PointCloud) -> tuple[Path, ...]:
    """Write cameras.json with the photos it refers to, sparse/0 and points.ply for other programs.

    Args:
        cameras: of the placed photos, at any image size.
        points: what points.ply holds; sparse/0 gets the sparse points of the poses.

    Returns:
        Two files that stand for the rest.
    """
    folder, images, result = run.folder, run.value("images").used, run.value("poses")
    width, height = result.cameras.width, result.cameras.height
    everyone = place_back(cameras, result.cameras).resized(width, height)
    before = _published_photos(folder)
    names = data.save_images(images, folder.images)
    extra = [{"photo": name} for name in images.names]
    transforms_json.write_transforms(folder.cameras, names, everyone, images="images", points="points.ply", extra=extra)
    colmap.write_model(folder.sparse, names, everyone, result.points)
    write_points(folder.points, points)
    for gone in before - set(names):
        log.info("removing %s, which is of an earlier set of photos", gone)
        (folder.images / gone).unlink(missing_ok=True)
    return folder.cameras, folder.points


def _published_photos(folder: RunFolder) -> set[str]:
    """Names of the pictures that cameras.json refers to, as recon wrote them; none if it cannot be read."""
    try:
        return {Path(name).name for name in transforms_json.read_transforms(folder.cameras).names}
    except InputError:
        return set()


def place_back(placed: Cameras, everyone: Cameras) -> Cameras:
    """`everyone` with the poses and focal lengths of its registered cameras replaced by those of `placed`, in order."""
    cam_from_world, Ks = everyone.cam_from_world.clone(), everyone.Ks.clone()
    cam_from_world[everyone.registered] = placed.cam_from_world.to(cam_from_world)
    before = everyone[everyone.registered].resized(placed.width, placed.height)
    Ks[everyone.registered, :2, :2] *= (placed.Ks[:, 0, 0] / before.Ks[:, 0, 0]).to(Ks)[:, None, None]
    return replace(everyone, cam_from_world=cam_from_world, Ks=Ks)


def ensure_published(run: Run) -> None:
    """Write the cameras for other programs if they were deleted, or withheld in favour of an older result."""
    if run.folder.cameras.exists() or "poses" not in run.records:
        return
    result: PoseResult = run.value("poses")
    points = run.value("dense").points if "dense" in run.records else result.points
    publish(run, result.cameras[result.cameras.registered], points)


def _hash_cameras(path: Path, out_dir: Path) -> str:
    """A hash of the files that `data.load_posed` reads cameras from."""
    if not path.exists():
        raise InputError(f"No pose backend and no file called {path}. Check --poses.")
    if path.resolve() == out_dir.resolve() or out_dir.resolve() in path.resolve().parents:
        raise InputError(
            f"The cameras {path} lie in the folder of the results, {out_dir}, and would be written over. Copy them to "
            "another place, or give another folder with --out."
        )
    digest = hashlib.sha256()
    for file in data.camera_files(path):
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
