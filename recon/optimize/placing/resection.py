"""The pose of a camera from points whose positions in its picture are known."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from recon.geometry.projection import directions_in_camera, project

ITERATIONS = 5000
MIN_POINTS = 8
MAX_PIXELS = 3.0
"""Distance of a match from its epipolar line."""


@dataclass(frozen=True)
class Resection:
    """A pose and the points that agree with it."""

    cam_from_world: Float[Tensor, "4 4"]
    inliers: Bool[Tensor, " M"]


def resect(
    uv: Float[Tensor, "M 2"], xyz: Float[Tensor, "M 3"], K: Float[Tensor, "3 3"], max_error_px: float, seed: int
) -> Resection | None:
    """PnP by RANSAC (SQPnP, Terzakis & Lourakis 2020) and Levenberg-Marquardt over the inliers; None if none is found.

    Args:
        uv, xyz: positions in the picture and in the world.
        max_error_px: largest reprojection error of an inlier.
    """
    if len(uv) < MIN_POINTS:
        return None
    points, pixels, lens = (t.double().cpu().numpy() for t in (xyz, uv, K))
    cv2.setRNGSeed(seed)
    found, rotation, translation, rows = cv2.solvePnPRansac(
        points, pixels, lens, None, iterationsCount=ITERATIONS, reprojectionError=max_error_px, confidence=0.9999,
        flags=cv2.SOLVEPNP_SQPNP,
    )  # fmt: skip
    if not found or rows is None or len(rows) < MIN_POINTS:
        return None
    kept = rows[:, 0]
    rotation, translation = cv2.solvePnPRefineLM(points[kept], pixels[kept], lens, None, rotation, translation)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], translation[:, 0]
    cam_from_world = torch.from_numpy(pose).to(xyz)
    return Resection(cam_from_world, agreeing(uv, xyz, cam_from_world, K, max_error_px))


def agreeing(
    uv: Float[Tensor, "M 2"],
    xyz: Float[Tensor, "M 3"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    max_error_px: float,
) -> Bool[Tensor, " M"]:
    """Which points a pose projects, from in front, to within `max_error_px` of where they were found."""
    projected, z = project(xyz, cam_from_world, K)
    return (z > 0) & ((projected - uv).norm(dim=1) < max_error_px)


def relative_pose(
    uv_a: Float[Tensor, "M 2"], uv_b: Float[Tensor, "M 2"], K_a: Float[Tensor, "3 3"], K_b: Float[Tensor, "3 3"]
) -> Float[Tensor, "4 4"] | None:
    """`b_from_a` with a translation of length 1 from matches (essential matrix by RANSAC); None if there is none."""
    if len(uv_a) < MIN_POINTS:
        return None
    a, b = (_in_camera(uv, K) for uv, K in ((uv_a, K_a), (uv_b, K_b)))
    threshold = MAX_PIXELS / float(K_a[0, 0])
    E, inliers = cv2.findEssentialMat(a, b, np.eye(3), method=cv2.RANSAC, prob=0.9999, threshold=threshold)
    if E is None or E.shape != (3, 3):
        return None
    _, rotation, translation, _ = cv2.recoverPose(E, a, b, np.eye(3), mask=inliers)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation[:, 0]
    return torch.from_numpy(pose).to(K_a)


def _in_camera(uv: Tensor, K: Tensor) -> NDArray[np.float64]:
    """Directions [M, 2] with z = 1 of pixel positions."""
    return directions_in_camera(uv, K)[:, :2].double().cpu().numpy()
