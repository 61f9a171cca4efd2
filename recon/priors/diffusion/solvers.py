"""Plug and play: any denoiser as a prior, held to the renderings where these are sure and to each other by the warps.

With x the V views sought, y the renderings, p the photos' corrections of them, D a denoiser and W_uv the carrying of
view u into view v through depth, half-quadratic splitting (Zhang et al. 2021, "DPIR", eq. 6 to 8) alternates

    z = D(x, sigma_k)
    x = argmin  a |x - y|^2 + b |x - p|^2 + mu_k |x - z|^2 + c_k sum_u |x - W_uv z_u|^2

with sigma_k falling and mu_k = lambda sigma_1^2 / sigma_k^2 rising: the time-dependent weight of the prior (DPIR eq. 9;
FLAIR, Erbach et al. 2025, finds the same need with flows). The last term stands where DiffusionMBIR (Chung et al. 2023)
has total variation along the axis its 2D prior does not see: ours, across views, is the sum over neighbours, weighted
by how well they agree, which makes it an l1 norm solved by reweighting. ADMM (DiffusionMBIR, Algorithm 1) is the same
with a dual variable. Deviation: everything is quadratic and pixel by pixel, so that each argmin is a weighted mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import project, unproject_depth
from recon.priors.diffusion.base import Licence, Repaired, Views
from recon.priors.diffusion.warps import nearest_photos

Denoiser = Callable[[Float[Tensor, "V H W 3"], float], Float[Tensor, "V H W 3"]]
"""(images in [0, 1], standard deviation of the noise) -> images."""
DEPTH_TOLERANCE = 0.03
"""Relative difference of depth at which two views count 1/e as seeing the same surface."""


@dataclass(frozen=True)
class SolverConfig:
    """How the views are solved for."""

    method: Literal["hqs", "admm"] = "hqs"
    iterations: int = 3
    sigma_first: float = 0.04
    sigma_last: float = 0.01
    """Of the noise that the denoiser takes away, from the first iteration to the last, of values in [0, 1]."""
    prior: float = 0.15
    """lambda: weight of the denoiser against the rendering where that is sure, in the first iteration."""
    photos: float = 2.0
    """b: weight of what the photos say, where they surely see the place."""
    consistency: float = 0.1
    """c: weight of each neighbouring view."""
    neighbours: int = 2
    agrees: float = 0.1
    """Difference of colour beyond which a neighbour loses weight."""


class SolverPrior:
    """Any denoiser as a prior. Without one: non-local means, which needs no weights."""

    name = "denoiser"
    licence = Licence("")

    def __init__(self, denoiser: Denoiser | None = None, config: SolverConfig = SolverConfig()) -> None:
        self.denoiser = non_local_means if denoiser is None else denoiser
        self.config = config

    def available(self) -> tuple[bool, str]:
        return True, ""

    @torch.no_grad()
    def repair(self, views: Views) -> Repaired:
        images = solve(views, self.denoiser, self.config)
        return Repaired(images, views.valid.amax(dim=1))


def solve(views: Views, denoiser: Denoiser, config: SolverConfig) -> Float[Tensor, "V H W 3"]:
    """The views, in [0, 1], after `config.iterations` of half-quadratic splitting or ADMM."""
    across = Across(views, config)
    sure = views.alpha[..., None]
    photos = config.photos * views.valid[..., None] / views.valid.shape[1]
    corrected = views.rgb[:, None] + views.warped - views.warped_own
    fixed = sure * views.rgb + (photos * corrected).sum(dim=1)
    fixed_weight = sure + photos.sum(dim=1)
    x, dual = fixed / fixed_weight.clamp_min(1e-6), torch.zeros_like(views.rgb)
    sigmas = np.geomspace(config.sigma_first, config.sigma_last, config.iterations)
    for sigma in sigmas.tolist():
        z = denoiser((x + dual).clamp(0, 1), sigma).to(x)
        mu = config.prior * (config.sigma_first / sigma) ** 2
        others, others_weight = across.seen(z)
        x = (fixed + mu * (z - dual) + others) / (fixed_weight + mu + others_weight)
        if config.method == "admm":
            dual = dual + x - z
    return x.clamp(0, 1)


class Across:
    """Where the pixels of each view lie in its neighbours; worked out once."""

    def __init__(self, views: Views, config: SolverConfig) -> None:
        self.config = config
        count = min(config.neighbours, len(views) - 1)
        nearest = nearest_photos(views.cameras, views.cameras, count + 1).tolist()
        self.pairs = [(v, u) for v, row in enumerate(nearest) for u in row if u != v]
        carried = [_positions(views, v, u) for v, u in self.pairs]
        self.grids = [grid for grid, _ in carried]
        self.sure = [sure for _, sure in carried]

    def seen(self, images: Float[Tensor, "V H W 3"]) -> tuple[Float[Tensor, "V H W 3"], Float[Tensor, "V H W 1"]]:
        """Weighted sum of what the neighbours of each view show of it, and the weights' sum."""
        total, weight = torch.zeros_like(images), torch.zeros_like(images[..., :1])
        for (v, u), grid, sure in zip(self.pairs, self.grids, self.sure):
            carried = _sample(images[u], grid)
            difference = (carried - images[v]).abs().mean(dim=-1, keepdim=True)
            counts = self.config.consistency * sure * self.config.agrees / difference.clamp_min(self.config.agrees)
            total[v] += counts * carried
            weight[v] += counts
        return total, weight


def _positions(views: Views, v: int, u: int) -> tuple[Float[Tensor, "1 H W 2"], Float[Tensor, "H W 1"]]:
    """Where view v's pixels lie in view u, as `grid_sample` wants it, and how sure it is that u sees them."""
    camera = views.cameras[u]
    points = unproject_depth(views.depth[v], views.cameras.Ks[v], views.cameras.cam_from_world[v])
    uv, z = project(points.reshape(-1, 3), camera.cam_from_world[0], camera.Ks[0])
    extent = torch.stack([camera.width[0], camera.height[0]]).to(uv)
    grid = (2 * uv / extent - 1).reshape(1, *views.depth.shape[1:], 2)
    there = F.grid_sample(views.depth[u][None, None], grid, mode="nearest", align_corners=False)[0, 0]
    z = z.reshape(there.shape)
    agree = torch.exp(-(((z - there) / (DEPTH_TOLERANCE * there.clamp_min(1e-9))) ** 2))
    inside = (grid[0].abs() <= 1).all(dim=-1) & (z > 0) & (there > 0) & (views.depth[v] > 0)
    return grid, (agree * inside * views.alpha[v])[..., None]


def _sample(image: Float[Tensor, "H W 3"], grid: Float[Tensor, "1 H W 2"]) -> Float[Tensor, "H W 3"]:
    planes = image.permute(2, 0, 1)[None]
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False)[0].permute(1, 2, 0)


def non_local_means(images: Float[Tensor, "V H W 3"], sigma: float) -> Float[Tensor, "V H W 3"]:
    """Non-local means (Buades et al. 2005) by OpenCV, on 8-bit values."""
    strength = 255 * sigma
    cleaned = []
    for image in images:
        pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        cleaned.append(cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 5, 15))
    return torch.from_numpy(np.stack(cleaned)).to(images) / 255
