"""Points for the parts of the photos that stereo could not match.

Their depth is interpolated from their surroundings, so they start faint and the optimisation decides. A gap that would
float in front of a surface that another photo saw clearly is left empty: that is how floaters begin.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import project, unproject_depth
from recon.optimize.config import InitConfig
from recon.types import DepthMaps, PointCloud, PosedScene

IN_FRONT = 0.93
"""A point nearer than this share of another photo's confident depth floats in free space."""
SAME_SURFACE = 0.03
"""Relative depth difference below which another photo's confident surface already covers the point."""


def fill_gaps(scene: PosedScene, depths: DepthMaps | None, config: InitConfig) -> PointCloud:
    """`scene.points` and, where `depths` is filled but unsure, one point per `fill_stride` pixels of confidence 0."""
    if depths is None or config.fill_below <= 0:
        return scene.points
    parts = [_gap_points(scene, depths, view, config) for view in range(len(scene))]
    xyz, rgb, spacing = (torch.cat(column) for column in zip(*parts, strict=True))
    points, n = scene.points, len(xyz)
    if n == 0:
        return points
    return PointCloud(
        torch.cat([points.xyz, xyz]),
        torch.cat([points.rgb, rgb]),
        torch.cat([points.confidence, torch.zeros(n)]),
        None if points.normals is None else torch.cat([points.normals, torch.zeros(n, 3)]),
        None if points.spacing is None else torch.cat([points.spacing, spacing]),
    )


def _gap_points(scene: PosedScene, depths: DepthMaps, view: int, config: InitConfig) -> tuple[Tensor, Tensor, Tensor]:
    """(xyz, rgb, spacing) of the unsure pixels of one photo that no other photo contradicts."""
    cameras, step = scene.cameras, config.fill_stride
    depth = depths.depth[view]
    chosen = torch.zeros_like(depth, dtype=torch.bool)
    chosen[step // 2 :: step, step // 2 :: step] = True
    chosen &= (depth > 0) & (depths.confidence[view] < config.fill_below)
    if scene.masks is not None:
        chosen &= scene.masks[view] > 0.5
    xyz = unproject_depth(depth, cameras.Ks[view], cameras.cam_from_world[view])[chosen]
    keep = torch.ones(len(xyz), dtype=torch.bool)
    for other in range(len(scene)):
        if other != view:
            keep &= ~_contradicted(xyz, scene, depths, other, config.fill_below)
    spacing = step * depth[chosen] / cameras.Ks[view, 0, 0]
    return xyz[keep], scene.images[view][chosen][keep], spacing[keep]


def _contradicted(
    xyz: Float[Tensor, "P 3"], scene: PosedScene, depths: DepthMaps, view: int, sure: float
) -> Bool[Tensor, " P"]:
    """Points that photo `view` sees through, or already has a surface at."""
    height, width = depths.depth[view].shape
    uv, z = project(xyz, scene.cameras.cam_from_world[view], scene.cameras.Ks[view])
    x, y = uv[:, 0].floor().long(), uv[:, 1].floor().long()
    inside = (z > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    surface = depths.depth[view][y, x]
    seen = inside & (depths.confidence[view][y, x] >= sure) & (surface > 0)
    return seen & ((z < IN_FRONT * surface) | ((z - surface).abs() < SAME_SURFACE * surface))
