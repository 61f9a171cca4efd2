"""A small scene that can be recognised on screen: one red, one green and one blue ball, seen by three cameras.

The world is tiny on purpose (the balls are 3 mm apart): the viewer must cope with any scale.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recon.compress import write_ply, write_points
from recon.geometry import inverse_se3, look_at
from recon.types import SH_C0, Cameras, PointCloud, PosedScene, Splats

SCALE = 1e-3
UP = torch.tensor([0.0, -1.0, 0.0])
RED, GREEN, BLUE = (230, 20, 20), (20, 200, 30), (30, 40, 220)
CENTERS = {RED: (-1.4, 0.3, 0.0), GREEN: (1.4, 0.3, 0.4), BLUE: (0.0, -0.9, 0.8)}
EYES = ((-2.2, -0.3, -5.5), (0.2, -0.5, -6.0), (2.4, -0.4, -5.4))
WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
THUMBNAIL_COLORS = ((250, 230, 40), (240, 60, 240), (60, 240, 240))


@dataclass(frozen=True)
class BlobRun:
    """A run folder on disk and what was put into it."""

    folder: Path
    splats: Splats
    cameras: Cameras
    points: PointCloud


def ball(rgb: tuple[int, int, int], center: tuple[float, float, float], count: int = 80) -> Splats:
    """A solid ball of Gaussians, its radius 0.45 in units of `SCALE`."""
    generator = torch.Generator().manual_seed(sum(rgb))
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    offsets = 0.33 * torch.rand(count, 1, generator=generator) ** (1 / 3) * direction
    color = (torch.tensor(rgb) / 255.0 - 0.5) / SH_C0
    return Splats(
        means=(torch.tensor(center) + offsets) * SCALE,
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.full((count, 3), math.log(0.09 * SCALE)),
        logit_opacities=torch.full((count,), 4.0),
        sh0=color.expand(count, 1, 3).clone(),
        shN=torch.zeros(count, 0, 3),
    )


def blob_splats() -> Splats:
    return Splats.cat([ball(rgb, center) for rgb, center in CENTERS.items()])


def blob_cameras() -> Cameras:
    """Three cameras in front of the balls."""
    target = torch.tensor([0.0, 0.0, 0.3]) * SCALE
    poses = torch.stack([look_at(torch.tensor(eye) * SCALE, target, UP) for eye in EYES])
    K = torch.tensor([[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]])
    return Cameras.create(poses, K.expand(3, 3, 3).clone(), WIDTH, HEIGHT)


def blob_points() -> PointCloud:
    """White points where the balls are: told from the splats by colour."""
    xyz = blob_splats().means
    return PointCloud(xyz, torch.ones_like(xyz), torch.ones(len(xyz)))


def blob_posed_scene() -> PosedScene:
    images = tuple((torch.tensor(rgb) / 255.0).expand(HEIGHT, WIDTH, 3).contiguous() for rgb in THUMBNAIL_COLORS)
    return PosedScene(("a.jpg", "b.jpg", "c.jpg"), images, blob_cameras(), blob_points())


def write_run(folder: Path, splats: Splats | None = None, cameras: Cameras | None = None) -> BlobRun:
    """Write the run folder as `recon run` lays it out; `cameras.json` by hand, as a check on its convention."""
    folder.mkdir(parents=True)
    (folder / "thumbnails").mkdir()
    splats, cameras, points = splats or blob_splats(), cameras or blob_cameras(), blob_points()
    write_ply(folder / "splats.ply", splats)
    write_points(folder / "points.ply", points)
    frames = []
    for index, world_from_cam in enumerate(inverse_se3(cameras.cam_from_world)):
        opengl = world_from_cam.double().numpy() @ np.diag([1.0, -1.0, -1.0, 1.0])  # y up, z backward
        name = f"photo_{index}.jpg"
        lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
        frames.append({"file_path": f"../{name}", "transform_matrix": opengl.tolist(), **lens})
        color = THUMBNAIL_COLORS[index]
        Image.new("RGB", (WIDTH, HEIGHT), color).save(folder / "thumbnails" / name)
    (folder / "cameras.json").write_text(json.dumps({"camera_model": "OPENCV", "frames": frames}))
    (folder / "metrics.json").write_text(json.dumps({"held_out": {"measured": 2, "psnr": 24.318}}))
    return BlobRun(folder, splats, cameras, points)
