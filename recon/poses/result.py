"""From a model in working pixels to the `PoseResult` that the rest of recon reads."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from recon.errors import PoseError
from recon.poses.consistency import Support, measure_support
from recon.poses.diagnose import (
    Verdict,
    describe_pairs,
    focal_warning,
    is_supported,
    judge,
    set_warning,
    why_cut,
    why_unregistered,
)
from recon.poses.gauge import normalise
from recon.poses.lens import settle_principal_points
from recon.poses.matches import Model, Tracks, Verified, without_photos
from recon.poses.verify import examine
from recon.poses.view_graph import loose
from recon.sfm.database import FALLBACK_FOCAL
from recon.types import Cameras, ImageSet, PairDiagnostics, PointCloud, PoseResult, PoseStatus


@dataclass(frozen=True)
class Solved:
    """A model with what it was made from."""

    model: Model
    support: Support
    tracks: Tracks
    verified: Verified


def work_sizes(images: ImageSet, scale: NDArray) -> NDArray:
    """[V, 2] width and height in working pixels, rounded as the mapper's cameras are."""
    sizes = np.array([[photo.shape[1], photo.shape[0]] for photo in images.images], np.float64)
    return np.round(sizes * scale[:, None])


def solved(model: Model, tracks: Tracks, verified: Verified) -> Solved:
    """Attach the support of a model."""
    return Solved(model, measure_support(model, tracks, verified), tracks, verified)


def assemble(images: ImageSet, best: Solved, backend: str) -> PoseResult:
    """Label, colour and place the model in the frame of `recon.poses.gauge`.

    Photos that nothing sound ties to the largest group are left out: their poses relative to it would be invented.
    """
    scale = best.tracks.scale
    whole = best if best.support.dense else examined(images, best)
    best, cut = cut_loose(whole, images.names)
    pairs = _pairs(images, best.tracks, best.verified, best)
    verdicts = [cut.get(v) or judge(v, images.names, best.model, best.support, pairs) for v in range(len(images))]
    model = _in_gauge(settle_principal_points(best.model, best.tracks))
    n_observations, errors = _per_photo(model, best.tracks)
    return PoseResult(
        cameras=_cameras(images, model, scale, verdicts),
        points=_points(images, model, best.tracks),
        status=tuple(verdict.status for verdict in verdicts),
        reasons=tuple(verdict.reason for verdict in verdicts),
        n_observations=torch.from_numpy(n_observations),
        reprojection_error_px=torch.from_numpy(errors / scale).float(),
        pairs=tuple(pairs),
        warnings=tuple(_warnings(images, best, verdicts, pairs)),
        backend=backend,
        extras={"consistency": best.support.share, "focal_uncertainty": best.support.focal_uncertainty},
    )


def examined(images: ImageSet, candidate: Solved) -> Solved:
    """With the dense look at its photos."""
    return replace(
        candidate, support=examine(images, candidate.model, candidate.tracks, candidate.verified, candidate.support)
    )


def count_supported(candidate: Solved) -> int:
    """Photos that would be labelled `ok`."""
    return sum(is_supported(v, candidate.model, candidate.support) for v in range(len(candidate.model.Ks)))


def cut_loose(whole: Solved, names: tuple[str, ...]) -> tuple[Solved, dict[int, Verdict]]:
    """The model without its loose photos, and for each of these why it was left out."""
    model, support = whole.model, whole.support
    loose_photos = loose(support, model.registered)
    if not loose_photos:
        return whole, {}
    cut = {v: Verdict(PoseStatus.UNREGISTERED, why_cut(v, names, support, model.registered), 0.0) for v in loose_photos}
    out = np.isin(np.arange(len(model.Ks)), sorted(loose_photos))
    consistent = {pair: flags & ~out[list(pair)].any() for pair, flags in support.consistent.items()}
    return replace(whole, model=without_photos(model, out), support=replace(support, consistent=consistent)), cut


def assemble_known(images: ImageSet, cameras: Cameras, model: Model, tracks: Tracks, verified: Verified) -> PoseResult:
    """Given cameras, untouched, with the points triangulated from them."""
    best = solved(model, tracks, verified)
    n_observations, errors = _per_photo(model, tracks)
    given = [bool(flag) for flag in cameras.registered]
    missing = [name for name, flag in zip(images.names, given) if not flag]
    return PoseResult(
        cameras=cameras,
        points=_points(images, model, tracks),
        status=tuple(PoseStatus.OK if flag else PoseStatus.UNREGISTERED for flag in given),
        reasons=tuple("" if flag else "no camera is given for it" for flag in given),
        n_observations=torch.from_numpy(n_observations),
        reprojection_error_px=torch.from_numpy(errors / tracks.scale).float(),
        pairs=tuple(_pairs(images, tracks, verified, best)),
        warnings=tuple(f"{name} was left out: no camera is given for it." for name in missing),
        backend="known",
        extras={"consistency": best.support.share},
    )


def give_up(images: ImageSet, tracks: Tracks, verified: Verified) -> PoseError:
    """The error for photos of which no two could be placed."""
    pairs = _pairs(images, tracks, verified, None)
    lines = [f"  {name}: {why_unregistered(v, images.names, pairs)}" for v, name in enumerate(images.names)]
    return PoseError(
        f"None of the {len(images)} photos could be placed relative to another.\n"
        + "\n".join(lines)
        + "\nPhotos of the same thing from places a step apart, with at least half of the view in common, work best."
    )


def _pairs(images: ImageSet, tracks: Tracks, verified: Verified, best: Solved | None) -> list[PairDiagnostics]:
    sizes = work_sizes(images, tracks.scale)
    exif = images.focal_px.numpy() * tracks.scale
    focal_px = exif if np.isfinite(exif).all() else None
    if best is None:
        return describe_pairs(tracks, verified, None, None, focal_px, sizes)
    return describe_pairs(tracks, verified, best.model, best.support, focal_px, sizes)


def _in_gauge(model: Model) -> Model:
    rows = np.cumsum(model.registered) - 1
    seen_by = np.stack([model.observations[:, 0], rows[model.observations[:, 1]]], axis=1)
    similarity = normalise(model.cam_from_world[model.registered], model.xyz, seen_by)
    return replace(model, cam_from_world=similarity.cameras(model.cam_from_world), xyz=similarity.points(model.xyz))


def _cameras(images: ImageSet, model: Model, scale: NDArray, verdicts: list[Verdict]) -> Cameras:
    """Cameras in photo pixels; an unregistered photo gets its group's lens where one was found."""
    width = torch.tensor([photo.shape[1] for photo in images.images])
    height = torch.tensor([photo.shape[0] for photo in images.images])
    off_middle = (model.Ks[:, :2, 2] - work_sizes(images, scale) / 2) / scale[:, None]
    lenses = np.column_stack([model.focal_px / scale, off_middle])
    Ks = torch.zeros(len(images), 3, 3)
    for v in range(len(images)):
        group = lenses[(images.camera_ids == images.camera_ids[v]).numpy() & np.isfinite(lenses).all(axis=1)]
        guess = float(images.focal_px[v])
        if not np.isfinite(guess):
            guess = FALLBACK_FOCAL * float(max(width[v], height[v]))
        own = lenses[v] if np.isfinite(lenses[v]).all() else group[0] if len(group) else (guess, 0.0, 0.0)
        f, x, y = map(float, own)
        Ks[v] = torch.tensor([[f, 0, width[v] / 2 + x], [0, f, height[v] / 2 + y], [0, 0, 1]])
    poses = np.where(model.registered[:, None, None], model.cam_from_world, np.eye(4))
    return Cameras(
        torch.from_numpy(poses).float(),
        Ks,
        width,
        height,
        torch.from_numpy(model.registered),
        torch.tensor([verdict.confidence for verdict in verdicts]),
    )


def _points(images: ImageSet, model: Model, tracks: Tracks) -> PointCloud:
    """Points with the mean colour of their observations.

    Confidence is exp(-(error / 2 px)^2 / 2) times n / (n + 1) for n >= 2 observations, so a clean two-view point has
    2/3 and one seen by all of nine photos .9.
    """
    point, photo, keypoint = model.observations.T if len(model.observations) else np.zeros((3, 0), np.int64)
    colors = np.zeros((len(model.xyz), 3))
    for v in range(len(images)):
        mine = photo == v
        if mine.any():
            uv = tracks.keypoints[v][keypoint[mine]] / tracks.scale[v] - 0.5
            sampled = cv2.remap(
                images.images[v].numpy(), uv[:, :1].astype(np.float32), uv[:, 1:].astype(np.float32), cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            np.add.at(colors, point[mine], sampled[:, 0])
    n = np.bincount(point, minlength=len(model.xyz))
    confidence = np.exp(-0.5 * (model.error_px / 2.0) ** 2) * n / (n + 1)
    return PointCloud(
        torch.from_numpy(model.xyz).float(),
        torch.from_numpy(colors / np.maximum(n, 1)[:, None]).float().clamp(0, 1),
        torch.from_numpy(confidence).float(),
    )


def _per_photo(model: Model, tracks: Tracks) -> tuple[NDArray, NDArray]:
    """Observations of each photo [V] and their mean reprojection error [V] in working pixels (NaN without any)."""
    n, errors = np.zeros(len(model.Ks), np.int64), np.full(len(model.Ks), np.nan)
    for v in np.flatnonzero(model.registered):
        point, _, keypoint = model.observations[model.observations[:, 1] == v].T
        local = model.xyz[point] @ model.cam_from_world[v, :3, :3].T + model.cam_from_world[v, :3, 3]
        uv = (local @ model.Ks[v].T)[:, :2] / local[:, 2:]
        n[v] = len(point)
        if len(point):
            errors[v] = np.linalg.norm(uv - tracks.keypoints[v][keypoint], axis=1).mean()
    return n, errors


def _warnings(images: ImageSet, best: Solved, verdicts: list[Verdict], pairs: list[PairDiagnostics]) -> list[str]:
    """What is doubtful of the whole set, of each photo, and of each focal length, one sentence each."""
    model, scale = best.model, best.tracks.scale
    whole = set_warning(pairs, best.support)
    warnings = [whole] if whole else []
    for name, verdict in zip(images.names, verdicts):
        if verdict.status is PoseStatus.UNREGISTERED:
            warnings.append(f"{name} was left out: {verdict.reason}.")
        elif verdict.status is PoseStatus.LOW:
            warnings.append(f"{name} may be placed wrongly: {verdict.reason}.")
    for group in images.camera_ids.unique():
        rows = np.flatnonzero((images.camera_ids == group).numpy() & model.registered)
        if len(rows) and not torch.isfinite(images.focal_px[rows[0]]):
            longest = max(images.images[rows[0]].shape[:2]) * scale[rows[0]]
            sentence = focal_warning(float(model.focal_px[rows[0]]), longest, best.support.focal_uncertainty)
            warnings.extend([sentence] if sentence else [])
    return warnings
