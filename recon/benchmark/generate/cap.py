"""The rig: where the cameras of a generated scene stand. Exact, and the same for every scene, as with a robot arm.

The world of generated scenes: metres, z up, the platform's top is z = 0, the object stands over the origin and the
middle camera looks along +y.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry import look_at
from recon.types import Cameras

RigSize = Literal[49, 64]

ROWS = ((60.0, 5), (52.0, 6), (44.0, 8), (36.0, 9), (28.0, 11), (20.0, 10))
"""Elevation in degrees and number of cameras of the rows of the first 49, from the top."""
FAR_ROWS = ((48.0, 5), (36.0, 5), (24.0, 5))
"""The same of the 15 further ones, which stand farther away."""
HALF_AZIMUTH_DEG = 44.0
"""Rows reach so far to either side."""
RADIUS_M = 0.65
FAR_RADIUS_M = 0.85
TARGET_M = (0.0, 0.0, 0.085)
"""What every camera looks at: the middle of an object of 17 cm."""
FOCAL_PER_WIDTH = 2892.33 / 1600
"""DTU's focal length, which SpaRe's cameras share, over the width of its pictures: a view of 31 degrees across."""


def cap_positions(count: RigSize = 49) -> Float[Tensor, "V 3"]:
    """Camera centres in metres: rows on a spherical cap around the target, to and fro from the top; float64.

    The first 49 lie `RADIUS_M` from the target, the 15 that make 64 of them `FAR_RADIUS_M`.
    """
    rows = [(RADIUS_M, *row) for row in ROWS]
    if count == 64:
        rows += [(FAR_RADIUS_M, *row) for row in FAR_ROWS]
    centers = []
    for number, (radius, elevation, n) in enumerate(rows):
        azimuths = torch.linspace(-HALF_AZIMUTH_DEG, HALF_AZIMUTH_DEG, n, dtype=torch.float64).deg2rad()
        flat = math.cos(math.radians(elevation))
        up = torch.full_like(azimuths, math.sin(math.radians(elevation)))
        row = radius * torch.stack([flat * azimuths.sin(), -flat * azimuths.cos(), up], dim=1)
        centers.append(row.flip(0) if number % 2 else row)
    return torch.cat(centers) + torch.tensor(TARGET_M, dtype=torch.float64)


def rig(count: RigSize, width: int, height: int) -> Cameras:
    """The rig's cameras for pictures of `width` x `height` pixels: one lens, principal point in the middle; float64."""
    eyes = cap_positions(count)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(eyes)
    poses = look_at(eyes, torch.tensor(TARGET_M, dtype=torch.float64).expand_as(eyes), up)
    focal = FOCAL_PER_WIDTH * width
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras.create(poses, K.repeat(len(eyes), 1, 1), width, height)
