"""Points for the parts of the photos that stereo could not match.

Their depth is interpolated from their surroundings, so they start faint and the optimisation decides. Guessed too far,
a point does little harm; guessed too near, it is a floater that hides the scene from where no camera stood. So the rule
is: a guess may not stand in front of a surface that is sure, neither in a photo nor in a view between two photos. One
that does is moved back along its ray until it no longer does.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import project, unproject_depth
from recon.geometry.se3 import interpolate_poses
from recon.optimize.init import InitConfig
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

IN_FRONT = 0.93
"""A point nearer than this share of a sure depth stands in front of it."""
SAME_SURFACE = 0.03
"""Relative depth difference below which another photo's sure surface already covers the point."""
BACK_OFF, MAX_BACK_OFFS = 1.25, 8
"""Factor of one move back along the ray, and how many moves are tried before the point is given up."""
BETWEEN = (0.2, 0.4, 0.6, 0.8)
"""Where the views between two photos stand."""
NEAREST = 3
"""How many neighbours of a photo are considered for that."""
BUFFER_SIDE = 160
"""Longest side of the depth buffers of those views: coarse, so that sure points close up to surfaces."""


@dataclass(frozen=True)
class Surface:
    """Sure depth as one camera sees it; infinite where nothing is sure."""

    depth: Float[Tensor, "H W"]
    cam_from_world: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]

    def behind(self, xyz: Float[Tensor, "P 3"]) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
        """(depth of each point, sure depth at its pixel); infinite sure depth outside the view."""
        height, width = self.depth.shape
        uv, z = project(xyz, self.cam_from_world, self.K)
        x, y = uv[:, 0].floor(), uv[:, 1].floor()
        inside = (z > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        column, row = (x * inside).long(), (y * inside).long()
        return z, torch.where(inside, self.depth[row, column], torch.inf)


def fill_gaps(scene: PosedScene, depths: DepthMaps | None, config: InitConfig) -> PointCloud:
    """`scene.points` and one point per `fill_stride` pixels where `depths` is filled but unsure."""
    if depths is None or config.fill_below <= 0:
        return scene.points
    photos = [photo_surface(scene, depths, view, config.fill_below) for view in range(len(scene))]
    between = views_between(scene)
    parts = [_gap_points(scene, depths, view, photos, between, config) for view in range(len(scene))]
    xyz, rgb, spacing = (torch.cat(column) for column in zip(*parts, strict=True))
    return with_guesses(scene.points, xyz, rgb, spacing)


def with_guesses(
    points: PointCloud, xyz: Float[Tensor, "Q 3"], rgb: Float[Tensor, "Q 3"], spacing: Float[Tensor, " Q"]
) -> PointCloud:
    """`points`, and after them points without confidence or normal."""
    n = len(xyz)
    if n == 0:
        return points
    return PointCloud(
        torch.cat([points.xyz, xyz]),
        torch.cat([points.rgb, rgb]),
        torch.cat([points.confidence, torch.zeros(n)]),
        None if points.normals is None else torch.cat([points.normals, torch.zeros(n, 3)]),
        None if points.spacing is None else torch.cat([points.spacing, spacing]),
    )


def photo_surface(scene: PosedScene, depths: DepthMaps, view: int, sure: float) -> Surface:
    """What photo `view` shows of the surface where the stereo confidence is at least `sure`."""
    known = (depths.confidence[view] >= sure) & (depths.depth[view] > 0)
    depth = torch.where(known, depths.depth[view], torch.inf)
    return Surface(depth, scene.cameras.cam_from_world[view], scene.cameras.Ks[view])


def neighbour_pairs(cameras: Cameras) -> list[tuple[int, int]]:
    """Each photo with its nearest few; every pair once, the lower index first."""
    nearest = torch.cdist(cameras.centers, cameras.centers).argsort(dim=1)[:, 1 : 1 + NEAREST]
    return sorted({(min(i, int(j)), max(i, int(j))) for i in range(len(cameras)) for j in nearest[i]})


def views_between(scene: PosedScene) -> list[Surface]:
    """Depth buffers of the fused points from places between each photo and its nearest others."""
    cameras = scene.cameras
    surfaces = []
    for i, j in neighbour_pairs(cameras):
        scale = BUFFER_SIDE / float(max(cameras.width[i], cameras.height[i]))
        size = (round(float(cameras.height[i]) * scale), round(float(cameras.width[i]) * scale))
        K = cameras.Ks[i].clone()
        K[:2] *= scale
        for fraction in BETWEEN:
            pose = interpolate_poses(cameras.cam_from_world[i], cameras.cam_from_world[j], fraction)
            surfaces.append(Surface(depth_buffer(scene.points.xyz, pose, K, size), pose, K))
    return surfaces


def depth_buffer(
    xyz: Float[Tensor, "P 3"], cam_from_world: Float[Tensor, "4 4"], K: Float[Tensor, "3 3"], size: tuple[int, int]
) -> Float[Tensor, "H W"]:
    """Nearest depth of the points per pixel of a `size` (height, width) image; infinite where there is none."""
    height, width = size
    uv, z = project(xyz, cam_from_world, K)
    x, y = uv[:, 0].floor(), uv[:, 1].floor()
    inside = (z > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    cell = (y[inside] * width + x[inside]).long()
    buffer = torch.full((height * width,), torch.inf)
    return buffer.scatter_reduce_(0, cell, z[inside], "amin").reshape(height, width)


def _gap_points(
    scene: PosedScene,
    depths: DepthMaps,
    view: int,
    photos: list[Surface],
    between: list[Surface],
    config: InitConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """(xyz, rgb, spacing) of the unsure pixels of one photo."""
    cameras, step = scene.cameras, config.fill_stride
    depth = depths.depth[view]
    chosen = torch.zeros_like(depth, dtype=torch.bool)
    chosen[step // 2 :: step, step // 2 :: step] = True
    chosen &= (depth > 0) & (depths.confidence[view] < config.fill_below)
    if scene.masks is not None:
        chosen &= scene.masks[view] > 0.5
    xyz = unproject_depth(depth, cameras.Ks[view], cameras.cam_from_world[view])[chosen]
    others = photos[:view] + photos[view + 1 :]
    fresh = ~already_there(xyz, others)
    xyz, standing = move_back(xyz, cameras.centers[view], others + between)
    keep = fresh & standing
    z = (xyz - cameras.centers[view]) @ cameras.cam_from_world[view, 2, :3]
    return xyz[keep], scene.images[view][chosen][keep], (step * z / cameras.Ks[view, 0, 0])[keep]


def move_back(
    xyz: Float[Tensor, "P 3"], center: Float[Tensor, " 3"], surfaces: list[Surface]
) -> tuple[Float[Tensor, "P 3"], Bool[Tensor, " P"]]:
    """Points moved away from `center` until they hide no sure surface, and which of them found such a place."""
    xyz = xyz.clone()
    bad = hides(xyz, surfaces)
    for _ in range(MAX_BACK_OFFS):
        if not bad.any():
            break
        xyz[bad] = center + BACK_OFF * (xyz[bad] - center)
        bad[bad.clone()] = hides(xyz[bad], surfaces)
    return xyz, ~bad


def hides(xyz: Float[Tensor, "P 3"], surfaces: list[Surface]) -> Bool[Tensor, " P"]:
    """Points that stand in front of a sure surface in any of the views."""
    guilty = torch.zeros(len(xyz), dtype=torch.bool)
    for surface in surfaces:
        z, sure = surface.behind(xyz)
        guilty |= (z > 0) & sure.isfinite() & (z < IN_FRONT * sure)
    return guilty


def already_there(xyz: Float[Tensor, "P 3"], photos: list[Surface]) -> Bool[Tensor, " P"]:
    """Points that lie on the sure surface of a view."""
    covered = torch.zeros(len(xyz), dtype=torch.bool)
    for surface in photos:
        z, sure = surface.behind(xyz)
        covered |= sure.isfinite() & ((z - sure).abs() < SAME_SURFACE * sure)
    return covered
