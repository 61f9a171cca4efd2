"""Finding a camera by moving it alone, on small pictures made smaller yet. Synthetic because truth is
needed: a finely textured wall with a bump, its photo made from a rendering of three times the size."""

from dataclasses import replace

import torch
from optimize_scenes import rasterizer

from recon.geometry.se3 import exp_se3
from recon.optimize import AlignConfig, align_camera
from recon.optimize.targets import resample
from recon.render import render
from recon.types import Cameras, Splats

FOCAL = 1.1
"""In longest sides."""
DEPTH = 4.0


def wall(n: int = 6000) -> Splats:
    generator = torch.Generator().manual_seed(0)
    xy = (torch.rand(n, 2, generator=generator) - 0.5) * torch.tensor([6.0, 4.5])
    z = torch.where(xy.norm(dim=1) < 1.0, -0.7, 0.0) + 0.02 * torch.rand(n, generator=generator)
    coarse = xy @ torch.tensor([[2.1, 0.7, 3.0], [0.4, 2.6, -1.5]])
    fine = xy @ torch.tensor([[19.0, 7.0, -25.0], [6.0, 23.0, 11.0]])
    rgb = 0.5 + 0.2 * torch.sin(coarse) + 0.25 * torch.sin(fine) * torch.sin(1.7 * fine.flip(1) + 1)
    return Splats(
        means=torch.cat([xy, z[:, None]], dim=1),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        log_scales=torch.tensor([0.084, 0.084, 0.0093]).log().repeat(n, 1),
        logit_opacities=torch.full((n,), 3.0),
        sh0=((rgb - 0.5) / 0.28209479)[:, None, :],
        shN=torch.zeros(n, 0, 3),
    )


def camera(width: int) -> Cameras:
    height = width * 3 // 4
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([0.2, 0.0, DEPTH])
    K = torch.tensor([[FOCAL * width, 0.0, width / 2], [0.0, FOCAL * width, height / 2], [0.0, 0.0, 1.0]])
    return Cameras.create(pose[None], K[None], width, height)


def moved(true: Cameras, share: float, n: int) -> list[Cameras]:
    """The camera off by about `share` of the picture's width, part shift, part turn, in `n` directions."""
    generator = torch.Generator().manual_seed(1)
    size = torch.tensor([DEPTH] * 3 + [1.0] * 3) * share / FOCAL * 2**0.5
    steps = [torch.nn.functional.normalize(torch.randn(6, generator=generator), dim=0) * size for _ in range(n)]
    return [replace(true, cam_from_world=exp_se3(step[None]) @ true.cam_from_world) for step in steps]


def offset(found: Cameras, true: Cameras) -> float:
    """Mean distance in the picture between where the two cameras see the scene, as a share of its width."""
    points = torch.tensor([[0.0, 0, 4], [0.5, 0.5, 3.3], [-0.5, 0.5, 4], [0.9, -0.5, 4]])
    delta = found.cam_from_world[0] @ torch.linalg.inv(true.cam_from_world[0])
    seen = points @ delta[:3, :3].T + delta[:3, 3]
    return FOCAL * float((seen[:, :2] / seen[:, 2:] - points[:, :2] / points[:, 2:]).norm(dim=1).mean())


def test_coarse_pictures_lead_to_the_right_place() -> None:
    """Splats drawn small are not the photo made small: what fitted best there was a third farther away."""
    truth, true = wall(), camera(128)
    large = render(truth, camera(3 * 128), rasterizer()).rgb[0].clamp(0, 1)
    photo = resample(large.permute(2, 0, 1), (96, 128), "area").permute(1, 2, 0).contiguous()

    def left(starts: list[Cameras], scales: tuple[float, ...]) -> float:
        config = AlignConfig(scales=scales)
        return sum(offset(align_camera(truth, photo, start, rasterizer(), config), true) for start in starts)

    near, far = moved(true, 0.0075, 4)[2:], moved(true, 0.04, 2)[1:]
    assert left(near, (0.25, 0.5, 1.0)) < 1.2 * left(near, (1.0,)) < 0.6 * sum(offset(start, true) for start in near)
    assert left(far, (0.25, 0.5, 1.0)) < 0.2 * left(far, (1.0,))
