"""What some of the photos know of the scene, as splats that can be looked at from anywhere without training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import unproject_depth
from recon.geometry.so3 import quat_to_rotmat
from recon.optimize.config import InitConfig
from recon.optimize.init import splats_from_points
from recon.render import Rasterizer, render
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene, Rendering, Splats

MAX_GAUSSIANS = 100_000
SURE = 0.2
"""Stereo confidence from which a pixel becomes a point."""


@dataclass(frozen=True)
class Surface:
    """Opaque discs with a front and a back."""

    splats: Splats
    xyz: Float[Tensor, "P 3"]
    """The points they were made of."""
    rasterizer: Rasterizer

    def look(self, camera: Cameras) -> Rendering:
        """The rendering of one camera (V = 1); discs seen from behind are left out, or a wall would show mirrored."""
        normals = quat_to_rotmat(self.splats.quats)[:, :, 2]
        faces = ((camera.centers[0].to(normals) - self.splats.means) * normals).sum(1) > 0
        with torch.no_grad():
            return render(self.splats[faces], camera.to(self.rasterizer.device), self.rasterizer)


def surface_of(scene: PosedScene, depths: DepthMaps, views: Sequence[int], rasterizer: Rasterizer) -> Surface | None:
    """The sure stereo points of photos `views`; None if there are too few to show anything."""
    parts = [_points_of(scene, depths, view) for view in views]
    xyz, rgb, normals, spacing = (torch.cat(column) for column in zip(*parts, strict=True))
    if len(xyz) < 100:
        return None
    cloud = PointCloud(xyz, rgb, torch.ones(len(xyz)), normals, spacing)
    config = InitConfig(max_gaussians=MAX_GAUSSIANS, opacity=0.95)
    splats = splats_from_points(cloud, config, sh_degree=0)
    return Surface(splats.to(rasterizer.device), xyz, rasterizer)


def _points_of(scene: PosedScene, depths: DepthMaps, view: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(xyz, rgb, normals, spacing) of every second sure pixel, along x and y, of one photo."""
    assert depths.normals is not None, "stereo always gives normals"
    cameras, depth = scene.cameras, depths.depth[view]
    sure = torch.zeros_like(depth, dtype=torch.bool)
    sure[::2, ::2] = True
    sure &= (depths.confidence[view] >= SURE) & (depth > 0)
    if scene.masks is not None:
        sure &= scene.masks[view] > 0.5
    xyz = unproject_depth(depth, cameras.Ks[view], cameras.cam_from_world[view])[sure]
    spacing = 2 * depth[sure] / cameras.Ks[view, 0, 0]
    return xyz, scene.images[view][sure], depths.normals[view][sure], spacing


def camera_at(cam_from_world: Float[Tensor, "4 4"], lens: Cameras, side: int) -> Cameras:
    """One camera at a pose with the lens of `lens` (V = 1), for pictures of longest side `side`."""
    camera = replace(lens, cam_from_world=cam_from_world[None].to(lens.cam_from_world))
    scale = side / float(max(lens.width[0], lens.height[0]))
    return camera.resized((lens.width * scale).round().long(), (lens.height * scale).round().long())
