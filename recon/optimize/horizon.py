"""What is far behind everything: a shell of soft Gaussians in the colours of what the photos show farthest away.

A view from aside sees between and past the things that the photos show. Where nothing was reconstructed, black is about
the worst guess; the colour of the surroundings, out of focus, is a fair one. The shell covers the directions that the
photos look in and a margin around them, no others: from outside it hides nothing. Our own.
"""

import logging
import math
from dataclasses import dataclass

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import project
from recon.optimize.finished import SURFACE_SIDE, FinishedScene, balls
from recon.render import Rasterizer
from recon.types import Cameras, PosedScene, Splats

logger = logging.getLogger(__name__)

OUTERMOST = 0.999
"""The share of Gaussians that the shell lies outside of before it is put farther away still."""
FADING = 0.1
"""Distance beyond a photo's rim, in units of its longest side, at which its colours count a half."""
NEAR_WEIGHT = 0.05
"""What the nearest part of a photo says of the colours far away, against the farthest's 1."""
FAINTEST = 0.02
"""Opacity below which there is no Gaussian."""
BLUR = 1.5
"""Standard deviation of the blur over the shell, in units of its spacing."""


@dataclass(frozen=True)
class HorizonConfig:
    """The shell behind everything."""

    distance: float = 2.0
    """From the middle of the cameras, in units of that of the outermost Gaussians. 0 turns it off."""
    margin: float = 0.75
    """How far beyond the photos' rims it reaches, in units of their longest side; it fades on the way."""
    spacing_deg: float = 4.0
    """Between its Gaussians, seen from the middle."""
    opacity: float = 0.9


def horizon(splats: Splats, scene: PosedScene, config: HorizonConfig, rasterizer: Rasterizer) -> Splats:
    """Gaussians to be added behind the finished `splats` of `scene`; none for photos with masks.

    Args:
        splats: on any device; what is returned is on the same.
        scene: the photos with the cameras that the splats were trained with.
    """
    if config.distance <= 0 or scene.masks is not None or len(splats) == 0:
        return splats[:0]
    view = FinishedScene(splats, scene.cameras, rasterizer)
    middle = scene.cameras.centers.mean(dim=0)
    away = (splats.means.detach().cpu() - middle).norm(dim=1)
    radius = config.distance * float(away.kthvalue(max(1, math.ceil(OUTERMOST * len(away)))).values)
    directions = sphere(math.radians(config.spacing_deg))
    xyz = middle + radius * directions
    weight, total, beyond = torch.zeros(len(xyz)), torch.zeros(len(xyz), 3), torch.full((len(xyz),), torch.inf)
    for index, image in enumerate(scene.images):
        depth, alpha = view.depth(view.camera(index, SURFACE_SIDE)[0])
        said, rgb, past = _testimony(
            xyz, image, torch.where(alpha > 0.5, depth, torch.inf), scene.cameras[index], config
        )
        weight += said
        total += said[:, None] * rgb
        beyond = torch.minimum(beyond, past)
    spacing = math.radians(config.spacing_deg)
    rgb = blurred(directions, total, weight, BLUR * spacing)
    opacity = config.opacity * (1 - (beyond / max(config.margin, 1e-9)) ** 2)
    keep = (weight > 0) & (opacity > FAINTEST)
    n = int(keep.sum())
    logger.info("%d soft Gaussians behind everything", n)
    shell = balls(xyz[keep], torch.full((n,), radius * spacing), rgb[keep], opacity[keep], splats.shN.shape[1])
    return shell.to(splats.means.device)


def sphere(spacing: float) -> Float[Tensor, "P 3"]:
    """Unit vectors about `spacing` radians apart, all around (a Fibonacci lattice: Swinbank & Purser 2006)."""
    n = max(1, math.ceil(4 * math.pi / spacing**2))
    index = torch.arange(n) + 0.5
    z, turn = 1 - 2 * index / n, index * math.pi * (1 + math.sqrt(5))
    r = (1 - z * z).sqrt()
    return torch.stack([r * turn.cos(), r * turn.sin(), z], dim=1)


def _testimony(
    xyz: Float[Tensor, "P 3"],
    image: Float[Tensor, "H W 3"],
    depth: Float[Tensor, "_ _"],
    camera: Cameras,
    config: HorizonConfig,
) -> tuple[Float[Tensor, " P"], Float[Tensor, "P 3"], Float[Tensor, " P"]]:
    """(weight, colour, distance beyond the photo's rim in units of its longest side) of each point; no weight farther
    away than the margin, and infinite distance behind the camera."""
    height, width = image.shape[:2]
    uv, z = project(xyz, camera.cam_from_world[0], camera.Ks[0])
    inner = torch.stack([uv[:, 0].clamp(0, width - 1e-3), uv[:, 1].clamp(0, height - 1e-3)], dim=1)
    beyond = (uv - inner).abs().amax(dim=1) / max(height, width)
    shown = (z > 0) & (beyond <= config.margin)
    window = max(3, round(math.radians(config.spacing_deg) * float(camera.Ks[0, 0, 0])))
    soft = torch.from_numpy(cv2.blur(image.numpy(), (window, window)))
    rgb = soft[inner[:, 1].nan_to_num().long(), inner[:, 0].nan_to_num().long()]
    farthest = _farthest(depth)
    scale = inner.new_tensor([depth.shape[1] / width, depth.shape[0] / height])
    column, row = (inner.nan_to_num() * scale).long().unbind(dim=1)
    far = (depth[row, column] / farthest).clamp(0, 1) ** 2
    weight = (NEAR_WEIGHT + (1 - NEAR_WEIGHT) * far) / (1 + (beyond / FADING) ** 2)
    return torch.where(shown, weight, torch.zeros_like(weight)), rgb, torch.where(z > 0, beyond, torch.inf)


def _farthest(depth: Float[Tensor, "_ _"]) -> float:
    """A depth that few finite ones exceed."""
    finite = depth[depth.isfinite()]
    return float(torch.quantile(finite[:: max(1, len(finite) // 20_000)], 0.95)) if len(finite) else 1.0


def blurred(
    directions: Float[Tensor, "P 3"], total: Float[Tensor, "P 3"], weight: Float[Tensor, " P"], width: float
) -> Float[Tensor, "P 3"]:
    """Weighted mean of the colours around each direction; `total` is weight times colour, `width` in radians."""
    found = torch.zeros_like(total)
    for part in torch.arange(len(directions)).split(1024):
        cosine = (directions[part] @ directions.T).clamp(-1, 1)
        kernel = ((cosine - 1) / width**2).exp()  # 1 - cos is half the angle squared
        found[part] = (kernel @ total) / (kernel @ weight).clamp_min(1e-9)[:, None]
    return found
