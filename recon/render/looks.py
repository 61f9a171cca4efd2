"""What splats show from the photos' places and from between and beside them: what they are to show after a change, or
others in their place. Nothing but the splats themselves is compared with, so a view needs no photo.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import interpolate_poses
from recon.render.base import Rasterizer, render
from recon.types import Cameras, Splats

FRAME = 0.1
"""Every view shows this share of its longest side more on each side: who moves or turns sees it."""
FRAME_WEIGHT = 0.2
"""How much a pixel of the frame counts beside one that the photo shows."""
BEYOND = 0.25
"""How far outside the photos' places a view may be, in units of the way between two of them."""


@dataclass(frozen=True)
class Looks:
    """Views, the pictures that are wanted there, and how much each pixel counts."""

    cameras: Cameras
    pictures: list[Float[Tensor, "H W 3"]]
    weights: Float[Tensor, "H W"]

    def __len__(self) -> int:
        return len(self.pictures)

    def thinned(self, count: int) -> "Looks":
        """At most `count` of the views, evenly."""
        chosen = torch.linspace(0, len(self) - 1, min(count, len(self))).round().long().tolist()
        return Looks(self.cameras[chosen], [self.pictures[i] for i in chosen], self.weights)


def looks_around(splats: Splats, cameras: Cameras, count: int, max_side: int, rasterizer: Rasterizer) -> Looks:
    """What `splats` show from the places of the photos, and between and around them: `count` views or one for each
    photo, all as large as the first photo with a frame around it, which is at most `max_side` pixels."""
    small = _fitted(cameras, max_side)
    frame = round(FRAME * max(int(small.width[0]), int(small.height[0])))
    views = _framed(small, _poses(cameras, count), frame)
    splats = splats.detach().to(rasterizer.device)
    with torch.no_grad():
        pictures = [
            render(splats, views[i].to(rasterizer.device), rasterizer, render_mode="RGB").rgb[0]
            for i in range(len(views))
        ]
    weights = torch.full((int(views.height[0]), int(views.width[0])), FRAME_WEIGHT, device=rasterizer.device)
    weights[frame : weights.shape[0] - frame, frame : weights.shape[1] - frame] = 1.0
    return Looks(views, pictures, weights)


def _poses(cameras: Cameras, count: int) -> Float[Tensor, "W 4 4"]:
    """The photos', then random ones between three of them, or a little beyond."""
    generator = torch.Generator().manual_seed(0)
    poses = list(cameras.cam_from_world)
    while len(poses) < count and len(cameras) > 1:
        i, j, k = torch.randint(len(cameras), (3,), generator=generator).tolist()
        first, second = (torch.rand(2, generator=generator) * (1 + 2 * BEYOND) - BEYOND).tolist()
        middle = interpolate_poses(cameras.cam_from_world[i], cameras.cam_from_world[j], first)
        poses.append(interpolate_poses(middle, cameras.cam_from_world[k], second / 2))
    return torch.stack(poses)


def _fitted(cameras: Cameras, max_side: int) -> Cameras:
    """The same cameras, all as large as the first, which is at most `max_side` pixels."""
    width, height = int(cameras.width[0]), int(cameras.height[0])
    scale = min(1.0, max_side / max(width, height))
    size = [torch.full((len(cameras),), max(1, round(side * scale))) for side in (width, height)]
    return cameras.resized(*size)


def _framed(cameras: Cameras, poses: Float[Tensor, "W 4 4"], frame: int) -> Cameras:
    """The lenses of `cameras` in turn, at other poses, with a frame of so many pixels around the pictures."""
    lenses = cameras[[i % len(cameras) for i in range(len(poses))]]
    Ks = lenses.Ks.clone()
    Ks[:, :2, 2] += frame
    return Cameras.create(poses, Ks, lenses.width + 2 * frame, lenses.height + 2 * frame)
