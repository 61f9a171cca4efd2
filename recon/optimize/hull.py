"""Points inside the visual hull, for objects with masks (GaussianObject, Yang et al. 2024, sec. 3.2).

What every photo shows as object is inside the hull, what one photo shows as background is not. Random points inside it
give a start to the parts of an object that stereo could not match, and stereo points outside of it are mistakes.
Deviations: GaussianObject starts from the hull alone; here the hull only adds what stereo left open, so no point of it
may hide a surface that stereo is sure of, some photo must see it where stereo has nothing, and it must be where stereo
saw the object: the hull of a few cameras side by side is many times as deep as what is in it.
"""

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.cameras import scene_center
from recon.geometry.projection import project
from recon.optimize.gaps import hides, photo_surface, views_between, with_guesses
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

logger = logging.getLogger(__name__)

REACH = 0.9
"""Half the side of the cube that is carved, over the distance from its middle to the nearest camera."""
MARGIN = 0.1
"""Of the extent of the points, by which it is grown on each side: how far stereo may have missed the object's end."""
BATCHES = 40
"""Of random points, at most."""


@dataclass(frozen=True)
class HullConfig:
    """Carving with masks; without masks nothing happens."""

    drop: bool = False
    """Leave out points that are not on the object in every photo that has them in its frame."""
    points: int = 0
    """Random points tried in the hull, of which those are kept that stereo left open; 0 for none."""
    grid: int = 64
    """Cells along each side of the cube in which the hull is looked for first."""
    slack: float = 0.01
    """How far, as a share of a photo's longest side, a mask may be too small before a point outside of it is wrong."""
    sure: float = 0.2
    """Stereo confidence from which a surface is sure."""


def carve(scene: PosedScene, depths: DepthMaps | None, points: PointCloud, config: HullConfig, seed: int) -> PointCloud:
    """`points` without those outside of the hull of the masks, and with new ones where stereo has none."""
    if scene.masks is None or not (config.drop or config.points > 0):
        return points
    masks = [_grown(mask, config.slack) for mask in scene.masks]
    box = hull_box(scene.cameras, masks, scene_center(scene.cameras, points.xyz), config.grid)
    kept = inside_masks(points.xyz, scene.cameras, masks)
    if box is None or not bool(kept.any()):
        logger.warning("The masks of the photos have no common object; their hull is not used.")
        return points
    old = points[kept] if config.drop else points
    logger.info("Hull: %d points are outside of it", int((~kept).sum()))
    if config.points <= 0:
        return old
    box = _where_points_are(box, points.xyz[kept])
    xyz = _random_points(scene, box, config.points, seed)
    spacing = torch.full((len(xyz),), _spacing(box, len(xyz)))
    if depths is not None:
        open_ = _left_open(xyz, scene, depths, config.sure)
        xyz, spacing = xyz[open_], spacing[open_]
    return with_guesses(old, xyz, mean_colors(xyz, scene), spacing)


def inside_masks(xyz: Float[Tensor, "P 3"], cameras: Cameras, masks: list[Tensor]) -> Bool[Tensor, " P"]:
    """Points on the object in every photo that has them in its frame, and in the frame of most photos."""
    wrong = torch.zeros(len(xyz), dtype=torch.bool)
    frames = torch.zeros(len(xyz), dtype=torch.int64)
    for view, mask in enumerate(masks):
        framed, row, column = _pixels(xyz, cameras, view)
        wrong |= framed & (mask[row, column] < 0.5)
        frames += framed
    return ~wrong & (2 * frames > len(masks))


def hull_box(
    cameras: Cameras, masks: list[Tensor], center: Float[Tensor, " 3"], grid: int
) -> Float[Tensor, "2 3"] | None:
    """Lowest and highest corner of the hull within a cube around `center`, to a cell; None if the hull is empty."""
    half = REACH * float((cameras.centers - center).norm(dim=1).min())
    steps = (torch.arange(grid) + 0.5) / grid * 2 - 1
    cells = torch.cartesian_prod(steps, steps, steps) * half + center
    cells = cells[inside_masks(cells, cameras, masks)]
    if len(cells) == 0:
        return None
    cell = 2 * half / grid
    return torch.stack([cells.amin(0) - cell, cells.amax(0) + cell])


def mean_colors(xyz: Float[Tensor, "P 3"], scene: PosedScene) -> Float[Tensor, "P 3"]:
    """The mean colour of each point over the photos that have it in their frame."""
    total, frames = torch.zeros(len(xyz), 3), torch.zeros(len(xyz), 1)
    for view, image in enumerate(scene.images):
        framed, row, column = _pixels(xyz, scene.cameras, view)
        total += framed[:, None] * image[row, column]
        frames += framed[:, None]
    return total / frames.clamp_min(1)


def _pixels(xyz: Tensor, cameras: Cameras, view: int) -> tuple[Bool[Tensor, " P"], Tensor, Tensor]:
    """(in the frame, row, column) of points in a photo; row and column are 0 outside of it."""
    uv, z = project(xyz, cameras.cam_from_world[view], cameras.Ks[view])
    framed = (z > 0) & (uv >= 0).all(-1) & (uv[:, 0] < cameras.width[view]) & (uv[:, 1] < cameras.height[view])
    column, row = (uv * framed[:, None]).long().unbind(-1)
    return framed, row, column


def _grown(mask: Float[Tensor, "H W"], slack: float) -> Float[Tensor, "H W"]:
    radius = round(slack * max(mask.shape))
    return torch.nn.functional.max_pool2d(mask[None, None], 2 * radius + 1, stride=1, padding=radius)[0, 0]


def _random_points(scene: PosedScene, box: Float[Tensor, "2 3"], n: int, seed: int) -> Float[Tensor, "Q 3"]:
    """At most `n` points, uniform inside the hull of the masks as they are."""
    assert scene.masks is not None, "checked by the caller"
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    for _ in range(BATCHES):
        if sum(len(part) for part in found) >= n:
            break
        xyz = box[0] + torch.rand(n, 3, generator=generator) * (box[1] - box[0])
        found.append(xyz[inside_masks(xyz, scene.cameras, list(scene.masks))])
    return torch.cat(found)[:n]


def _where_points_are(box: Float[Tensor, "2 3"], xyz: Float[Tensor, "P 3"]) -> Float[Tensor, "2 3"]:
    """The part of `box` in which the points are, but for a hundredth of them at either end, and a margin."""
    ordered = xyz.sort(dim=0).values
    low, high = ordered[len(xyz) // 100], ordered[len(xyz) - 1 - len(xyz) // 100]
    room = MARGIN * (high - low)
    return torch.stack([torch.maximum(box[0], low - room), torch.minimum(box[1], high + room)])


def _spacing(box: Float[Tensor, "2 3"], n: int) -> float:
    """Mean distance between points that fill the box: an upper bound, since the hull fills only part of it."""
    return float(((box[1] - box[0]).prod() / max(1, n)) ** (1 / 3))


def _left_open(xyz: Tensor, scene: PosedScene, depths: DepthMaps, sure: float) -> Bool[Tensor, " Q"]:
    photos = [photo_surface(scene, depths, view, sure) for view in range(len(scene))]
    unseen = torch.ones(len(xyz), dtype=torch.bool)
    for view, photo in enumerate(photos):
        framed, _, _ = _pixels(xyz, scene.cameras, view)
        unseen &= ~framed | photo.behind(xyz)[1].isfinite()
    return ~unseen & ~hides(xyz, photos + views_between(scene))
