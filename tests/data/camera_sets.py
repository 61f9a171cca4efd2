"""Cameras for the tests of camera files: around the origin, of different sizes and focal lengths."""

import torch

from recon.geometry import look_at
from recon.types import Cameras

NAMES = ("IMG_1.jpg", "IMG_2.jpg", "IMG_10.png")


def three_cameras() -> Cameras:
    eyes = torch.tensor([[0.0, -1.0, -4.0], [3.0, -0.5, -2.5], [-2.0, 1.5, -3.0]])
    poses = torch.stack([look_at(eye, torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])) for eye in eyes])
    Ks = torch.tensor([[[800.0, 0, 321], [0, 805, 239], [0, 0, 1]]]).repeat(3, 1, 1)
    Ks[2, 0, 0] = 700
    return Cameras.create(poses, Ks, torch.tensor([640, 640, 640]), torch.tensor([480, 480, 480]))
