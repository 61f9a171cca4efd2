"""Where pseudo-views go: on the lines between neighbouring photos' cameras, at first between, then beyond them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.geometry.se3 import interpolate_poses
from recon.optimize.gaps import neighbour_pairs
from recon.types import Cameras


def place_between(cameras: Cameras, count: int, beyond: float, jitter: float, generator: torch.Generator) -> Cameras:
    """`count` cameras near the lines between neighbours, each of the size and lens of the nearer end.

    The pairs take turns, from a random first; along each line the places are spread evenly and shaken.

    Args:
        cameras: at least two.
        beyond: how far the line is continued past either end, in units of its length.
        jitter: standard deviation of the displacement from the line, in units of its length.
        generator: on the CPU; draws the same numbers whatever the cameras.
    """
    pairs = neighbour_pairs(cameras)
    first = int(torch.randint(len(pairs), (1,), generator=generator))
    turns = -(-count // len(pairs))
    shifts = torch.rand(count, generator=generator)
    aside = jitter * torch.randn(count, 3, generator=generator)
    placed = []
    for k in range(count):
        i, j = pairs[(first + k) % len(pairs)]
        share = (k // len(pairs) + float(shifts[k])) / turns
        fraction = -beyond + (1 + 2 * beyond) * share
        pose = interpolate_poses(cameras.cam_from_world[i], cameras.cam_from_world[j], fraction).clone()
        length = (cameras.centers[i] - cameras.centers[j]).norm()
        pose[:3, 3] += length * aside[k].to(pose)  # in camera axes
        placed.append(_with_pose(cameras[i if fraction < 0.5 else j], pose))
    return joined(placed)


def joined(cameras: Sequence[Cameras]) -> Cameras:
    names = ("cam_from_world", "Ks", "width", "height", "registered", "confidence")
    return Cameras(*(torch.cat([getattr(camera, name) for camera in cameras]) for name in names))


def _with_pose(camera: Cameras, pose: Tensor) -> Cameras:
    return Cameras.create(pose[None], camera.Ks, camera.width, camera.height)
