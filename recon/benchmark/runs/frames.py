"""Where the test cameras are in the world that a method chose for itself."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import PoseError
from recon.geometry.sim3 import Sim3, umeyama
from recon.types import Cameras


def to_method_frame(tests: Cameras, true_inputs: Cameras, inputs: Cameras) -> Cameras:
    """The true test cameras in the world of the estimated `inputs`, by what fits the inputs alone.

    The estimated lens is part of a method's frame: a wrong focal length is made up for by distance, a wrong principal
    point by a turn. So the test cameras' focal length is scaled by the median ratio of estimated to true focal length
    of the inputs, and their principal point shifted by the median difference, in focal lengths.

    Args:
        tests, true_inputs: in the true world.
        inputs: the same photos as `true_inputs`, in pixels of the same size.

    Raises:
        PoseError: fewer than two inputs were placed, or all on one spot.
    """
    placed = inputs.registered
    if int(placed.sum()) < 2:
        raise PoseError(f"{int(placed.sum())} of {len(inputs)} input photos were placed; at least 2 are needed.")
    similarity = fit_frames(true_inputs[placed], inputs[placed])
    ratio = (inputs.Ks[placed, 0, 0] / true_inputs.Ks[placed, 0, 0]).median()
    Ks = tests.Ks.clone()
    Ks[:, 0, 0] *= ratio
    Ks[:, 1, 1] *= ratio
    off = (inputs.Ks[placed, :2, 2] - true_inputs.Ks[placed, :2, 2]) / inputs.Ks[placed, 0, 0, None]
    Ks[:, :2, 2] += off.median(dim=0).values * Ks[:, 0, 0, None]
    moved = similarity.apply_poses(tests.cam_from_world.double())
    return replace(tests, cam_from_world=moved.to(tests.cam_from_world), Ks=Ks)


def fit_frames(source: Cameras, target: Cameras) -> Sim3:
    """The similarity that takes the cameras of `source` to those of `target`, in float64.

    Umeyama's fit of the centres alone leaves the turn about their line open when they stand in a row, as two always
    and three often do. So each camera also brings the tips of its axes, as long as its set is wide.

    Raises:
        PoseError: all centres of a set coincide.
    """
    return umeyama(_tripods(source), _tripods(target))


def _tripods(cameras: Cameras) -> Float[Tensor, "P 3"]:
    """Centres and tips of the axes, four points a camera."""
    centers = cameras.centers.double()
    width = (centers - centers.mean(0)).square().sum(1).mean().sqrt()
    if not float(width) > 1e-9 * float(centers.abs().max().clamp_min(1e-30)):
        raise PoseError("All input photos were placed on one spot; nothing tells the size of the scene.")
    axes = cameras.cam_from_world[:, :3, :3].double()  # rows: the camera's axes in the world
    return torch.cat([centers[:, None], centers[:, None] + width * axes], dim=1).reshape(-1, 3)
