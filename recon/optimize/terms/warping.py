"""Looking at one picture through another camera's depth, with gradients to the depth and the picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import weighted_mean
from recon.stereo.warp import positions_in_view, sample_image
from recon.types import Cameras

TOLERANCE = 0.03
"""Relative distance behind the other camera's surface from which a point is hidden there."""
TRUSTED = 0.2
"""Colour difference beyond which there is no pull: occlusions and highlights must not bend the surface."""


def positions_and_weight(
    depth: Float[Tensor, "H W"], camera: Cameras, depth_other: Float[Tensor, "h w"], other: Cameras
) -> tuple[Float[Tensor, "H W 2"], Float[Tensor, "H W"]]:
    """Where pixels of `camera` lie in `other` (both V = 1), and 1 where they are seen there, 0 elsewhere."""
    uv, z, valid = positions_in_view(depth, camera, other)
    surface = sample_image(depth_other.detach()[..., None], uv.detach(), mode="nearest")[..., 0]
    seen = valid & (surface > 0) & (z.detach() <= surface * (1 + TOLERANCE))
    return uv, seen.to(depth)


def robust_difference(
    a: Float[Tensor, "H W 3"], b: Float[Tensor, "H W 3"], weight: Float[Tensor, "H W"]
) -> Float[Tensor, ""]:
    """Weighted mean of the colour difference, clamped at `TRUSTED`."""
    return weighted_mean((a - b).abs().mean(-1).clamp(max=TRUSTED), weight)


def moved_sideways(camera: Cameras, distance: float) -> Cameras:
    """The same camera, `distance` (world units) further along its own x axis."""
    shift = torch.eye(4).to(camera.cam_from_world)
    shift[0, 3] = -distance
    return Cameras.create(shift @ camera.cam_from_world, camera.Ks, camera.width, camera.height)
