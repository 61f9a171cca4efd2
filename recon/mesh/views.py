"""The splats as depth cameras: what they show, how deep, and where that can be believed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from recon.mesh.config import MeshConfig
from recon.render import Rasterizer, render
from recon.types import Cameras, Splats


@dataclass(frozen=True)
class Shots:
    """What the mesh is painted with: V photos, where they were taken, and their object masks."""

    photos: Sequence[Float[Tensor, "_ _ 3"]]
    cameras: Cameras
    """In pixels of the photos."""
    masks: Sequence[Float[Tensor, "_ _"]] | None = None


@dataclass(frozen=True)
class DepthView:
    """One camera's view of the surface."""

    camera: Cameras
    """A single one."""
    depth: Float[Tensor, "H W"]
    """z-depth in world units; 0 where there is no surface, or several."""
    weight: Float[Tensor, "H W"]
    """In [0, 1]: the less, the more the Gaussians disagree along the ray, and the more the surface is turned away."""
    rgb: Float[Tensor, "H W 3"]
    outside: Bool[Tensor, "H W"] | None = None
    """Where the photo's mask says that the line of sight misses the object."""


def depth_views(
    splats: Splats,
    cameras: Cameras,
    masks: Sequence[Float[Tensor, "_ _"]] | None,
    rasterizer: Rasterizer,
    config: MeshConfig,
) -> Iterator[DepthView]:
    """Views from V `cameras`, with their `masks` (of any size), if any."""
    splats = splats.to(rasterizer.device)
    for v in range(len(cameras)):
        camera = _shrunk(cameras[v], config.view_side)
        outside = None
        if masks is not None:
            size = int(camera.height[0]), int(camera.width[0])
            share = F.interpolate(masks[v][None, None], size=size, mode="area")[0, 0]
            # A pixel's width of doubt: carving is for good.
            outside = F.max_pool2d(share[None], 3, stride=1, padding=1)[0] < 0.5
        yield _view(splats, camera, outside, rasterizer, config)


def _shrunk(camera: Cameras, side: int) -> Cameras:
    scale = min(1.0, side / max(int(camera.width[0]), int(camera.height[0])))
    width, height = ((length * scale).round().long().clamp_min(1) for length in (camera.width, camera.height))
    return camera.resized(width, height)


def _view(
    splats: Splats, camera: Cameras, outside: Tensor | None, rasterizer: Rasterizer, config: MeshConfig
) -> DepthView:
    on_device = camera.to(rasterizer.device)
    with torch.inference_mode():
        rendering = render(splats, on_device, rasterizer)
        squared = _mean_square_depth(splats, on_device, rasterizer)
    alpha, depth = rendering.alpha[0].cpu(), rendering.depth[0].cpu()
    variance = squared.cpu() / alpha.clamp_min(1e-6) - depth**2
    spread = variance.clamp_min(0).sqrt() / depth.clamp_min(1e-9)
    keep = (alpha > config.min_alpha) & (spread < 2 * config.spread) & (depth > 0)
    if outside is not None:
        keep &= ~outside
    agreement = torch.exp(-((spread / (0.5 * config.spread)) ** 2))
    weight = agreement * _facing(depth, camera).clamp_min(0.1)
    return DepthView(camera, torch.where(keep, depth, 0), weight * keep, rendering.rgb[0].cpu(), outside)


def _mean_square_depth(splats: Splats, camera: Cameras, rasterizer: Rasterizer) -> Float[Tensor, "H W"]:
    """Sum of weight times squared z over the Gaussians of each pixel: with the mean, how much they disagree."""
    pose = camera.cam_from_world[0]
    z = splats.means @ pose[2, :3] + pose[2, 3]
    image, _, _ = rasterizer(
        splats.means, splats.quats, splats.scales, splats.opacities, (z**2)[:, None], camera.cam_from_world, camera.Ks,
        int(camera.width[0]), int(camera.height[0]),
    )  # fmt: skip
    return image[0, ..., 0]


def _facing(depth: Float[Tensor, "H W"], camera: Cameras) -> Float[Tensor, "H W"]:
    """Cosine between the line of sight and the surface's normal, from differences of the depth."""
    K = camera.Ks[0].cpu()
    padded = F.pad(depth[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    dx = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2 * K[0, 0]
    dy = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2 * K[1, 1]
    return depth / (depth**2 + dx**2 + dy**2).sqrt().clamp_min(1e-9)
