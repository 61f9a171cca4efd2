"""Flat surfaces: found among the points that stereo is sure of, and continued into what it could not match.

Walls, floors, table tops and facades are planes that reach beyond what two photos share. Depth carried over from pixel
to pixel (`recon.stereo.fill`) loses their slope within a few dozen pixels; a plane that was fitted to thousands of sure
points holds across the whole photo. Which plane a pixel belongs to is carried over instead: the sure pixels around it
vote, across the photo and stopping at its edges, and those that lie on none of the planes vote for none.

Planes as hypotheses for pixels without texture are known from multi-view stereo (ACMP, Xu and Tao 2020; TAPA-MVS,
Romanoni and Matteucci 2019), where matching decides among them. Here nothing can be matched, as most such pixels are
in one photo alone: whatever contradicts the other photos is moved back afterwards, as all guesses are
(`recon.optimize.gaps`). Planes are found by RANSAC (Fischler and Bolles 1981), one after the other.
"""

import logging
import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon.geometry.projection import unproject_depth
from recon.stereo.fill import carry
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

logger = logging.getLogger(__name__)

SURE_POINT = 0.2
"""Confidence of the points that planes are found in."""
ALONG = 0.8
"""Least cosine between the normal of a plane and that of a point on it."""
POINTS, TRIED, TESTED, REFITS = 20_000, 400, 4_000, 4
"""Most points that are looked at; planes tried from single points, and again from three, for each that is found; points
that they are tested on; least-squares fits of the best to the points on it."""
COUNTED_SIDE = 200
"""Longest side, in pixels, at which votes are counted."""


@dataclass(frozen=True)
class FlatsConfig:
    """What counts as a flat surface, and which guesses are put on it."""

    planes: int = 8
    """Most that are looked for; 0 turns it off."""
    min_share: float = 0.03
    """Smallest share of the sure points that makes a plane."""
    tolerance: float = 0.01
    """Distance to the plane, in units of the distance to the nearest camera, up to which a point is on it."""
    votes: float = 0.3
    """Least share of the sure pixels around, for one of the planes, that puts a guess on it."""
    reach: float = 3.0
    """A plane may change a guess by at most this factor."""


def onto_flats(
    scene: PosedScene, depths: DepthMaps, config: FlatsConfig, unsure_below: float, seed: int = 0
) -> DepthMaps:
    """`depths` with what is unsure (confidence below `unsure_below`) put on the planes that the scene's points form.

    Confidence stays as it is: a continued plane is a better guess, and still one. Depth that is sure does not change.
    """
    if config.planes <= 0 or unsure_below <= 0:
        return depths
    planes = find_planes(scene.points, scene.cameras, config, seed)
    if len(planes) == 0:
        return depths
    moved = [_continued(scene, depths, view, planes, config, unsure_below) for view in range(len(scene))]
    return replace(depths, depth=tuple(moved))


def find_planes(points: PointCloud, cameras: Cameras, config: FlatsConfig, seed: int = 0) -> Float[Tensor, "K 4"]:
    """Planes n.x + d = 0 as rows (unit n, d), those with most points first; none from points without normals."""
    none = torch.zeros(0, 4)
    if points.normals is None:
        return none
    sure = (points.normals.norm(dim=1) > 0.5) & (points.confidence > SURE_POINT)
    generator = torch.Generator().manual_seed(seed)
    chosen = sure.nonzero()[:, 0]
    chosen = chosen[torch.randperm(len(chosen), generator=generator)[:POINTS]]
    xyz, normals = points.xyz[chosen], F.normalize(points.normals[chosen], dim=1)
    allowed = config.tolerance * torch.cdist(xyz, cameras.centers).amin(dim=1)
    enough = max(3, config.min_share * len(xyz))
    planes: list[Tensor] = []
    while len(planes) < config.planes and len(xyz) >= enough:
        plane = _best_plane(xyz, normals, allowed, generator)
        members = _on_plane(xyz, normals, allowed, plane[None])[:, 0]
        if int(members.sum()) < enough:
            break
        planes.append(plane)
        xyz, normals, allowed = xyz[~members], normals[~members], allowed[~members]
    logger.info("Flat surfaces: %d, with %.0f%% of the points", len(planes), 100 * (1 - len(xyz) / max(1, len(chosen))))
    return torch.stack(planes) if planes else none


def _best_plane(
    xyz: Float[Tensor, "P 3"], normals: Float[Tensor, "P 3"], allowed: Float[Tensor, " P"], generator: torch.Generator
) -> Float[Tensor, " 4"]:
    """The plane that most of the points lie on, fitted to them."""
    alone = torch.randint(len(xyz), (TRIED,), generator=generator)
    a, b, c = xyz[torch.randint(len(xyz), (3, TRIED), generator=generator)]
    across = F.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    normal, through = torch.cat([normals[alone], across]), torch.cat([xyz[alone], a])
    tried = torch.cat([normal, -(normal * through).sum(dim=1, keepdim=True)], dim=1)
    tested = torch.randperm(len(xyz), generator=generator)[:TESTED]
    members = _on_plane(xyz[tested], normals[tested], allowed[tested], tried)
    plane = tried[int(members.sum(dim=0).argmax())]
    for _ in range(REFITS):
        members = _on_plane(xyz, normals, allowed, plane[None])[:, 0]
        if int(members.sum()) < 3:
            break
        plane = _fit(xyz[members], 1 / allowed[members] ** 2)
    return plane


def _on_plane(
    xyz: Float[Tensor, "P 3"], normals: Float[Tensor, "P 3"], allowed: Float[Tensor, " P"], planes: Float[Tensor, "K 4"]
) -> Bool[Tensor, "P K"]:
    """Which points lie on, and along, which planes."""
    near = (xyz @ planes[:, :3].T + planes[:, 3]).abs() < allowed[:, None]
    return near & ((normals @ planes[:, :3].T).abs() > ALONG)


def _fit(xyz: Float[Tensor, "P 3"], weight: Float[Tensor, " P"]) -> Float[Tensor, " 4"]:
    """The plane of least squared distance."""
    middle = (weight[:, None] * xyz).sum(dim=0) / weight.sum()
    _, _, axes = torch.linalg.svd((xyz - middle) * weight.sqrt()[:, None], full_matrices=False)
    return torch.cat([axes[2], -(axes[2] @ middle)[None]])


def _continued(
    scene: PosedScene, depths: DepthMaps, view: int, planes: Float[Tensor, "K 4"], config: FlatsConfig, sure: float
) -> Float[Tensor, "H W"]:
    """The depth of one photo, its unsure pixels on the plane that most of what is sure around them lies on."""
    depth, confidence = depths.depth[view], depths.confidence[view]
    known = (depth > 0) & (confidence >= sure)
    at = plane_depths(scene.cameras, view, depth.shape, planes)
    label = _nearest_plane(depth, at, 2 * config.tolerance)
    ballots = F.one_hot(label, len(planes) + 1).float().permute(2, 0, 1)[:-1]
    votes = _count(ballots, confidence * known, scene.images[view])
    ratio = at / depth.clamp_min(1e-9)
    share, elected = (votes * ((ratio < config.reach) & (ratio > 1 / config.reach))).max(dim=0)
    moved = (depth > 0) & ~known & (share > config.votes)
    return torch.where(moved, at.gather(0, elected[None])[0], depth)


def _count(
    ballots: Float[Tensor, "K H W"], weight: Float[Tensor, "H W"], photo: Float[Tensor, "H W 3"]
) -> Float[Tensor, "K H W"]:
    """The votes of the pixels with `weight`, carried across the photo; counted at a smaller size."""
    step = math.ceil(max(weight.shape) / COUNTED_SIDE)

    def shrink(values: Float[Tensor, "C H W"]) -> Float[Tensor, "C h w"]:
        return F.avg_pool2d(values[None], step, ceil_mode=True, count_include_pad=False)[0]

    heard = shrink(weight[None])
    votes = carry(shrink(ballots * weight) / heard.clamp_min(1e-9), heard[0], 255 * shrink(photo.mean(dim=2)[None])[0])
    return F.interpolate(votes[None], size=weight.shape, mode="bilinear", align_corners=False)[0]


def plane_depths(
    cameras: Cameras, view: int, size: tuple[int, ...], planes: Float[Tensor, "K 4"]
) -> Float[Tensor, "K H W"]:
    """z-depth at which each pixel of photo `view` meets each plane; negative behind the camera."""
    one = unproject_depth(torch.ones(size), cameras.Ks[view], cameras.cam_from_world[view])
    center = cameras.centers[view]
    towards = ((one - center) @ planes[:, :3].T).permute(2, 0, 1)
    away = -(planes[:, :3] @ center + planes[:, 3])[:, None, None]
    return away / torch.where(towards.abs() < 1e-9, 1e-9, towards)


def _nearest_plane(depth: Float[Tensor, "H W"], at: Float[Tensor, "K H W"], tolerance: float) -> Int[Tensor, "H W"]:
    """The plane nearest to each pixel's depth; K where none is within `tolerance` of it."""
    off, label = ((at - depth).abs() / depth.clamp_min(1e-9)).min(dim=0)
    return torch.where(off < tolerance, label, len(at))
