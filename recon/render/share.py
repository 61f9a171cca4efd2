"""Whose colour a picture shows: the exact share of every Gaussian, from one backward pass.

A rendering is linear in the colours: with colour 1 for one Gaussian and 0 for all others, the weighted sum of its
pixels is that Gaussian's share in them. So the gradient of that sum by the colours holds all shares at once.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.render.base import Rasterizer
from recon.types import Cameras, Splats

CHANNELS = 3


def shares(
    splats: Splats, camera: Cameras, weights: Float[Tensor, "K H W"], rasterizer: Rasterizer, near_plane: float = 0.01
) -> tuple[Float[Tensor, "N K"], dict[str, Any]]:
    """Weighted pixels' worth of colour that comes from each Gaussian, and the meta of the rendering.

    Args:
        camera: one camera, of the weights' size.
        weights: up to three ways to weigh the pixels.

    Returns: on the rasterizer's device.
    """
    device = rasterizer.device
    splats, camera = splats.detach().to(device), camera.to(device)
    kinds, height, width = weights.shape
    assert kinds <= CHANNELS, f"{kinds} ways to weigh pixels, {CHANNELS} channels"
    colors = torch.zeros(len(splats), CHANNELS, device=device, requires_grad=True)
    image, _, meta = rasterizer(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        colors,
        camera.cam_from_world,
        camera.Ks,
        width,
        height,
        near_plane=near_plane,
        render_mode="RGB",
    )
    (image[0, ..., :kinds] * weights.to(image).movedim(0, -1)).sum().backward()
    assert colors.grad is not None, "the rasterizer differentiates by the colours"
    return colors.grad[:, :kinds], meta
