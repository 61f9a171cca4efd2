"""The linear algebra of bundle adjustment: residuals, their derivatives by cameras and points, points eliminated.

Everything is numpy, in working pixels. A camera's unknowns are a small turn and a shift (applied from the left), a
lens' the logarithm of its focal length and, where wanted, its principal point.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recon.poses.matches import Model, Tracks

MIN_NOISE_PX = 0.5
"""Keypoints are not better than this, however few of them there are to disagree."""
CORRELATED = 3.0
"""Errors of keypoints are not independent, and a few matches are wrong: the error of the focal length was 3 times what
the residuals say in the median of the right 3-photo cases."""


@dataclass(frozen=True)
class Layout:
    """Which unknown stands in which column: 6 for each placed photo, then those of each lens."""

    placed: NDArray
    """Photos of the model."""
    lens_of: NDArray
    """Of each of these, the number of its lens: photos of one size with exactly the same focal length share one."""
    n_lenses: int
    per_lens: int
    """1: the focal length alone; 3: the principal point as well."""

    @staticmethod
    def of(model: Model, *, principal_points: bool = False) -> "Layout":
        placed = np.flatnonzero(model.registered)
        rows = model.Ks[placed][:, [0, 0, 1], [0, 2, 2]]
        lenses, lens_of = np.unique(rows, axis=0, return_inverse=True)
        return Layout(placed, lens_of.reshape(-1), len(lenses), 3 if principal_points else 1)

    @property
    def size(self) -> int:
        return 6 * len(self.placed) + self.per_lens * self.n_lenses

    def lens(self, number: int) -> int:
        """The first column of a lens."""
        return 6 * len(self.placed) + self.per_lens * number


def residuals(model: Model, tracks: Tracks) -> tuple[NDArray, NDArray]:
    """Observed points in their photo's camera [O, 3], and projected minus observed positions [O, 2] in pixels."""
    point, photo, keypoint = model.observations.T
    pose = model.cam_from_world[photo]
    local = np.einsum("oij,oj->oi", pose[:, :3, :3], model.xyz[point]) + pose[:, :3, 3]
    Ks = model.Ks[photo]
    uv = local[:, :2] / local[:, 2:] * Ks[:, [0, 1], [0, 1]] + Ks[:, :2, 2]
    observed = np.array([tracks.keypoints[v][k] for v, k in zip(photo, keypoint)]).reshape(-1, 2)
    return local, uv - observed


def noise_of(residual: NDArray) -> float:
    """Standard deviation of a keypoint in pixels, from the residuals, as if they were independent."""
    return max(MIN_NOISE_PX, float(np.median(np.abs(residual)) / 0.6745))


def jacobians(model: Model, local: NDArray, layout: Layout) -> tuple[NDArray, NDArray]:
    """Of the pixels by the unknowns of cameras and lenses [O, 2, C] and by their point [O, 2, 3]."""
    photo = model.observations[:, 1]
    rows = np.searchsorted(layout.placed, photo)
    x, y, z = local.T
    f, zero = model.focal_px[photo], np.zeros_like(x)
    by_local = np.stack([np.stack([f / z, zero, -f * x / z**2], 1), np.stack([zero, f / z, -f * y / z**2], 1)], 1)
    # a small turn w moves a point by w x p, that is by -[p]x w
    turned = -np.stack([np.stack([zero, -z, y], 1), np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1)], 1)
    J = np.zeros((len(photo), 2, layout.size))
    o = np.arange(len(photo))
    J[o[:, None], :, 6 * rows[:, None] + np.arange(3)] = (by_local @ turned).transpose(0, 2, 1)
    J[o[:, None], :, 6 * rows[:, None] + np.arange(3, 6)] = by_local.transpose(0, 2, 1)
    lens = layout.lens(0) + layout.per_lens * layout.lens_of[rows]
    J[o, :, lens] = np.stack([f * x / z, f * y / z], 1)
    if layout.per_lens == 3:
        J[o, 0, lens + 1] = J[o, 1, lens + 2] = 1.0
    return J, by_local @ model.cam_from_world[photo, :3, :3]


@dataclass(frozen=True)
class Normal:
    """The normal equations, split into what belongs to cameras and lenses and what belongs to the points."""

    cameras: NDArray
    """[C, C]."""
    points: NDArray
    """[P, 3, 3]."""
    mixed: NDArray
    """[P, 3, C]."""

    @staticmethod
    def of(J: NDArray, Jp: NDArray, point: NDArray, n_points: int, weight: NDArray | None = None) -> "Normal":
        """From the derivatives, with a weight for each observation [O]."""
        w = np.ones(len(point)) if weight is None else weight
        flat, weighted = J.reshape(-1, J.shape[2]), (J * w[:, None, None]).reshape(-1, J.shape[2])
        return Normal(
            weighted.T @ flat,
            summed(np.einsum("o,oki,okj->oij", w, Jp, Jp), point, n_points),
            summed(np.einsum("o,oki,okj->oij", w, Jp, J), point, n_points),
        )

    def damped(self, damping: float) -> "Normal":
        """With a part of the diagonal added to it (Levenberg-Marquardt)."""
        diagonal = np.einsum("pii->pi", self.points)[:, :, None] * np.eye(3)
        cameras = self.cameras + damping * np.diag(np.diag(self.cameras))
        return Normal(cameras, self.points + damping * diagonal, self.mixed)

    def without_points(self) -> NDArray:
        """[C, C] with the points eliminated (the Schur complement)."""
        return self.cameras - np.einsum("pic,pid->cd", self.mixed, self.solve_points(self.mixed), optimize=True)

    def solve_points(self, right: NDArray) -> NDArray:
        """The inverse of each point's own block, times [P, 3, K]."""
        trace = np.trace(self.points, axis1=1, axis2=2)[:, None, None]
        return np.linalg.solve(self.points + (1e-12 * trace + 1e-300) * np.eye(3), right)


def summed(values: NDArray, point: NDArray, n_points: int) -> NDArray:
    """Sums of `values` [O, ...] over the observations of each point, [P, ...]."""
    member = csr_matrix((np.ones(len(point)), (point, np.arange(len(point)))), shape=(n_points, len(point)))
    return np.asarray(member @ values.reshape(len(point), -1)).reshape(n_points, *values.shape[1:])
