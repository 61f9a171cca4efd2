"""A painted ball: splats on its surface, and photos of it traced ray by ray."""

import math

import torch
from torch import Tensor

from recon.geometry.projection import pixel_rays
from recon.geometry.se3 import look_at
from recon.mesh import MeshConfig, Shots
from recon.types import SH_C0, Cameras, Splats

SMALL = MeshConfig(resolution=48, view_side=128, max_faces=3000, texture_side=256, truncation=4.0, between=0)


def paint(points: Tensor) -> Tensor:
    """Colour [..., 3] at places on the ball: bands of each colour across one axis each."""
    return 0.5 + 0.35 * torch.sin(4 * points)


def ball_splats(n: int = 4000, opacity: float = 0.95) -> Splats:
    """Flat Gaussians spread evenly (Fibonacci) over the unit ball, as stored."""
    i = torch.arange(n) + 0.5
    z, angle = 1 - 2 * i / n, math.pi * (1 + 5**0.5) * i
    r = (1 - z**2).sqrt()
    normal = torch.stack([r * angle.cos(), r * angle.sin(), z], dim=1)
    # The quaternion that turns z to the normal: half way between the two.
    quats = torch.stack([1 + z, -normal[:, 1], normal[:, 0], torch.zeros(n)], dim=1)
    size = 0.7 * math.sqrt(4 * math.pi / n)
    scales = torch.tensor([size, size, 0.05 * size]).log().expand(n, 3)
    logits = torch.full((n,), math.log(opacity / (1 - opacity)))
    return Splats(normal, quats, scales.clone(), logits, ((paint(normal) - 0.5) / SH_C0)[:, None], torch.zeros(n, 0, 3))


def ring(n: int = 6, side: int = 128) -> Cameras:
    """Cameras around the ball, alternately above and below; the world's up is +z."""
    angle = 2 * math.pi * torch.arange(n) / n
    height = torch.where(torch.arange(n) % 2 == 0, 2.0, -2.0)
    eyes = torch.stack([3 * angle.cos(), 3 * angle.sin(), height], dim=1)
    up = torch.tensor([0.0, 0.0, 1.0]).expand(n, 3)
    K = torch.tensor([[1.3 * side, 0, side / 2], [0, 1.3 * side, side / 2], [0, 0, 1]])
    return Cameras.create(look_at(eyes, torch.zeros(n, 3), up), K.expand(n, 3, 3).clone(), side, side)


def ball_shots(cameras: Cameras, masked: bool = True) -> Shots:
    """Photos of the painted ball before grey, and where it is."""
    photos, masks = [], []
    for v in range(len(cameras)):
        height, width = int(cameras.height[v]), int(cameras.width[v])
        eye, rays = pixel_rays(height, width, cameras.Ks[v], cameras.cam_from_world[v])
        middle = -(rays @ eye)
        inside = middle**2 - (eye @ eye - 1)
        hit = inside > 0
        points = eye + (middle - inside.clamp_min(0).sqrt())[..., None] * rays
        photos.append(torch.where(hit[..., None], paint(points), 0.5))
        masks.append(hit.float())
    return Shots(photos, cameras, masks if masked else None)
