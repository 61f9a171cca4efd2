"""A photo and what the splats of a run in progress show in its place."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon.metrics import psnr
from recon.render import Rasterizer, render
from recon.types import Cameras, PosedScene, Splats
from viewer.gaussians import to_bytes
from viewer.looks import Picture

SIDE = 640
"""Longest side, in pixels, of the pictures that are compared."""
_GAP = 4


@dataclass(frozen=True)
class Watched:
    """A photo that the splats are held against."""

    name: str
    image: Float[Tensor, "H W 3"]
    camera: Cameras
    """Where it was taken (V = 1), in pixels of `image`."""


def watched(scene: PosedScene, index: int) -> Watched:
    """Photo `index` of a scene, no side longer than `SIDE`."""
    image, camera = scene.images[index].detach().cpu(), scene.cameras[index].to("cpu")
    scale = SIDE / max(image.shape[:2])
    if scale < 1.0:
        size = (round(image.shape[0] * scale), round(image.shape[1] * scale))
        image = torch.nn.functional.interpolate(image.permute(2, 0, 1)[None], size, mode="area")[0].permute(1, 2, 0)
        camera = camera.resized(torch.tensor([size[1]]), torch.tensor([size[0]]))
    return Watched(scene.names[index], image.contiguous(), camera)


@torch.no_grad()
def compare(splats: Splats, photo: Watched, rasterizer: Rasterizer) -> tuple[Picture, float]:
    """The photo and, to its right, what the splats show there; and the PSNR between the two in dB."""
    device = rasterizer.device
    drawn = render(splats.to(device), photo.camera.to(device), rasterizer, render_mode="RGB").rgb[0].cpu().clamp(0, 1)
    gap = np.zeros((photo.image.shape[0], _GAP, 3), dtype=np.uint8)
    pair = np.concatenate([to_bytes(photo.image), gap, to_bytes(drawn)], axis=1)
    return pair, float(psnr(drawn, photo.image))
