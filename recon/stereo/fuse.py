"""Depth maps of several photos to one coloured, oriented point cloud without duplicates."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import unproject_depth
from recon.stereo.config import StereoConfig
from recon.stereo.warp import depth_at, positions_in_view, sample_image
from recon.types import DepthMaps, PointCloud, PosedScene


@dataclass(frozen=True)
class _Sums:
    """Weighted sums over the photos that see each point of the reference photo."""

    weight: Float[Tensor, "H W"]
    xyz: Float[Tensor, "H W 3"]
    rgb: Float[Tensor, "H W 3"]
    normals: Float[Tensor, "H W 3"]
    doubt: Float[Tensor, "H W"]


def fuse(scene: PosedScene, depth_maps: DepthMaps, config: StereoConfig) -> PointCloud:
    """One point per surface sample: photos that agree about it are averaged and do not make it again.

    A photo that sees a surface from nearer (finer spacing) keeps its own points. Points over `config.max_points` are
    left out at random, evenly, with `config.seed`.
    """
    taken = [torch.zeros_like(depth, dtype=torch.bool) for depth in depth_maps.depth]
    parts = [_fuse_view(scene, depth_maps, i, taken, config) for i in range(len(scene))]
    cloud = PointCloud(
        torch.cat([p.xyz for p in parts]),
        torch.cat([p.rgb for p in parts]),
        torch.cat([p.confidence for p in parts]),
        torch.cat([p.normals for p in parts if p.normals is not None]),
        torch.cat([p.spacing for p in parts if p.spacing is not None]),
    )
    return _capped(cloud, config)


def _fuse_view(scene: PosedScene, maps: DepthMaps, i: int, taken: list[Tensor], config: StereoConfig) -> PointCloud:
    """Points of photo i not made before; marks in `taken` the pixels of later photos that show them."""
    cameras, depth = scene.cameras, maps.depth[i]
    use = (maps.confidence[i] >= config.min_confidence) & (depth > 0) & ~taken[i]
    use &= _on_stride(use, config.stride)
    sums = _own_sums(scene, maps, i)
    for j in range(len(scene)):
        if j != i:
            sums = _add_view(scene, maps, i, j, sums, use, taken, config)
    normals = torch.nn.functional.normalize(sums.normals, dim=-1)
    spacing = depth * config.stride / cameras.Ks[i, 0, 0]
    weight = sums.weight[..., None]
    return PointCloud(
        (sums.xyz / weight)[use],
        (sums.rgb / weight)[use].clamp(0, 1),
        (1 - sums.doubt)[use],
        normals[use],
        spacing[use],
    )


def _on_stride(mask: Tensor, stride: int) -> Bool[Tensor, "H W"]:
    grid = torch.zeros_like(mask)
    grid[stride // 2 :: stride, stride // 2 :: stride] = True
    return grid


def _normals(maps: DepthMaps, i: int) -> Tensor:
    assert maps.normals is not None, "fusion needs normals"
    return maps.normals[i]


def _own_sums(scene: PosedScene, maps: DepthMaps, i: int) -> _Sums:
    cameras = scene.cameras
    confidence = maps.confidence[i]
    points = unproject_depth(maps.depth[i], cameras.Ks[i], cameras.cam_from_world[i])
    weight = confidence.clamp_min(1e-6)
    scaled = weight[..., None]
    return _Sums(weight, points * scaled, scene.images[i] * scaled, _normals(maps, i) * scaled, 1 - confidence)


def _add_view(
    scene: PosedScene,
    maps: DepthMaps,
    i: int,
    j: int,
    sums: _Sums,
    use: Tensor,
    taken: list[Tensor],
    config: StereoConfig,
) -> _Sums:
    """Adds what photo j says about the points of photo i."""
    cameras = scene.cameras
    uv, z, inside = positions_in_view(maps.depth[i], cameras[i], cameras[j])
    height, width = maps.depth[j].shape
    column = uv[..., 0].nan_to_num().clamp(0, width - 1).long()
    row = uv[..., 1].nan_to_num().clamp(0, height - 1).long()
    found = depth_at(maps.depth[j], uv.nan_to_num())
    same = inside & (found > 0) & ((z - found).abs() < config.max_depth_difference * found)
    # Half the tolerance to be averaged in; the whole to count as a duplicate.
    blend = same & ((z - found).abs() < 0.5 * config.max_depth_difference * found)
    spacing_i, spacing_j = maps.depth[i] / cameras.Ks[i, 0, 0], found / cameras.Ks[j, 0, 0]
    if config.stride == 1:
        duplicate = same & use & (spacing_j > 0.7 * spacing_i)
        taken[j][row[duplicate], column[duplicate]] = True
    else:
        _take_around(taken[j], row[same & use], column[same & use], config.stride)
    said = maps.confidence[j][row, column]
    weight = torch.where(blend & (said >= config.min_confidence), said, torch.zeros_like(said))
    scaled = weight[..., None]
    points_j = _points_along(scene, j, uv, found)
    return _Sums(
        sums.weight + weight,
        sums.xyz + scaled * points_j,
        sums.rgb + scaled * sample_image(scene.images[j], uv.nan_to_num()),
        sums.normals + scaled * _normals(maps, j)[row, column],
        sums.doubt * (1 - weight),
    )


def _points_along(scene: PosedScene, j: int, uv: Tensor, depth: Tensor) -> Tensor:
    """World points at given positions and depths of photo j."""
    pose, K = scene.cameras.cam_from_world[j], scene.cameras.Ks[j]
    rays = torch.cat([uv, torch.ones_like(uv[..., :1])], -1) @ torch.linalg.inv(K).T
    return (rays * depth[..., None] - pose[:3, 3]) @ pose[:3, :3]


def _take_around(taken: Tensor, rows: Tensor, columns: Tensor, stride: int) -> None:
    height, width = taken.shape
    for dy in range(-(stride // 2), stride - stride // 2):
        for dx in range(-(stride // 2), stride - stride // 2):
            taken[(rows + dy).clamp(0, height - 1), (columns + dx).clamp(0, width - 1)] = True


def _capped(cloud: PointCloud, config: StereoConfig) -> PointCloud:
    if len(cloud) <= config.max_points:
        return cloud
    generator = torch.Generator().manual_seed(config.seed)
    kept = torch.randperm(len(cloud), generator=generator)[: config.max_points].sort().values
    grow = (len(cloud) / config.max_points) ** 0.5  # fewer samples cover the same surface
    assert cloud.spacing is not None, "made by fuse"
    return replace(cloud[kept], spacing=cloud.spacing[kept] * grow)
