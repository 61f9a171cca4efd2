"""The surface of a field as points: what its training cameras see of it."""

from dataclasses import dataclass

import torch

from recon.fields.field import RadianceField
from recon.fields.march import render_field
from recon.fields.occupancy import Occupancy
from recon.geometry import unproject_depth
from recon.types import Cameras, PointCloud, Splats

SOLID = 0.5
"""A pixel that lets more light than this through shows no surface."""


def surface_points(field: RadianceField, occupancy: Occupancy, cameras: Cameras) -> PointCloud:
    """A point for each pixel that shows a surface, with the pixel's colour and the distance that it covers there."""
    parts = []
    for i in range(len(cameras)):
        camera = cameras[i]
        shown = render_field(field, occupancy, camera)
        solid = shown.alpha > SOLID
        xyz = unproject_depth(shown.depth, camera.Ks[0], camera.cam_from_world[0])[solid]
        alpha = shown.alpha[solid]
        rgb = (shown.rgb[solid] / alpha[:, None]).clamp(0, 1)
        parts.append(PointCloud(xyz, rgb, alpha, None, shown.depth[solid] / camera.Ks[0, 0, 0]))
    return PointCloud(
        torch.cat([p.xyz for p in parts]),
        torch.cat([p.rgb for p in parts]),
        torch.cat([p.confidence for p in parts]),
        None,
        torch.cat([p.spacing for p in parts if p.spacing is not None]),
    )


@dataclass(frozen=True)
class FieldSplats(Splats):
    """Splats that stand for a field where only splats will do, and the field that they stand for."""

    field: RadianceField
    occupancy: Occupancy

    def to(self, device: torch.device | str) -> "FieldSplats":
        """The splats on another device; the field stays on the CPU."""
        return FieldSplats(**super().to(device).tensors(), field=self.field, occupancy=self.occupancy)
