"""Depth as planes in the image: inverse depth w and its slope (a, b) per pixel.

Along a plane inverse depth is linear in the image: with q = K^T (a, b, w - a x - b y) the plane is q . X = 1 in camera
axes, so its normal towards the camera is -q / |q|. Any finite slope faces the camera.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import pixel_grid


def normals_in_world(
    planes: Float[Tensor, "H W 3"], K: Float[Tensor, "3 3"], cam_from_world: Float[Tensor, "4 4"]
) -> Float[Tensor, "H W 3"]:
    """Unit normals towards the camera, in the world."""
    w, a, b = planes.unbind(-1)
    x, y = pixel_grid(*w.shape).to(planes).unbind(-1)
    q = torch.stack([a, b, w - a * x - b * y], dim=-1) @ K.to(planes)
    return torch.nn.functional.normalize(-q @ cam_from_world[:3, :3].to(planes), dim=-1)


def depth_of(planes: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
    """z-depth; 0 where the inverse depth is not positive."""
    w = planes[..., 0]
    return torch.where(w > 0, 1 / w.clamp_min(1e-12), torch.zeros_like(w))


def enlarge(planes: Float[Tensor, "h w 3"], height: int, width: int) -> Float[Tensor, "H W 3"]:
    """The planes at another size: each pixel takes the plane it lies on, extended to its own centre."""
    h, w = planes.shape[:2]
    sx, sy = w / width, h / height
    x = (torch.arange(width) + 0.5) * sx
    y = (torch.arange(height) + 0.5) * sy
    ix, iy = x.long().clamp(max=w - 1), y.long().clamp(max=h - 1)
    picked = planes[iy][:, ix]
    dx, dy = (x - ix - 0.5)[None], (y - iy - 0.5)[:, None]
    inverse = picked[..., 0] + picked[..., 1] * dx + picked[..., 2] * dy
    # A steep plane must not cross zero or jump within its own pixel.
    inverse = torch.maximum(torch.minimum(inverse, 1.2 * picked[..., 0]), 0.8 * picked[..., 0])
    return torch.stack([inverse, picked[..., 1] * sx, picked[..., 2] * sy], dim=-1)


def slopes_of(inverse_depth: Float[Tensor, "H W"]) -> Float[Tensor, "H W 2"]:
    """Central differences of the inverse depth per pixel, (x, y)."""
    padded = torch.nn.functional.pad(inverse_depth[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    x = 0.5 * (padded[1:-1, 2:] - padded[1:-1, :-2])
    y = 0.5 * (padded[2:, 1:-1] - padded[:-2, 1:-1])
    return torch.stack([x, y], dim=-1)


def smoothed(
    planes: Float[Tensor, "H W 3"],
    confidence: Float[Tensor, "H W"],
    guide: Float[Tensor, "H W"],
    step: float,
    radius: int = 2,
) -> Float[Tensor, "H W 3"]:
    """Each plane averaged with those of its neighbours that it nearly continues: noise goes, edges stay.

    Args:
        confidence: weight of each plane; planes of weight 0 are not used and not changed.
        guide: the photo in grey levels; neighbours of another grey count less.
        step: difference of inverse depth at which a neighbour counts a quarter.
    """
    total = torch.zeros_like(planes)
    weight = torch.zeros_like(confidence)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dx * dx + dy * dy > radius * radius + 1:
                continue
            here, there = _overlap(planes.shape[:2], dy, dx)
            other = planes[there]
            w = other[..., 0] - dx * other[..., 1] - dy * other[..., 2]
            tie = confidence[there] / (1 + ((w - planes[here][..., 0]) / step) ** 2) ** 2
            tie = tie / (1 + ((guide[there] - guide[here]) / 20) ** 2)
            total[here] += tie[..., None] * torch.cat([w[..., None], other[..., 1:]], dim=-1)
            weight[here] += tie
    known = (confidence > 0)[..., None]
    return torch.where(known, total / weight.clamp_min(1e-9)[..., None], planes)


def _overlap(shape: torch.Size, dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the pixels that have a neighbour at (dy, dx), and of those neighbours."""
    height, width = shape
    rows, columns = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
    moved = slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx))
    return (rows, columns), moved
