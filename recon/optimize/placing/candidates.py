"""Poses that a photo might have: a viewing sphere round what the placed cameras look at, turns of a pose about its
vertical axis (twins of near-symmetric objects), and relative rotations chained through placed photos."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import inverse_se3, look_at, make_se3
from recon.geometry.so3 import exp_so3
from recon.optimize.placing.config import PlacingConfig
from recon.types import Cameras

CHAIN_STEPS = (-1.0, -0.5, 0.25, 0.5, 1.0, 2.0)
"""Lengths of a translation whose direction alone is known, in distances of the placed cameras from the focus. Both
signs: with few matches the side is as uncertain as the length."""
QUARTER_TURNS = (0.5 * math.pi, math.pi, 1.5 * math.pi)


@dataclass(frozen=True)
class Orbit:
    """Where the placed cameras stand and look."""

    focus: Float[Tensor, " 3"]
    up: Float[Tensor, " 3"]
    radius: float
    elevation: float
    """Median angle of the cameras above the horizontal plane through the focus, radians."""
    forward: Float[Tensor, " 3"]
    """Horizontal direction from the focus to the middle of the cameras, unit."""


def orbit_of(cameras: Cameras, xyz: Float[Tensor, "P 3"]) -> Orbit:
    """The orbit of placed cameras round the scene of points `xyz`.

    The focus is where the optical axes meet in the least-squares sense, pulled to the middle of what the cameras see:
    nearly parallel axes (a facade, a forward-facing scene) do not meet in any useful place.
    """
    centers, axes = cameras.centers, cameras.cam_from_world[:, 2, :3]
    depth = ((xyz[None] - centers[:, None]) * axes[:, None]).sum(-1)
    seen = (centers + axes * depth.clamp_min(0).median(1).values[:, None]).mean(0)
    projectors = torch.eye(3).to(axes) - axes[:, :, None] * axes[:, None]
    pull = 0.1 * torch.eye(3).to(axes)
    right_side = (projectors @ centers[..., None]).mean(0)[:, 0] + pull @ seen
    focus = torch.linalg.solve(projectors.mean(0) + pull, right_side)
    up = torch.nn.functional.normalize(-cameras.cam_from_world[:, 1, :3].mean(0), dim=0)
    offsets = centers - focus
    distance = offsets.norm(dim=1).clamp_min(1e-9)
    middle = offsets.mean(0) - (offsets.mean(0) @ up) * up
    if float(middle.norm()) < 1e-3 * float(distance.median()):  # cameras all round, or straight above
        middle = torch.linalg.cross(up, cameras.cam_from_world[0, 0, :3])
    elevation = float(torch.asin(((offsets @ up) / distance).clamp(-1, 1)).median())
    return Orbit(focus, up, float(distance.median()), elevation, torch.nn.functional.normalize(middle, dim=0))


def viewing_sphere(orbit: Orbit, config: PlacingConfig) -> Float[Tensor, "N 4 4"]:
    """Cameras all round the focus that look at it, upright."""
    side = torch.linalg.cross(orbit.up, orbit.forward)
    n_azimuths = max(1, round(360.0 / config.azimuth_step_deg))
    azimuths = [2 * math.pi * k / n_azimuths for k in range(n_azimuths)]
    eyes = []
    for elevation in (orbit.elevation + math.radians(e) for e in config.elevations_deg):
        if abs(elevation) > math.radians(80):
            continue
        for azimuth in azimuths:
            level = math.cos(azimuth) * orbit.forward + math.sin(azimuth) * side
            direction = math.cos(elevation) * level + math.sin(elevation) * orbit.up
            eyes += [orbit.focus + factor * orbit.radius * direction for factor in config.radii]
    eye = torch.stack(eyes)
    return look_at(eye, orbit.focus.expand_as(eye), orbit.up.expand_as(eye))


def turns(orbit: Orbit, poses: Float[Tensor, "N 4 4"]) -> Float[Tensor, "M 4 4"]:
    """Each pose turned by 90, 180 and 270 degrees about the vertical through the focus."""
    turned = []
    for angle in QUARTER_TURNS:
        R = exp_so3(angle * orbit.up)
        world_from_turned = make_se3(R, orbit.focus - R @ orbit.focus)
        turned.append(poses @ inverse_se3(world_from_turned))
    return torch.cat(turned)


def chains(
    orbit: Orbit, placed: Float[Tensor, "N 4 4"], cam_from_placed: Float[Tensor, "N 4 4"]
) -> Float[Tensor, "M 4 4"]:
    """Poses from relative poses to placed photos whose translations have no length: several lengths of each.

    Args:
        placed: `cam_from_world` of placed photos.
        cam_from_placed: the searched photo's pose relative to each of them; only the translation's direction counts.
    """
    poses = []
    for step in CHAIN_STEPS:
        relative = cam_from_placed.clone()
        relative[:, :3, 3] = torch.nn.functional.normalize(relative[:, :3, 3], dim=1) * step * orbit.radius
        poses.append(relative @ placed)
    return torch.cat(poses)
