"""Views of a wall one unit away, for tests of small files."""

import torch

from recon.metrics import psnr
from recon.render import render, select_rasterizer
from recon.types import Cameras, Splats


def three_cameras(side: int = 64, apart: float = 0.1) -> Cameras:
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([-apart, 0.0, apart])
    K = torch.tensor([[side * 1.2, 0, side / 2], [0, side * 1.2, side / 2], [0, 0, 1.0]])
    return Cameras.create(poses, K.repeat(3, 1, 1), side, side)


def likeness(a: Splats, b: Splats, cameras: Cameras | None = None) -> float:
    """PSNR between what two show, in dB."""
    cameras = three_cameras() if cameras is None else cameras
    with torch.no_grad():
        pictures = [render(splats, cameras, select_rasterizer("cpu")).rgb for splats in (a, b)]
    return float(psnr(*pictures).mean())
