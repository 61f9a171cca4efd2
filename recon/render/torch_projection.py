"""Projection and binning for the PyTorch renderer: which Gaussian reaches which tile, in which order."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from recon.geometry import quat_to_rotmat

ALPHA_THRESHOLD = 1.0 / 255.0


@dataclass(frozen=True)
class View:
    """What projection needs to know besides the camera."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    antialiased: bool


@dataclass(frozen=True)
class Projected:
    """The M (Gaussian, camera) pairs that can be seen; cameras in order, Gaussians in order within a camera."""

    means2d: Tensor  # [M,2]
    conics: Tensor  # [M,3] inverse 2D covariance: xx, xy, yy
    opacities: Tensor  # [M] with the antialiasing factor
    depths: Tensor  # [M]
    extents: Tensor  # [M,2] half size in pixels of the box outside which alpha < 1/255
    camera_ids: Tensor  # [M]
    gaussian_ids: Tensor  # [M]

    def __getitem__(self, index: Tensor) -> "Projected":
        return Projected(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @staticmethod
    def cat(parts: "list[Projected]") -> "Projected":
        names = Projected.__dataclass_fields__
        return Projected(*(torch.cat([getattr(p, name) for p in parts]) for name in names))


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    K: Tensor,
    view: View,
    camera: int,
) -> Projected:
    """EWA projection (Zwicker et al. 2001, eq. 29-31) of the Gaussians between the clipping planes and in the image."""
    R, t = viewmat[:3, :3], viewmat[:3, 3]
    with torch.no_grad():  # select first: a mean at z = 0 has no finite gradient, not even a multiple of zero
        z = means @ R[2] + t[2]
        ids = torch.nonzero((z >= view.near_plane) & (z <= view.far_plane))[:, 0]
    x, y, z = (means[ids] @ R.T + t).unbind(dim=1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    # The Jacobian at a direction far outside the image explodes: gsplat clamps it 15 % of the image beyond the border.
    margin_x, margin_y = 0.15 * view.width / fx, 0.15 * view.height / fy
    u = (x / z).clamp(-cx / fx - margin_x, (view.width - cx) / fx + margin_x)
    v = (y / z).clamp(-cy / fy - margin_y, (view.height - cy) / fy + margin_y)

    axes = R @ (quat_to_rotmat(quats[ids]) * scales[ids, None, :])  # [M,3,3] principal axes in the camera
    row_x = fx * (axes[:, 0] - u[:, None] * axes[:, 2]) / z[:, None]
    row_y = fy * (axes[:, 1] - v[:, None] * axes[:, 2]) / z[:, None]
    xx, xy, yy = (row_x * row_x).sum(1), (row_x * row_y).sum(1), (row_y * row_y).sum(1)
    bxx, byy = xx + view.eps2d, yy + view.eps2d
    det = bxx * byy - xy * xy
    opacity = opacities[ids]
    if view.antialiased:  # Mip-Splatting, eq. 9; the floor keeps the root's gradient finite
        opacity = opacity * ((xx * yy - xy * xy) / det).clamp_min(1e-12).sqrt()

    with torch.no_grad():  # alpha >= 1/255 within sigma <= ln(255 opacity): StopThePop (Radl et al. 2024), sec. B.2
        reach = (2 * torch.log(opacity / ALPHA_THRESHOLD)).clamp_min(0).sqrt()
        extents = torch.stack([reach * bxx.sqrt(), reach * byy.sqrt()], dim=1)
    seen = Projected(
        means2d=torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1),
        conics=torch.stack([byy / det, -xy / det, bxx / det], dim=1),
        opacities=opacity,
        depths=z,
        extents=extents,
        camera_ids=torch.full_like(ids, camera),
        gaussian_ids=ids,
    )
    return seen[_in_image(seen, det, view)]


@torch.no_grad()
def _in_image(seen: Projected, det: Tensor, view: View) -> Tensor:
    """Indices of the pairs that reach a pixel."""
    low, high = seen.means2d - seen.extents, seen.means2d + seen.extents
    size = torch.tensor([view.width, view.height], dtype=low.dtype, device=low.device)
    inside = ((high > 0) & (low < size)).all(dim=1)
    big = (seen.extents.ceil() > view.radius_clip).any(dim=1)
    return torch.nonzero(inside & big & (det > 0) & (seen.opacities >= ALPHA_THRESHOLD))[:, 0]


@dataclass(frozen=True)
class Tiles:
    """Intersections sorted by (camera, tile, depth): tile i holds flatten_ids[offsets[i]:offsets[i + 1]]."""

    flatten_ids: Int[Tensor, " I"]
    offsets: list[int]
    per_pair: Int[Tensor, " M"]
    columns: int
    rows: int


@torch.no_grad()
def bin_tiles(seen: Projected, view: View, tile_size: int, n_cameras: int) -> Tiles:
    """One sort by depth, then a stable sort by tile."""
    columns, rows = math.ceil(view.width / tile_size), math.ceil(view.height / tile_size)
    grid = torch.tensor([columns, rows], device=seen.means2d.device)
    low = ((seen.means2d - seen.extents) / tile_size).floor().long().clamp_min(0)
    high = ((seen.means2d + seen.extents) / tile_size).floor().long() + 1
    span = (torch.minimum(high, grid) - low).clamp_min(0)

    order = torch.argsort(seen.depths, stable=True)
    low, span = low[order], span[order]
    count = span[:, 0] * span[:, 1]
    pair = torch.repeat_interleave(torch.arange(len(order), device=order.device), count)
    nth = torch.arange(len(pair), device=order.device) - (count.cumsum(0) - count)[pair]
    x = low[pair, 0] + nth % span[pair, 0]
    y = low[pair, 1] + nth // span[pair, 0]
    tile = (seen.camera_ids[order][pair] * rows + y) * columns + x
    by_tile = torch.argsort(tile, stable=True)
    sizes = torch.bincount(tile, minlength=n_cameras * rows * columns)
    offsets = [0, *sizes.cumsum(0).tolist()]
    return Tiles(order[pair[by_tile]], offsets, torch.empty_like(count).index_put((order,), count), columns, rows)
