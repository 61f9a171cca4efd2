"""Principal points: the last adjustment of a model, which lets each lens look a little beside the middle of its photos.

The mapper holds principal points in the middle, since a few photos hardly tell them from a turn of the camera. They are
off by half a percent of a photo's length often enough (fountain-P11 and Herz-Jesu-P25: 0.5 and 0.6), and then every
camera is turned and shifted a little to make up for it. What is known beforehand settles it: a normal prior about the
middle, so that the principal point moves as far as the photos say more than it does.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from recon.poses.matches import Model, Tracks
from recon.poses.normal_equations import CORRELATED, Layout, Normal, jacobians, noise_of, residuals, summed

OFF_MIDDLE = 0.005
"""Standard deviation of a principal point about the middle, in longest sides."""
SAME_FOCAL = 0.01
"""Relative standard deviation of a focal length about that of the model, which was adjusted, or kept from EXIF."""
ROBUST_PX = 0.5
"""Scale of the Cauchy loss, as in the mapper's own last adjustment."""
STEPS, CONVERGED = 15, 1e-6
"""Steps at most, and the relative decrease of the cost at which they end."""
DAMPING = 1e-4
"""Of the first step, relative to the diagonal (Levenberg-Marquardt)."""
MIN_DEPTH = 1e-6


def settle_principal_points(model: Model, tracks: Tracks) -> Model:
    """The model with poses, points, focal lengths and principal points adjusted together to its observations.

    Maximum a posteriori: Cauchy loss on reprojection, the noise from the residuals times `CORRELATED`, and the priors
    `OFF_MIDDLE` and `SAME_FOCAL`. The principal points of `model` must lie in the middle of the photos. Returned as it
    was where fewer than three photos are placed.
    """
    if model.registered.sum() < 3 or not len(model.observations):
        return model
    problem = _Problem(model, tracks)
    damping, cost = DAMPING, problem.cost(model)
    for _ in range(STEPS):
        equations = problem.linearised(model)
        for _ in range(8):
            moved = problem.moved(model, *equations.step(damping))
            lower = problem.cost(moved)
            if lower < cost:
                break
            damping *= 10
        else:
            break
        converged = cost - lower < CONVERGED * cost
        model, cost, damping = moved, lower, max(damping / 10, 1e-10)
        if converged:
            break
    return model


@dataclass(frozen=True)
class _Equations:
    """The normal equations at one place, and their right sides."""

    normal: Normal
    by_cameras: NDArray
    """[C]."""
    by_points: NDArray
    """[P, 3]."""

    def step(self, damping: float) -> tuple[NDArray, NDArray]:
        """What to add to cameras and lenses [C] and to points [P, 3], damped by a part of the diagonal."""
        normal, pulls = self.normal.damped(damping), self.by_points[:, :, None]
        right = self.by_cameras - np.einsum("pic,pik->c", normal.mixed, normal.solve_points(pulls))
        cameras = -np.linalg.lstsq(normal.without_points(), right, rcond=1e-14)[0]
        points = -normal.solve_points(pulls + (normal.mixed @ cameras)[:, :, None])
        return cameras, points[:, :, 0]


class _Problem:
    """What does not change while a model is adjusted."""

    def __init__(self, model: Model, tracks: Tracks) -> None:
        self.tracks = tracks
        self.layout = Layout.of(model, principal_points=True)
        firsts = [int(self.layout.placed[self.layout.lens_of == lens][0]) for lens in range(self.layout.n_lenses)]
        self.firsts = np.array(firsts)
        self.before = self._lenses(model)
        off_middle = OFF_MIDDLE * 2 * model.Ks[self.firsts, :2, 2].max(axis=1)
        self.sigma = np.column_stack([np.full(len(firsts), SAME_FOCAL), off_middle, off_middle])
        self.variance = (CORRELATED * noise_of(residuals(model, tracks)[1])) ** 2

    def cost(self, model: Model) -> float:
        """Twice the negative logarithm of the posterior; infinite with a point behind a camera."""
        local, residual = residuals(model, self.tracks)
        if local[:, 2].min() < MIN_DEPTH:
            return math.inf
        robust = ROBUST_PX**2 * np.log1p((residual**2).sum(axis=1) / ROBUST_PX**2)
        prior = ((self._lenses(model) - self.before) / self.sigma) ** 2
        return float(robust.sum() / self.variance + prior.sum())

    def linearised(self, model: Model) -> _Equations:
        """About `model`, with the Cauchy loss as weights of the observations."""
        local, residual = residuals(model, self.tracks)
        point, n_points = model.observations[:, 0], len(model.xyz)
        J, Jp = jacobians(model, local, self.layout)
        weight = 1 / (1 + (residual**2).sum(axis=1) / ROBUST_PX**2) / self.variance
        normal = Normal.of(J, Jp, point, n_points, weight)
        pulled = weight[:, None] * residual
        by_cameras = np.einsum("okc,ok->c", J, pulled)
        by_points = summed(np.einsum("oki,ok->oi", Jp, pulled), point, n_points)
        of_lenses = np.arange(self.layout.lens(0), self.layout.size)
        normal.cameras[of_lenses, of_lenses] += (1 / self.sigma**2).reshape(-1)
        by_cameras[of_lenses] += ((self._lenses(model) - self.before) / self.sigma**2).reshape(-1)
        return _Equations(normal, by_cameras, by_points)

    def moved(self, model: Model, cameras: NDArray, points: NDArray) -> Model:
        """The model after a step."""
        poses, Ks = model.cam_from_world.copy(), model.Ks.copy()
        for k, v in enumerate(self.layout.placed):
            turn, shift = cameras[6 * k : 6 * k + 3], cameras[6 * k + 3 : 6 * k + 6]
            poses[v, :3] = cv2.Rodrigues(turn)[0] @ poses[v, :3]
            poses[v, :3, 3] += shift
            lens = self.layout.lens(int(self.layout.lens_of[k]))
            Ks[v, [0, 1], [0, 1]] *= np.exp(cameras[lens])
            Ks[v, :2, 2] += cameras[lens + 1 : lens + 3]
        return replace(model, cam_from_world=poses, Ks=Ks, xyz=model.xyz + points)

    def _lenses(self, model: Model) -> NDArray:
        """Logarithm of the focal length and principal point of each lens, [lenses, 3]."""
        return np.column_stack([np.log(model.focal_px[self.firsts]), model.Ks[self.firsts, :2, 2]])
