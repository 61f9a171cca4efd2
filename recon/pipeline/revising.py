"""What a second look at a photo changes in the poses: placed, confirmed, doubted or taken out."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.spatial import cKDTree
from torch import Tensor

from recon.geometry.projection import project
from recon.optimize.placing import Decision, Evidence
from recon.poses.diagnose import MIN_CONSISTENT
from recon.types import ImageSet, PairDiagnostics, PointCloud, PoseResult, PoseStatus

DOUBTED_CONFIDENCE = 0.1
SURE_AGREEMENT = 0.4
"""Agreement from which a photo placed here may be called `ok`. The mirrored photo of a symmetric facade, which has a
place that nearly fits, reached 0.27 and 0.33; photos put back among their neighbours 0.5 to 0.76."""
SAME_PLACE = 0.005
"""Of a photo's longest side: as near as this to both ends of a match, a point is the one that the match shows."""
LEAST_POINTS = 8
"""With fewer points without a photo, all stay: where nothing is known of the scene stereo finds nothing either."""


def with_placement(images: ImageSet, result: PoseResult, v: int, decision: Decision) -> PoseResult:
    """`result` with photo v where it was found: `ok` with the matches that `poses.localize` asks for, if it also looks
    right beyond doubt."""
    placement = decision.found
    assert placement is not None, "only a photo that was found can be placed"
    cameras = result.cameras
    cam_from_world, registered = cameras.cam_from_world.clone(), cameras.registered.clone()
    confidence, n_seen = cameras.confidence.clone(), result.n_observations.clone()
    errors = result.reprojection_error_px.clone()
    n = placement.evidence.inliers
    points = points_of_others(result, v) if registered[v] else result.points
    cam_from_world[v], registered[v] = placement.cam_from_world, True
    confidence[v], n_seen[v] = n / (n + MIN_CONSISTENT), n
    uv, _ = project(placement.xyz, placement.cam_from_world, cameras.Ks[v])
    errors[v] = (uv - placement.uv).norm(dim=1).mean()
    good = is_sure(placement.evidence)
    reason = "" if good else f"placed after the first reconstruction, by {n} matches with renderings of the others"
    moved = replace(
        result,
        cameras=replace(cameras, cam_from_world=cam_from_world, registered=registered, confidence=confidence),
        points=_joined(points, placement.xyz, _colors(images.images[v], placement.uv)),
        n_observations=n_seen,
        reprojection_error_px=errors,
    )
    return _relabelled(moved, v, PoseStatus.OK if good else PoseStatus.LOW, reason)


def is_sure(seen: Evidence | None) -> bool:
    """Whether the others' points speak so well for a place that the photo may be called `ok`."""
    return seen is not None and seen.inliers >= MIN_CONSISTENT and seen.agreement >= SURE_AGREEMENT


def with_confirmation(result: PoseResult, v: int, decision: Decision) -> PoseResult:
    """`result` with photo v `ok`, which its matches did not suffice for."""
    assert decision.before is not None, "a place that is confirmed has been judged"
    n = decision.before.inliers
    confidence = result.cameras.confidence.clone()
    confidence[v] = confidence[v].clamp(min=n / (n + MIN_CONSISTENT))
    return _relabelled(result, v, PoseStatus.OK, "", confidence=confidence)


def without_photo(result: PoseResult, v: int) -> PoseResult:
    """`result` with photo v taken out."""
    cam_from_world = result.cameras.cam_from_world.clone()
    registered, confidence = result.cameras.registered.clone(), result.cameras.confidence.clone()
    cam_from_world[v], registered[v], confidence[v] = torch.eye(4), False, 0.0
    n_seen, errors = result.n_observations.clone(), result.reprojection_error_px.clone()
    n_seen[v], errors[v] = 0, torch.nan
    reason = (
        "where its matches put it, the other photos' points show something else, and no better place was found; "
        "add a photo between it and its neighbours"
    )
    cameras = {"cam_from_world": cam_from_world, "registered": registered, "confidence": confidence}
    out = _relabelled(result, v, PoseStatus.UNREGISTERED, reason, **cameras)
    return replace(out, points=points_of_others(result, v), n_observations=n_seen, reprojection_error_px=errors)


def with_doubt(result: PoseResult, v: int) -> PoseResult:
    """`result` with photo v no longer `ok`: what the others see is not what it shows."""
    confidence = result.cameras.confidence.clone()
    confidence[v] = confidence[v].clamp(max=DOUBTED_CONFIDENCE)
    reason = "the points of the other photos do not confirm its place"
    return _relabelled(result, v, PoseStatus.LOW, reason, confidence=confidence)


def _relabelled(result: PoseResult, v: int, label: PoseStatus, reason: str, **cameras: Tensor) -> PoseResult:
    status, reasons = list(result.status), list(result.reasons)
    status[v], reasons[v] = label, reason
    return replace(result, cameras=replace(result.cameras, **cameras), status=tuple(status), reasons=tuple(reasons))


def points_of_others(result: PoseResult, v: int) -> PointCloud:
    """The sparse points without those that matches of photo v show, and no match of two others does. They are as wrong
    as its place was, and would have stereo search at depths where nothing is."""
    own, others = (torch.zeros(len(result.points), dtype=torch.bool) for _ in range(2))
    for pair in result.pairs:
        mask = own if v in (pair.i, pair.j) else others
        mask |= _shown(result, pair)
    kept = others | ~own
    return result.points if int(kept.sum()) < LEAST_POINTS else result.points[kept]


def _shown(result: PoseResult, pair: PairDiagnostics) -> Bool[Tensor, " P"]:
    """The sparse points that lie at both ends of one of the pair's matches."""
    both, none = [pair.i, pair.j], torch.zeros(len(result.points), dtype=torch.bool)
    if pair.points_i is None or len(pair.points_i) == 0 or not bool(result.cameras.registered[both].all()):
        return none
    assert pair.points_j is not None, "a pair's positions come together"
    unit = [max(int(result.cameras.width[k]), int(result.cameras.height[k])) for k in both]
    ends = np.concatenate([pair.points_i.numpy() / unit[0], pair.points_j.numpy() / unit[1]], axis=1)
    seen = np.concatenate([_in_sides(result, k, result.points.xyz) for k in both], axis=1)
    apart, _ = cKDTree(ends).query(seen, p=np.inf, distance_upper_bound=SAME_PLACE)
    return torch.from_numpy(np.isfinite(apart))


def _in_sides(result: PoseResult, view: int, xyz: Float[Tensor, "P 3"]) -> Float64[np.ndarray, "P 2"]:
    """Where a photo shows points, in longest sides; far off what is behind it."""
    cameras = result.cameras
    uv, z = project(xyz, cameras.cam_from_world[view], cameras.Ks[view])
    side = max(int(cameras.width[view]), int(cameras.height[view]))
    return torch.where((z > 0)[:, None], uv / side, -9.0).nan_to_num(-9.0).double().numpy()


def _joined(points: PointCloud, xyz: Tensor, rgb: Tensor) -> PointCloud:
    """The sparse points and those a new photo was placed by, at the confidence of two clean observations."""
    confidence = torch.full((len(xyz),), 2 / 3)
    return PointCloud(
        torch.cat([points.xyz, xyz]), torch.cat([points.rgb, rgb]), torch.cat([points.confidence, confidence])
    )


def _colors(image: Float[Tensor, "H W 3"], uv: Float[Tensor, "M 2"]) -> Float[Tensor, "M 3"]:
    """Of the pixels at the positions."""
    column = uv[:, 0].floor().long().clamp(0, image.shape[1] - 1)
    row = uv[:, 1].floor().long().clamp(0, image.shape[0] - 1)
    return image[row, column]
