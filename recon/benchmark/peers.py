"""Other ways to render, for `recon bench raster` to measure against."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.benchmark.scenes import RasterScene
from recon.geometry import quat_to_rotmat

TILE = 16


def autograd_tiles(scene: RasterScene) -> Float[Tensor, "H W 5"]:
    """Colour, depth and alpha of one camera, as pure-PyTorch splatting is usually written.

    Each 16x16 tile is a dense [pixels, Gaussians] computation with autograd through all of it; every intermediate
    array of every tile is kept for the backward pass (3.4 GB at 100k Gaussians and 640x480).
    """
    means2d, conics, depths, reach = _project(scene)
    order = torch.argsort(depths.detach())
    order = order[(depths[order] > 0.01) & (scene.opacities[order] >= 1 / 255)]
    features = torch.cat([scene.colors, depths[:, None], torch.ones_like(depths)[:, None]], dim=1)
    low, high = ((means2d + side * reach).detach()[order] for side in (-1, 1))
    rows = []
    for y in range(0, scene.height, TILE):
        row = []
        in_row = (high[:, 1] > y) & (low[:, 1] < y + TILE)
        for x in range(0, scene.width, TILE):
            hit = order[in_row & (high[:, 0] > x) & (low[:, 0] < x + TILE)]
            ys, xs = torch.arange(y, min(y + TILE, scene.height)), torch.arange(x, min(x + TILE, scene.width))
            pixels = torch.stack(torch.meshgrid(xs + 0.5, ys + 0.5, indexing="xy"), dim=-1).reshape(-1, 2)
            blended = _composite(pixels.to(means2d), means2d[hit], conics[hit], scene.opacities[hit], features[hit])
            row.append(blended.reshape(len(ys), len(xs), -1))
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows, dim=0)


def _project(scene: RasterScene) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixel means [N,2], inverse covariances xx, xy, yy [N,3], depths [N] and half box sizes [N,2] of all Gaussians."""
    R, t = scene.viewmats[0, :3, :3], scene.viewmats[0, :3, 3]
    fx, fy, cx, cy = scene.Ks[0, 0, 0], scene.Ks[0, 1, 1], scene.Ks[0, 0, 2], scene.Ks[0, 1, 2]
    x, y, depths = (scene.means @ R.T + t).unbind(dim=1)
    z = depths.clamp_min(0.01)  # those behind are left out later; their numbers only have to be finite
    u, v = (
        (value / z).clamp(-c / f - 0.15 * size / f, (size - c) / f + 0.15 * size / f)
        for value, c, f, size in ((x, cx, fx, scene.width), (y, cy, fy, scene.height))
    )
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], dim=1).reshape(-1, 2, 3)
    M = J @ R @ quat_to_rotmat(scene.quats) * scene.scales[:, None, :]
    cov = M @ M.transpose(1, 2) + 0.3 * torch.eye(2, dtype=M.dtype)
    inverse = torch.linalg.inv(cov)
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1)
    sigmas = (2 * torch.log(255 * scene.opacities.detach())).clamp_min(0).sqrt()
    reach = sigmas[:, None] * torch.stack([cov[:, 0, 0], cov[:, 1, 1]], dim=1).detach().sqrt()
    return means2d, torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], dim=1), depths, reach


def _composite(pixels: Tensor, means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor) -> Tensor:
    """Blend sorted Gaussians at [P,2] pixel centres: [P,F]."""
    d = pixels[:, None] - means2d
    a, b, c = conics.unbind(dim=1)
    sigma = 0.5 * (a * d[..., 0] ** 2 + c * d[..., 1] ** 2) + b * d[..., 0] * d[..., 1]
    alpha = (opacities * torch.exp(-sigma)).clamp(max=0.999)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
    through = torch.cumprod(1 - alpha, dim=1)
    alpha = torch.where(through > 1e-4, alpha, 0.0)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
    return (alpha * before) @ features
