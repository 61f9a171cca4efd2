"""A tiny synthetic scene with exact truth: a textured wall seen by a few cameras. Synthetic because truth is needed."""

import torch

from recon.geometry.projection import unproject_depth
from recon.render import Rasterizer, render, select_rasterizer
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene, Splats

SIZE = (64, 48)


def rasterizer() -> Rasterizer:
    return select_rasterizer("cpu")


def arc_cameras(n: int, spread: float = 0.6) -> Cameras:
    """`n` cameras on a line at z = -4, looking along z."""
    poses = torch.eye(4).repeat(n, 1, 1)
    poses[:, 2, 3] = 4.0
    poses[:, 0, 3] = -torch.linspace(-spread, spread, n)
    K = torch.tensor([[70.0, 0.0, SIZE[0] / 2], [0.0, 70.0, SIZE[1] / 2], [0.0, 0.0, 1.0]])
    return Cameras.create(poses, K.repeat(n, 1, 1), *SIZE)


def wall(n: int = 5000, seed: int = 0) -> Splats:
    """Opaque coloured discs on the plane z = 0 and some in front of it; no photo sees through."""
    generator = torch.Generator().manual_seed(seed)
    xy = (torch.rand(n, 2, generator=generator) - 0.5) * torch.tensor([6.0, 4.5])
    z = torch.where(torch.rand(n, generator=generator) < 0.2, -0.7, 0.0) * (xy.norm(dim=1) < 1.0)
    # Discs in exactly one plane would change their order with every turn of the camera.
    z = z + 0.3 * torch.rand(n, generator=generator)
    rgb = 0.5 + 0.45 * torch.sin(xy @ torch.tensor([[2.1, 0.7, 3.0], [0.4, 2.6, -1.5]]))
    return Splats(
        means=torch.cat([xy, z[:, None]], dim=1),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        log_scales=torch.tensor([0.1, 0.1, 0.01]).log().repeat(n, 1),
        logit_opacities=torch.full((n,), 3.0),
        sh0=((rgb - 0.5) / 0.28209479)[:, None, :],
        shN=torch.zeros(n, 0, 3),
    )


def scene(n: int = 3, poses: Cameras | None = None) -> tuple[PosedScene, DepthMaps, Splats]:
    """Photos, depth and points rendered from `wall()`; `poses` replaces the cameras that are told."""
    truth, cameras = wall(), arc_cameras(n)
    out = render(truth, cameras, rasterizer())
    images = tuple(image.clamp(0, 1) for image in out.rgb)
    xyz = torch.cat(
        [unproject_depth(out.depth[i], cameras.Ks[i], cameras.cam_from_world[i]).reshape(-1, 3)[::2] for i in range(n)]
    )
    rgb = torch.cat([image.reshape(-1, 3)[::2] for image in images])
    points = PointCloud(xyz, rgb, torch.ones(len(xyz)))
    depths = DepthMaps(tuple(out.depth), tuple((a > 0.9).float() for a in out.alpha))
    names = tuple(f"{i}.png" for i in range(n))
    return PosedScene(names, images, poses or cameras, points), depths, truth
