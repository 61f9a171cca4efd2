"""The world frame of a reconstruction whose photos carry none.

- The origin is the median of the points.
- +y is down (the photos' average down), so the y axis points as in COLMAP's models and in 3DGS viewers.
- +z is the horizontal part of the average viewing direction; x completes a right-handed frame.
- The median depth of the points over the photos that see them is 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PULL_TO_MEAN_UP = 0.05
"""How strongly the photos' average up weighs against 'cameras are held level'. Photos along an arc do not say what
is vertical by their x axes alone; those all round an object do, even when every one looks down at it."""


@dataclass(frozen=True)
class Similarity:
    """x_new = scale * R @ x_old + t."""

    scale: float
    R: NDArray
    t: NDArray

    def points(self, xyz: NDArray) -> NDArray:
        """[P, 3] old to new."""
        return self.scale * xyz @ self.R.T + self.t

    def cameras(self, cam_from_world: NDArray) -> NDArray:
        """[V, 4, 4] cameras of the old world to cameras of the new one, camera space scaled with it."""
        out = cam_from_world.copy()
        out[:, :3, :3] = cam_from_world[:, :3, :3] @ self.R.T
        out[:, :3, 3] = self.scale * cam_from_world[:, :3, 3] - out[:, :3, :3] @ self.t
        return out


def normalise(cam_from_world: NDArray, xyz: NDArray, seen_by: NDArray) -> Similarity:
    """The similarity that puts a reconstruction into the frame described above.

    Args:
        cam_from_world: [V, 4, 4], registered photos only.
        xyz: [P, 3].
        seen_by: [O, 2] of (point, row of `cam_from_world`).
    """
    R = _level(cam_from_world[:, :3, :3])
    poses = cam_from_world[seen_by[:, 1]]
    depths = np.einsum("oi,oi->o", poses[:, 2, :3], xyz[seen_by[:, 0]]) + poses[:, 2, 3]
    depth = float(np.median(depths)) if len(depths) else 1.0
    scale = 1.0 / max(depth, 1e-12)
    origin = np.median(xyz @ R.T, axis=0) if len(xyz) else np.zeros(3)
    return Similarity(scale, R, -scale * origin)


def _level(rotations: NDArray) -> NDArray:
    """The rotation whose rows are the new axes in the old world.

    Down minimises sum (x_v . down)^2 / V - PULL (mean_down . down)^2: level horizons, pulled to the average down.
    """
    mean_down = rotations[:, 1].sum(axis=0)
    mean_down = mean_down / max(np.linalg.norm(mean_down), 1e-12)
    spread = rotations[:, 0].T @ rotations[:, 0] / len(rotations)
    down = np.linalg.eigh(spread - PULL_TO_MEAN_UP * np.outer(mean_down, mean_down))[1][:, 0]
    down = down if down @ mean_down >= 0 else -down
    forward = rotations[:, 2].sum(axis=0)
    forward = forward - (forward @ down) * down
    if np.linalg.norm(forward) < 1e-3:  # straight down, or all round: any horizontal axis will do
        forward = np.cross(rotations[0, 0], down)
    forward = forward / np.linalg.norm(forward)
    return np.stack([np.cross(down, forward), down, forward])
