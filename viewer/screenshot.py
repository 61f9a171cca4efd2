"""Pictures to take away: the window's view drawn by our own renderer, at any size, without panels or frusta."""

import io
import logging

import numpy as np
import torch
import viser
from jaxtyping import UInt8
from PIL import Image

from recon.render import render, select_rasterizer
from recon.types import Cameras, Splats

logger = logging.getLogger(__name__)

MAX_SIDE = 8192


def picture_size(window: tuple[int, int], long_side: int | None) -> tuple[int, int]:
    """(width, height) of a picture with the window's shape and the given longest side (None: the window's own)."""
    longest = max(window)
    factor = min(long_side or longest, MAX_SIDE) / longest
    return max(1, round(window[0] * factor)), max(1, round(window[1] * factor))


@torch.no_grad()
def draw(
    splats: Splats, camera: Cameras, background: tuple[int, int, int] | None, near: float
) -> UInt8[np.ndarray, "H W C"]:
    """Render one camera; RGB over `background`, or RGBA with straight alpha when it is None.

    `near` is the distance in world units up to which nothing is drawn.
    """
    rasterizer = select_rasterizer("auto")
    device = rasterizer.device
    image = render(splats.to(device), camera.to(device), rasterizer, render_mode="RGB", near_plane=near)
    rgb, alpha = image.rgb[0].clamp(0.0, 1.0), image.alpha[0, ..., None].clamp(0.0, 1.0)
    if background is None:  # the renderer's colour is multiplied by alpha already
        pixels = torch.cat([(rgb / alpha.clamp_min(1e-4)).clamp(0.0, 1.0), alpha], dim=-1)
    else:
        pixels = rgb + (1.0 - alpha) * torch.tensor(background, device=device) / 255.0
    return (pixels.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()


def browser_picture(client: viser.ClientHandle) -> UInt8[np.ndarray, "H W C"]:
    """What the tab itself shows, for scenes without Gaussians. The canvas' own shape: viser distorts any other."""
    camera = client.camera
    return client.get_render(camera.image_height, camera.image_width, transport_format="png", timeout=20.0)


def png(pixels: UInt8[np.ndarray, "H W C"]) -> bytes:
    """The pixels as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=4)
    return stream.getvalue()
