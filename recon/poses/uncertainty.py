"""How well a model's own observations determine its focal length: the covariance of its bundle adjustment."""

import numpy as np
from numpy.typing import NDArray

from recon.poses.matches import Model, Tracks

MIN_NOISE_PX = 0.5
"""Keypoints are not better than this, however few of them there are to disagree."""
CORRELATED = 3.0
"""Errors of keypoints are not independent, and a few matches are wrong: the error of the focal length was 3 times what
the residuals say in the median of the right 3-photo cases."""
_SCALE_WEIGHT = 1e6


def focal_uncertainty(model: Model, tracks: Tracks) -> NDArray:
    """Relative standard deviation of each photo's focal length [V]; NaN for photos that are not in the model.

    Photos with exactly the same focal length share a lens. First-order covariance at the minimum (Triggs et al. 2000,
    "Bundle adjustment: a modern synthesis", section 9): points eliminated by the Schur complement, the first photo and
    the distance to the farthest one held still. The noise is taken from the residuals.
    """
    result = np.full(len(model.Ks), np.nan)
    placed = np.flatnonzero(model.registered)
    if len(placed) < 2 or len(model.observations) < 8:
        return result
    lenses, lens_of = np.unique(model.focal_px[placed], return_inverse=True)
    local, residuals = _in_cameras(model, tracks)
    J, Jp = _jacobians(model, local, placed, lens_of, len(lenses))
    noise = max(MIN_NOISE_PX, float(np.median(np.abs(residuals)) / 0.6745))
    normal = _reduced(J, Jp, model.observations[:, 0], len(model.xyz))
    normal += _fixed_scale(model, placed, normal.shape[0])
    kept = np.r_[6 : len(normal)]  # the first photo stays where it is
    covariance = np.linalg.pinv(normal[np.ix_(kept, kept)], hermitian=True, rcond=1e-14)
    variances = np.diag(covariance)[-len(lenses) :].clip(min=0)
    result[placed] = (CORRELATED * noise * np.sqrt(variances))[lens_of]  # of the logarithm: relative
    return result


def _in_cameras(model: Model, tracks: Tracks) -> tuple[NDArray, NDArray]:
    """Observed points in their photo's camera [O, 3], and the residuals [O, 2] in pixels."""
    point, photo, keypoint = model.observations.T
    pose = model.cam_from_world[photo]
    local = np.einsum("oij,oj->oi", pose[:, :3, :3], model.xyz[point]) + pose[:, :3, 3]
    Ks = model.Ks[photo]
    uv = local[:, :2] / local[:, 2:] * Ks[:, [0, 1], [0, 1]] + Ks[:, :2, 2]
    observed = np.array([tracks.keypoints[v][k] for v, k in zip(photo, keypoint)]).reshape(-1, 2)
    return local, uv - observed


def _jacobians(
    model: Model, local: NDArray, placed: NDArray, lens_of: NDArray, n_lenses: int
) -> tuple[NDArray, NDArray]:
    """Of the pixels by the cameras (rotation and shift of each placed photo, log focal of each lens) and the points."""
    photo = model.observations[:, 1]
    rows = np.searchsorted(placed, photo)
    x, y, z = local.T
    f, zero = model.focal_px[photo], np.zeros_like(x)
    by_local = np.stack([np.stack([f / z, zero, -f * x / z**2], 1), np.stack([zero, f / z, -f * y / z**2], 1)], 1)
    # a small turn w moves a point by w x p, that is by -[p]x w
    turned = -np.stack([np.stack([zero, -z, y], 1), np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1)], 1)
    J = np.zeros((len(photo), 2, 6 * len(placed) + n_lenses))
    o = np.arange(len(photo))[:, None]
    J[o, :, 6 * rows[:, None] + np.arange(3)] = (by_local @ turned).transpose(0, 2, 1)
    J[o, :, 6 * rows[:, None] + np.arange(3, 6)] = by_local.transpose(0, 2, 1)
    J[o[:, 0], :, 6 * len(placed) + lens_of[rows]] = np.stack([f * x / z, f * y / z], 1)
    return J, by_local @ model.cam_from_world[photo, :3, :3]


def _reduced(J: NDArray, Jp: NDArray, point: NDArray, n_points: int) -> NDArray:
    """The normal matrix of the cameras after the points were eliminated."""
    H = np.zeros((n_points, 3, 3))
    W = np.zeros((n_points, 3, J.shape[2]))
    np.add.at(H, point, np.einsum("oki,okj->oij", Jp, Jp))
    np.add.at(W, point, np.einsum("oki,okj->oij", Jp, J))
    H += 1e-12 * np.trace(H, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-300 * np.eye(3)
    flat = J.reshape(-1, J.shape[2])
    return flat.T @ flat - np.einsum("pic,pid->cd", W, np.linalg.solve(H, W), optimize=True)


def _fixed_scale(model: Model, placed: NDArray, size: int) -> NDArray:
    """A constraint on the distance between the first photo and the farthest, for the normal matrix."""
    first = np.linalg.inv(model.cam_from_world[placed[0]])
    relative = (model.cam_from_world[placed] @ first)[:, :3, 3]
    far = int(np.linalg.norm(relative, axis=1).argmax())
    row = np.zeros(size)
    row[6 * far + 3 : 6 * far + 6] = relative[far] / max(np.linalg.norm(relative[far]), 1e-12)
    scale = model.focal_px[placed[0]] / max(np.linalg.norm(relative[far]), 1e-12)
    return _SCALE_WEIGHT * np.outer(row, row) * scale**2
