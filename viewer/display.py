"""Where the scene sits in the browser: a scaled and centred copy of the world, the up direction, and views in it.

The world's scale is arbitrary, the browser's is not: keyboard speed, clipping planes and the half floats in which
viser sends covariances (smallest step 6e-8) all assume a scene of ordinary size. So everything is shown in display
units, chosen such that what the cameras look at is `FOCUS_DEPTH` units away. One unit of a half-float covariance step
is then a standard deviation of 0.016 px in a 640 px photo.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import viser.transforms as vtf
from jaxtyping import Float

from recon.types import Cameras

FOCUS_DEPTH = 10.0
DEFAULT_FOV_RAD = math.radians(55.0)
_SAMPLE = 20_000

Vector = Float[np.ndarray, "3"]


@dataclass(frozen=True)
class DisplayFrame:
    """Display units from world units: `x_display = scale * (x_world - origin)`. Directions are shared."""

    scale: float
    origin: Vector
    """What the scene is about, in the world; the display's origin."""
    up: Vector
    """Unit vector that points up on the screen."""

    def points(self, xyz: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
        """World points in display units."""
        return (xyz - self.origin) * self.scale

    def world_points(self, xyz: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
        """Display points in world units."""
        return xyz / self.scale + self.origin

    def agrees_with(self, other: "DisplayFrame") -> bool:
        """Whether a view chosen in one is still a sensible view in the other."""
        shift = float(np.linalg.norm(self.points(other.origin)))
        return 0.5 < self.scale / other.scale < 2.0 and shift < 0.5 * FOCUS_DEPTH


@dataclass(frozen=True)
class View:
    """A way to look at the scene, in display units."""

    position: Vector
    look_at: Vector
    """The point one orbits about; on the optical axis."""
    up: Vector
    """Up in the picture: at right angles to the optical axis."""
    fov_y_rad: float
    aspect: float
    """Width over height of the picture that should be visible as a whole."""

    def fov_in_window(self, window_aspect: float) -> float:
        """Vertical field of view (radians) that shows the whole picture in a window of another shape."""
        tan_y = math.tan(self.fov_y_rad / 2.0)
        return 2.0 * math.atan(tan_y * max(1.0, self.aspect / max(window_aspect, 1e-6)))

    def orbit_up(self, scene_up: Vector) -> Vector:
        """The axis to orbit about: as near to `scene_up` as this picture, roll included, allows."""
        right = np.cross(self.look_at - self.position, self.up)
        right = right / np.linalg.norm(right)
        axis = scene_up - (scene_up @ right) * right
        return axis / np.linalg.norm(axis) if axis @ self.up > 0.05 else self.up

    @property
    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """world_from_cam rotation, OpenCV axes."""
        z = self.look_at - self.position
        z = z / np.linalg.norm(z)
        x = np.cross(z, self.up)
        x = x / np.linalg.norm(x)
        return np.stack([x, np.cross(z, x), z], axis=1)


def fit_display(cameras: Cameras | None, xyz: Float[np.ndarray, "P 3"]) -> DisplayFrame:
    """The display frame of a scene, from its cameras and the points (or Gaussian centres) they look at."""
    if len(xyz) > _SAMPLE:
        xyz = xyz[np.random.default_rng(0).choice(len(xyz), _SAMPLE, replace=False)]
    xyz = xyz[np.isfinite(xyz).all(axis=1)].astype(np.float64)
    placed = placed_indices(cameras)
    if cameras is None or not placed:
        return _fit_points_only(xyz)
    poses = cameras.cam_from_world[placed].detach().cpu().double().numpy()
    centers = -np.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3])
    depth, focus = _focus(poses, centers, xyz)
    up = -poses[:, 1, :3].mean(axis=0)
    if np.linalg.norm(up) < 0.1:  # photos taken all around the horizon: no common up
        up = -poses[0, 1, :3]
    return DisplayFrame(FOCUS_DEPTH / depth, focus, up / np.linalg.norm(up))


def _focus(
    poses: Float[np.ndarray, "V 4 4"], centers: Float[np.ndarray, "V 3"], xyz: Float[np.ndarray, "P 3"]
) -> tuple[float, Vector]:
    """Median depth of the points in front of the cameras, and the middle of those points."""
    if len(xyz):
        z = np.einsum("vi,pi->vp", poses[:, 2, :3], xyz) + poses[:, 2, 3:]
        seen = (z > 0).any(axis=0)
        if seen.any():
            return float(np.median(z[z > 0])), np.median(xyz[seen], axis=0)
    spread = float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max())
    depth = 2.0 * spread if spread > 0 else 1.0
    return depth, (centers + depth * poses[:, 2, :3]).mean(axis=0)


def _fit_points_only(xyz: Float[np.ndarray, "P 3"]) -> DisplayFrame:
    """Without cameras: up is -y, as files made from COLMAP or OpenCV poses have it."""
    up = np.array([0.0, -1.0, 0.0])
    if not len(xyz):
        return DisplayFrame(1.0, np.zeros(3), up)
    middle = np.median(xyz, axis=0)
    radius = float(np.quantile(np.linalg.norm(xyz - middle, axis=1), 0.9))
    return DisplayFrame(FOCUS_DEPTH / max(2.6 * radius, 1e-9), middle, up)


def placed_indices(cameras: Cameras | None) -> list[int]:
    """Indices of the cameras that were placed."""
    return [] if cameras is None else torch.nonzero(cameras.registered)[:, 0].tolist()


def camera_view(cameras: Cameras, index: int, frame: DisplayFrame) -> View:
    """The view that one photo has."""
    pose = cameras.cam_from_world[index].detach().cpu().double().numpy()
    K = cameras.Ks[index].detach().cpu().double().numpy()
    width, height = float(cameras.width[index]), float(cameras.height[index])
    forward, up = pose[2, :3], -pose[1, :3]
    position = frame.points(-pose[:3, :3].T @ pose[:3, 3])
    distance = float(np.clip(-position @ forward, 0.2 * FOCUS_DEPTH, 2.0 * FOCUS_DEPTH))
    tan_x, tan_y = width / K[0, 0], height / K[1, 1]
    return View(position, position + distance * forward, up, 2.0 * math.atan(tan_y / 2.0), tan_x / tan_y)


def first_view(cameras: Cameras | None, frame: DisplayFrame) -> View:
    """The view to open with: the input camera in the middle of the others, else the scene from the front."""
    placed = placed_indices(cameras)
    if cameras is None or not placed:
        front = np.array([0.0, 0.0, -FOCUS_DEPTH])
        return View(front, np.zeros(3), frame.up, DEFAULT_FOV_RAD, 1.0)
    views = [camera_view(cameras, i, frame) for i in placed]
    positions = np.stack([view.position for view in views])
    return views[int(np.linalg.norm(positions - positions.mean(axis=0), axis=1).argmin())]


def window_camera(
    wxyz: Float[np.ndarray, "4"],
    position: Vector,
    fov_y_rad: float,
    size: tuple[int, int],
    frame: DisplayFrame,
) -> Cameras:
    """A browser window's camera as one of ours, in the world.

    Args:
        wxyz, position: world_from_cam in display units, OpenCV axes, as viser reports it.
        size: (width, height) of the picture wanted, in pixels.
    """
    width, height = size
    pose = np.eye(4)
    pose[:3, :3] = vtf.SO3(np.asarray(wxyz, dtype=np.float64)).as_matrix().T
    pose[:3, 3] = -pose[:3, :3] @ frame.world_points(np.asarray(position, dtype=np.float64))
    focal = 0.5 * height / math.tan(fov_y_rad / 2.0)
    K = torch.tensor([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])
    return Cameras.create(torch.from_numpy(pose).float()[None], K[None], width, height)


def view_camera(view: View, size: tuple[int, int], frame: DisplayFrame) -> Cameras:
    """The camera of a picture of `size` (width, height) that shows all that `view` shows."""
    wxyz = vtf.SO3.from_matrix(view.rotation).wxyz
    return window_camera(wxyz, view.position, view.fov_in_window(size[0] / size[1]), size, frame)
