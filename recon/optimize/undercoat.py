"""What lies just beyond the photos' rims, in soft colours under the finished splats.

From where no camera stood, a view shows parts that no photo shows: left as they are, they are black holes. Each photo
is continued past its rim, the inverse depth as the plane that fits it best (planes are affine in inverse depth) plus
what the rim deviates from it, the colours blurred ever more with the distance. Gaussians painted there are drawn only
where nothing better is: one that would stand in front of a surface is moved back along its ray, and those that still
show through what the splats cover in the photos are dropped, by the exact share that rendering gives them.

Our own; the pull-push pyramid is that of Gortler et al. 1996 (The Lumigraph), section 4.2.
"""

import logging
from dataclasses import dataclass

import cv2
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import pixel_grid, unproject
from recon.optimize.finished import FinishedScene, balls
from recon.optimize.gaps import BACK_OFF, Surface, already_there, hides, move_back
from recon.render import Rasterizer
from recon.types import PosedScene, Splats

logger = logging.getLogger(__name__)

CONFLICT_AREA = 6e-6
"""Share of a photo's pixels that a Gaussian may take from covered ones, summed over all photos."""
ROUNDS = 2
"""Dropping some uncovers others."""
BISECTIONS = 4
SPARE = 1.12
"""Factor on the least distance at which a point hides nothing."""
NEARER, FARTHER = 1.3, 0.5
"""How far the inverse depth may leave the range that it has within the photo, on that plane."""
MIN_PIXELS = 30


@dataclass(frozen=True)
class UndercoatConfig:
    """The soft rim around what the photos show."""

    margin: float = 0.25
    """How far beyond the photos' rims, in units of their longest side. 0 turns it off."""
    side: int = 96
    """Longest side, in pixels, of the picture of a photo that is continued."""
    stride: int = 2
    """Every how many of its pixels there is a Gaussian."""
    opacity: float = 0.9


def undercoat(splats: Splats, scene: PosedScene, config: UndercoatConfig, rasterizer: Rasterizer) -> Splats:
    """Further Gaussians to be added to the finished `splats` of `scene`; none for photos with masks.

    Args:
        splats: on any device; what is returned is on the same.
        scene: the photos with the cameras that the splats were trained with.
    """
    if config.margin <= 0 or scene.masks is not None:
        return splats[:0]
    view = FinishedScene(splats, scene.cameras, rasterizer)
    photos, between = view.surfaces(), view.surfaces_between()
    layers = [_layer(scene, i, view, photos, between, config, splats.shN.shape[1]) for i in range(len(scene))]
    coat = Splats.cat(layers).to(splats.means.device)
    offered = len(coat)
    for _ in range(ROUNDS):
        coat = coat[view.taken_from_covered(coat) <= CONFLICT_AREA]
    logger.info("%d soft Gaussians beyond the photos' rims, of %d offered", len(coat), offered)
    return coat


def _layer(
    scene: PosedScene,
    index: int,
    view: FinishedScene,
    photos: list[Surface],
    between: list[Surface],
    config: UndercoatConfig,
    sh_rest: int,
) -> Splats:
    """The Gaussians around one photo, on the CPU."""
    camera, frame = view.camera(index, config.side, config.margin)
    height, width = int(camera.height[0]), int(camera.width[0])
    depth, alpha = view.depth(camera)
    known = torch.zeros(height, width, dtype=torch.bool)
    known[frame : height - frame, frame : width - frame] = True
    known &= alpha > 0.5
    if int(known.sum()) < MIN_PIXELS:
        return view.splats[:0].to("cpu")
    chosen = torch.zeros_like(known)
    chosen[config.stride // 2 :: config.stride, config.stride // 2 :: config.stride] = True
    chosen &= ~known
    z = 1 / continue_planes(1 / depth.clamp_min(1e-9), known)[chosen]
    pose, K = camera.cam_from_world[0], camera.Ks[0]
    center = camera.centers[0]
    xyz = unproject(pixel_grid(height, width)[chosen], z, K, pose)
    fresh = ~already_there(xyz, photos)
    moved, standing = move_back(xyz, center, photos + between)
    xyz = _nearest_standing(xyz, moved, center, photos + between)
    keep = fresh & standing
    spacing = config.stride * ((xyz - center) @ pose[2, :3]) / K[0, 0]
    colors = blurred_outward(_framed(scene.images[index], frame, (height, width)), known)
    opacity = torch.full((int(keep.sum()),), config.opacity)
    return balls(xyz[keep], spacing[keep], colors[chosen][keep], opacity, sh_rest)


def _nearest_standing(
    start: Float[Tensor, "P 3"], moved: Float[Tensor, "P 3"], center: Float[Tensor, "3"], surfaces: list[Surface]
) -> Float[Tensor, "P 3"]:
    """Points of `moved`, brought forward almost to where they begin to hide something: after whole steps they would
    stand in terraces."""
    there = moved.clone()
    went = (start != moved).any(dim=1)
    hidden, free = center + (moved[went] - center) / BACK_OFF, moved[went]
    for _ in range(BISECTIONS):
        middle = (hidden + free) / 2
        bad = hides(middle, surfaces)[:, None]
        hidden, free = torch.where(bad, middle, hidden), torch.where(bad, free, middle)
    there[went] = center + SPARE * (free - center)
    return there


def _framed(photo: Float[Tensor, "H W 3"], frame: int, size: tuple[int, int]) -> Float[Tensor, "h w 3"]:
    """The photo, shrunk, with nothing around it."""
    height, width = size
    inner = cv2.resize(photo.numpy(), (width - 2 * frame, height - 2 * frame), interpolation=cv2.INTER_AREA)
    return F.pad(torch.from_numpy(inner), (0, 0, frame, frame, frame, frame))


def continue_planes(inverse: Float[Tensor, "H W"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Inverse depth everywhere from where it is known: a plane, fitted robustly, and what the rim deviates from it."""
    height, width = inverse.shape
    uv = pixel_grid(height, width, torch.float64).reshape(-1, 2) / max(height, width)
    design = torch.cat([uv, torch.ones(len(uv), 1, dtype=torch.float64)], dim=1)
    rows, values = design[known.reshape(-1)], inverse[known].double()
    weight = torch.ones_like(values)
    for _ in range(10):  # iteratively reweighted, Cauchy
        root = weight.sqrt()
        plane = torch.linalg.lstsq(rows * root[:, None], (values * root)[:, None]).solution[:, 0]
        error = (rows @ plane - values).abs()
        weight = 1 / (1 + (error / error.median().clamp_min(1e-12)) ** 2)
    flat = (design @ plane).float().reshape(height, width)
    deviation = pull_push((inverse - flat)[None], known)[0]
    on_plane = values[weight > 0.5]
    low, high = float(on_plane.min()), float(on_plane.max())
    return torch.where(known, inverse, (flat + deviation).clamp(FARTHER * low, NEARER * high))


def blurred_outward(picture: Float[Tensor, "H W 3"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "H W 3"]:
    """The picture, with colours where none are known."""
    return pull_push(picture.permute(2, 0, 1), known).permute(1, 2, 0)


def pull_push(values: Float[Tensor, "C H W"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """`values` where they are known; elsewhere from ever coarser averages of them."""
    weight = known.to(values)
    if min(known.shape) <= 2:
        mean = (values * weight).sum((1, 2), keepdim=True) / weight.sum().clamp_min(1e-9)
        return torch.where(known, values, mean)
    share = F.avg_pool2d(weight[None], 2, ceil_mode=True, count_include_pad=False)[0]
    coarse = F.avg_pool2d((values * weight)[None], 2, ceil_mode=True, count_include_pad=False)[0]
    coarse = pull_push(coarse / share.clamp_min(1e-9), share > 0)
    wide = F.interpolate(coarse[None], size=known.shape, mode="bilinear", align_corners=False)[0]
    return torch.where(known, values, wide)
