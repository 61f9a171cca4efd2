"""Synthetic scenes with exact poses and depth: textured planes seen by a few cameras."""

import torch
from torch import Tensor

from recon.geometry.projection import pixel_rays
from recon.types import Cameras, PointCloud, PosedScene


def no_points() -> PointCloud:
    return PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))


def look_from(eye: Tensor, target: Tensor) -> Tensor:
    """cam_from_world of a camera at `eye` looking at `target`, y down."""
    z = torch.nn.functional.normalize(target - eye, dim=0)
    x = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), z), dim=0)
    R = torch.stack([x, torch.linalg.cross(z, x), z])
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = R, -R @ eye
    return pose


def texture(u: Tensor, v: Tensor) -> Tensor:
    """A colour for every point of a surface, without repetition, fine enough to match and coarse enough to sample."""
    generator = torch.Generator().manual_seed(7)
    waves = torch.rand(24, 2, generator=generator) * 40 - 20
    phases, tints = torch.rand(24, generator=generator) * 6.283, torch.rand(24, 3, generator=generator)
    angle = u[..., None] * waves[:, 0] + v[..., None] * waves[:, 1] + phases
    return (0.5 + 0.12 * torch.sin(angle) @ (tints - 0.2)).clamp(0, 1)


def plane_scene(
    n_views: int = 3, size: tuple[int, int] = (160, 120), slope: tuple[float, float] = (0.5, 0.2)
) -> tuple[PosedScene, list[Tensor], Tensor]:
    """A slanted textured plane z = 4 + slope . (x, y), the exact depth of every photo and the plane's normal."""
    width, height = size
    focal = 1.1 * max(size)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    offsets = [(0.0, 0.0), (-0.6, 0.15), (0.6, -0.1), (0.1, 0.6), (-0.2, -0.6), (1.0, 0.2)][:n_views]
    poses = torch.stack([look_from(torch.tensor([x, y, 0.0]), torch.tensor([0, 0, 4.0])) for x, y in offsets])
    cameras = Cameras.create(poses, K.expand(n_views, 3, 3).clone(), width, height)
    normal = torch.nn.functional.normalize(torch.tensor([slope[0], slope[1], -1.0]), dim=0)
    images, depths = [], []
    for i in range(n_views):
        center, rays = pixel_rays(height, width, K, poses[i])
        distance = ((torch.tensor([0, 0, 4.0]) - center) @ normal) / (rays @ normal)
        points = center + rays * distance[..., None]
        images.append(texture(points[..., 0], points[..., 1]))
        depths.append((points @ poses[i, 2, :3]) + poses[i, 2, 3])
    names = tuple(f"{i}.png" for i in range(n_views))
    return PosedScene(names, tuple(images), cameras, no_points()), depths, normal
