"""Placing photos against a finished model, which stays as it is: for held-out views and late additions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recon.errors import PoseError
from recon.poses import learned
from recon.poses.base import PosesConfig
from recon.poses.correspond import match_nearest, match_thoroughly
from recon.poses.diagnose import MIN_CONSISTENT
from recon.poses.features import Features
from recon.poses.known import triangulate
from recon.poses.learned import AlikedMatcher
from recon.poses.matches import Model, Tracks, work_scale
from recon.poses.process import JobError, run_job
from recon.poses.result import work_sizes
from recon.poses.sift import SiftMatcher
from recon.sfm.database import FALLBACK_FOCAL
from recon.sfm.packing import pack, unpack
from recon.types import Cameras, ImageSet, PointCloud, PoseResult, PoseStatus

MIN_INLIERS = 20
FEW_POINTS = 300
"""With fewer points than this the model's photos are matched again, thoroughly."""
ENOUGH = 150
"""Nearest-neighbour matches with 3D points that make LightGlue unnecessary."""


@dataclass(frozen=True)
class _Anchors:
    """The model's photos as things to match against."""

    features: list[Features]
    tracks: Tracks
    model: Model
    point_of: list[NDArray]
    """Per photo, the point index of each keypoint; -1 where it has none."""


def localize(queries: ImageSet, images: ImageSet, result: PoseResult, config: PosesConfig | None = None) -> PoseResult:
    """Cameras of `queries` in the world of `result`, found by 2D-3D matches, PnP with RANSAC and refinement.

    A query that shares its lens with a placed photo (same size, and EXIF's focal length is the same or the query has
    none) takes that photo's lens; otherwise its focal length comes from EXIF or is estimated with the pose. The model
    is triangulated anew from `result.cameras`, so this works after any backend, and after the cameras were refined
    elsewhere.

    Returns:
        A result for the queries only, with `points` of `result`. Queries that cannot be placed are `unregistered`.

    Raises:
        PoseError: matching itself failed.
    """
    config = config or PosesConfig()
    try:
        anchors = _anchors(images, result, config)
        found = [_correspondences(f, anchors) for f in _query_features(queries, anchors, config)]
        scale = work_scale(queries, config)
        focal_px, off_middle, refine = _lenses(queries, images, result)
        sizes, middles = work_sizes(queries, scale), _sizes(queries) / 2 + off_middle
        # the job takes the principal point to be the middle of the rounded size: positions are scaled about it
        uv = [(uv - middle) * s + size / 2 for (uv, _), middle, s, size in zip(found, middles, scale, sizes)]
        arrays = (
            pack("uv", uv, 2, np.float64)
            | pack("xyz", [xyz for _, xyz in found], 3, np.float64)
            | {"sizes": sizes, "focal_px": focal_px * scale, "refine_focal": refine}
        )
        placed = run_job("locate", arrays, seed=config.seed, time_limit_s=config.time_limit_s)
    except JobError as error:
        raise PoseError(f"Placing the held-out photos failed: {error}.") from error
    return _result(queries, result, arrays, placed, scale, off_middle)


def _anchors(images: ImageSet, result: PoseResult, config: PosesConfig) -> _Anchors:
    if learned.available()[0]:
        features, matches = match_nearest(AlikedMatcher(config.max_side), images.images)
        tracks, _, model = triangulate(images, result.cameras, features, matches, config)
    if not learned.available()[0] or len(model.xyz) < FEW_POINTS:
        features, matches = match_thoroughly(images.images, config)
        tracks, _, model = triangulate(images, result.cameras, features, matches, config)
    point_of = [np.full(len(f), -1) for f in features]
    for point, photo, keypoint in model.observations:
        point_of[photo][keypoint] = point
    return _Anchors(features, tracks, model, point_of)


def _query_features(queries: ImageSet, anchors: _Anchors, config: PosesConfig) -> list[list[Features]]:
    """Per query, its features in every quarter turn the model's own photos were matched in."""
    if not learned.available()[0]:
        sift = SiftMatcher(config.max_side, config.seed, config.time_limit_s)
        return [[features] for features in sift.extract(queries.images)]
    aliked = AlikedMatcher(config.max_side)
    turns = sorted({features.turns for features in anchors.features})
    return [[aliked.extract_turned(photo, k) for k in turns] for photo in queries.images]


def _correspondences(variants: list[Features], anchors: _Anchors) -> tuple[NDArray, NDArray]:
    """Query positions [M, 2] in its own pixels and the points [M, 3] they see, one each."""
    uses_learned = learned.available()[0]
    matcher = AlikedMatcher(0) if uses_learned else SiftMatcher(0, 0, 0)
    nearest = matcher.nearest if isinstance(matcher, AlikedMatcher) else matcher.match
    best = max((_gather(query, anchors, nearest) for query in variants), key=lambda found: len(found[0]))
    if len(best[0]) < ENOUGH and uses_learned:
        glued = max((_gather(query, anchors, matcher.match) for query in variants), key=lambda found: len(found[0]))
        best = max(best, glued, key=lambda found: len(found[0]))
    return best


def _gather(query: Features, anchors: _Anchors, match) -> tuple[NDArray, NDArray]:  # type: ignore[no-untyped-def]
    uv, points = [np.zeros((0, 2))], [np.zeros(0, np.int64)]
    for v, features in enumerate(anchors.features):
        if not anchors.model.registered[v]:
            continue
        pairs = match(query, features).numpy()
        point = anchors.point_of[v][pairs[:, 1]]
        uv.append(query.keypoints.numpy()[pairs[:, 0]][point >= 0])
        points.append(point[point >= 0])
    both = np.concatenate([np.concatenate(uv), np.concatenate(points)[:, None]], axis=1)
    both = np.unique(both, axis=0)  # a point matched through several photos counts once
    return both[:, :2], anchors.model.xyz[both[:, 2].astype(np.int64)]


def _sizes(images: ImageSet) -> NDArray:
    return np.array([[photo.shape[1], photo.shape[0]] for photo in images.images], np.float64)


def _lenses(queries: ImageSet, images: ImageSet, result: PoseResult) -> tuple[NDArray, NDArray, NDArray]:
    """Focal length of each query in its pixels, its principal point relative to the middle [Q, 2], and whether the
    focal length is a guess to be refined."""
    sizes, placed = _sizes(queries), result.cameras.registered.numpy()
    model_sizes, model_Ks = _sizes(images)[placed], result.cameras.Ks.double().numpy()[placed]
    exif = images.focal_px.numpy()[placed]
    focal, refine = queries.focal_px.numpy().astype(np.float64).copy(), np.zeros(len(queries), np.int64)
    off_middle = np.zeros((len(queries), 2))
    for q in range(len(queries)):
        shared = (model_sizes == sizes[q]).all(axis=1)
        if not np.isnan(focal[q]):  # a phone's lenses all make photos of one size: EXIF tells them apart
            shared &= np.isclose(exif, focal[q], rtol=1e-3)
        if shared.any():
            focal[q] = np.median(model_Ks[shared, 0, 0])
            off_middle[q] = np.median(model_Ks[shared, :2, 2] - sizes[q] / 2, axis=0)
        elif np.isnan(focal[q]):
            focal[q], refine[q] = FALLBACK_FOCAL * sizes[q].max(), 1
    return focal, off_middle, refine


def _result(
    queries: ImageSet,
    model: PoseResult,
    arrays: dict[str, NDArray],
    placed: dict[str, NDArray],
    scale: NDArray,
    off_middle: NDArray,
) -> PoseResult:
    n_inliers = np.array([int(flags.sum()) for flags in unpack("inliers", placed)])
    found = np.isfinite(placed["cam_from_world"]).all(axis=(1, 2)) & (n_inliers >= MIN_INLIERS)
    poses = np.where(found[:, None, None], placed["cam_from_world"], np.eye(4))
    sizes = torch.from_numpy(_sizes(queries)).long()
    Ks = torch.zeros(len(queries), 3, 3)
    Ks[:, 0, 0] = Ks[:, 1, 1] = torch.from_numpy(placed["focal_px"] / scale).float()
    Ks[:, :2, 2] = sizes / 2 + torch.from_numpy(off_middle)
    Ks[:, 2, 2] = 1
    confidence = np.where(found, n_inliers / (n_inliers + MIN_CONSISTENT), 0.0)
    status = [
        PoseStatus.UNREGISTERED if not f else PoseStatus.OK if n >= MIN_CONSISTENT else PoseStatus.LOW
        for f, n in zip(found, n_inliers)
    ]
    reasons = tuple(
        "" if s is PoseStatus.OK else f"only {n} of its matches with the model agree" for s, n in zip(status, n_inliers)
    )
    points: PointCloud = model.points
    return PoseResult(
        cameras=Cameras(
            torch.from_numpy(poses).float(),
            Ks,
            sizes[:, 0],
            sizes[:, 1],
            torch.from_numpy(found),
            torch.from_numpy(confidence).float(),
        ),
        points=points,
        status=tuple(status),
        reasons=reasons,
        n_observations=torch.from_numpy(np.where(found, n_inliers, 0)),
        reprojection_error_px=_reprojection_errors(arrays, placed, found) / torch.from_numpy(scale).float(),
        backend="localize",
    )


def _reprojection_errors(arrays: dict[str, NDArray], placed: dict[str, NDArray], found: NDArray) -> torch.Tensor:
    """Mean over each query's inliers, working pixels; NaN where it was not placed."""
    errors = np.full(len(found), np.nan)
    rows = zip(unpack("uv", arrays), unpack("xyz", arrays), unpack("inliers", placed))
    for q, (uv, xyz, flags) in enumerate(rows):
        if found[q]:
            keep = flags[:, 0].astype(bool)
            local = xyz[keep] @ placed["cam_from_world"][q, :3, :3].T + placed["cam_from_world"][q, :3, 3]
            projected = local[:, :2] / local[:, 2:] * placed["focal_px"][q] + arrays["sizes"][q] / 2
            errors[q] = np.linalg.norm(projected - uv[keep], axis=1).mean()
    return torch.from_numpy(errors).float()
