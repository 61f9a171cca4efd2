"""A ball in a box, coloured by position, and photos of it: what small fields are fitted to."""

import math

import torch

from recon.fields import Box, FieldConfig, Occupancy, RadianceField, render_field
from recon.geometry import look_at
from recon.sparse import HashGridConfig
from recon.types import Cameras, PointCloud, PosedScene

SMALL = FieldConfig(
    HashGridConfig(levels=4, features=2, log2_entries=10, coarsest=4, finest=24), hidden=16, handed_on=7, sh_degree=1
)
BOX = Box((-1.0, -1.0, -1.0), 2.0)
STEP = 3**0.5 / 48


class Ball(RadianceField):
    """A ball in the middle of the box, and nothing around it."""

    def forward(self, positions: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.density(positions), positions

    def density(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.where((positions - 0.5).norm(dim=1) < 0.25, 30.0, 0.0)


def camera(turn: float = 0.0, side: int = 16) -> Cameras:
    """Looks at the box from outside."""
    eye = torch.tensor([3 * math.sin(turn), -0.7, -3 * math.cos(turn)])
    pose = look_at(eye, torch.zeros(3), torch.tensor([0.0, -1.0, 0.0]))
    K = torch.tensor([[1.5 * side, 0.0, side / 2], [0.0, 1.5 * side, side / 2], [0.0, 0.0, 1.0]])
    return Cameras.create(pose[None], K[None], side, side)


def photos_of_the_ball(turns: list[float], side: int = 24) -> PosedScene:
    """Photos with masks from these directions."""
    cameras = [camera(turn, side) for turn in turns]
    shown = [render_field(Ball(SMALL, BOX), Occupancy(8, STEP), c) for c in cameras]
    alphas = tuple(s.alpha for s in shown)
    images = tuple((s.rgb / s.alpha[..., None].clamp_min(1e-3)).clamp(0, 1) for s in shown)
    together = Cameras.create(
        torch.cat([c.cam_from_world for c in cameras]), torch.cat([c.Ks for c in cameras]), side, side
    )
    nothing = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    return PosedScene(tuple(str(t) for t in turns), images, together, nothing, alphas)
