"""How well a model's own observations determine its focal length: the covariance of its bundle adjustment."""

import numpy as np
from numpy.typing import NDArray

from recon.poses.matches import Model, Tracks
from recon.poses.normal_equations import CORRELATED, Layout, Normal, jacobians, noise_of, residuals

_SCALE_WEIGHT = 1e6


def focal_uncertainty(model: Model, tracks: Tracks) -> NDArray:
    """Relative standard deviation of each photo's focal length [V]; NaN for photos that are not in the model.

    Photos of one size with exactly the same focal length share a lens. First-order covariance at the minimum (Triggs et
    al. 2000, "Bundle adjustment: a modern synthesis", section 9): points eliminated by the Schur complement, the first
    photo and the distance to the farthest one held still. The noise is taken from the residuals.
    """
    result = np.full(len(model.Ks), np.nan)
    layout = Layout.of(model)
    if len(layout.placed) < 2 or len(model.observations) < 8:
        return result
    local, residual = residuals(model, tracks)
    J, Jp = jacobians(model, local, layout)
    normal = Normal.of(J, Jp, model.observations[:, 0], len(model.xyz)).without_points()
    normal += _fixed_scale(model, layout.placed, len(normal))
    kept = np.r_[6 : len(normal)]  # the first photo stays where it is
    covariance = np.linalg.pinv(normal[np.ix_(kept, kept)], hermitian=True, rcond=1e-14)
    variances = np.diag(covariance)[-layout.n_lenses :].clip(min=0)
    result[layout.placed] = (CORRELATED * noise_of(residual) * np.sqrt(variances))[layout.lens_of]  # of the logarithm
    return result


def _fixed_scale(model: Model, placed: NDArray, size: int) -> NDArray:
    """A constraint on the distance between the first photo and the farthest, for the normal matrix."""
    first = np.linalg.inv(model.cam_from_world[placed[0]])
    relative = (model.cam_from_world[placed] @ first)[:, :3, 3]
    far = int(np.linalg.norm(relative, axis=1).argmax())
    row = np.zeros(size)
    row[6 * far + 3 : 6 * far + 6] = relative[far] / max(np.linalg.norm(relative[far]), 1e-12)
    scale = model.focal_px[placed[0]] / max(np.linalg.norm(relative[far]), 1e-12)
    return _SCALE_WEIGHT * np.outer(row, row) * scale**2
