"""Scenes written to disk as each format documents it, from cameras that are known: the truth of the readers' tests.

Writers know the formats from their documents, not from the readers. All are float64 with 17 digits; scenes are hundreds
of units wide, as DTU's millimetres are.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recon.geometry import look_at, rotmat_to_quat
from recon.types import Cameras

WIDTH, HEIGHT = 80, 60
N_VIEWS = 5
# Colour of the photos: red counts columns, green rows, blue is the view's own.
RAMP = np.stack(np.meshgrid(np.arange(WIDTH) * 3, np.arange(HEIGHT) * 4), axis=-1).astype(np.uint8)


def cameras(n: int = N_VIEWS, centered: bool = False) -> Cameras:
    """On an arc around a scene of several hundred units; lenses differ unless `centered`."""
    angles = torch.linspace(-0.6, 0.7, n, dtype=torch.float64)
    eyes = torch.stack([600 * angles.sin() + 30, -150 + 60 * angles, -600 * angles.cos() + 700], dim=1)
    target = torch.tensor([10.0, -20.0, 650.0], dtype=torch.float64)
    up = torch.tensor([0.05, -1.0, 0.1], dtype=torch.float64)
    poses = torch.stack([look_at(eye, target, up) for eye in eyes])
    k = torch.arange(n, dtype=torch.float64)
    Ks = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    Ks[:, 0, 0] = 90.123456789 + (0 if centered else 1) * k
    Ks[:, 1, 1] = 90.123456789 if centered else 91.23456789 - 0.5 * k
    Ks[:, 0, 2] = WIDTH / 2 + (0 if centered else 1) * (1.23456789 - 0.3 * k)
    Ks[:, 1, 2] = HEIGHT / 2 + (0 if centered else 1) * (0.7654321 * k - 2)
    return Cameras.create(poses, Ks, WIDTH, HEIGHT)


def points(n: int = 12) -> torch.Tensor:
    """[n, 3] in front of all cameras."""
    generator = torch.Generator().manual_seed(5)
    spread = torch.tensor([120.0, 80.0, 90.0], dtype=torch.float64)
    center = torch.tensor([10.0, -20.0, 650.0], dtype=torch.float64)
    return center + spread * (torch.rand(n, 3, generator=generator, dtype=torch.float64) - 0.5)


def photo(path: Path, view: int, alpha: bool = False, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A ramp that tells its view by its blue; transparent in the left half if `alpha`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.dstack([RAMP, np.full((HEIGHT, WIDTH), 20 * view, np.uint8)])
    if alpha:
        opaque = np.where(np.arange(WIDTH) < WIDTH // 2, 0, 255).astype(np.uint8)
        pixels = np.dstack([pixels, np.broadcast_to(opaque, (HEIGHT, WIDTH))])
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path)


def numbers(values: torch.Tensor) -> str:
    """A matrix, a line for each row."""
    return "".join(" ".join(f"{value:.17g}" for value in row) + "\n" for row in torch.atleast_2d(values).tolist())


def projections(of: Cameras) -> torch.Tensor:
    return of.Ks @ of.cam_from_world[:, :3]


def opengl(of: Cameras) -> list[list[list[float]]]:
    """Camera to world, x right, y up, z backward."""
    return (of.world_from_cam @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))).tolist()


def write_spare(root: Path, of: Cameras, lightings: Sequence[int] = (3,)) -> None:
    """SpaRe: photos in the scene, matrices of all scenes beside it."""
    for i, P in enumerate(projections(of)):
        for light in lightings:
            photo(root / f"cam_{i + 1:03d}_{light}_0000.png", i)
        folder = root.parent / "synth_calibration"
        folder.mkdir(exist_ok=True)
        (folder / f"pos_{i + 1:03d}.txt").write_text(numbers(P))


def write_dtu(root: Path, of: Cameras) -> None:
    """DTU: matrices two levels up in Calibration/cal18, up to any factor."""
    for i, P in enumerate(projections(of)):
        photo(root / f"rect_{i + 1:03d}_3_r5000.png", i)
        folder = root.parent.parent / "Calibration" / "cal18"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"pos_{i + 1:03d}.txt").write_text(numbers(P * (-2.5 if i % 2 else 0.01)))


def poses_bounds(of: Cameras) -> np.ndarray:
    """Rows of 17: [down, right, backward, centre, (height, width, focal)] by rows, near, far."""
    right, down, forward, center = of.world_from_cam[:, :3].unbind(2)
    hwf = torch.stack([of.height.double(), of.width.double(), of.Ks[:, 0, 0]], dim=1)
    matrices = torch.stack([down, right, -forward, center, hwf], dim=2).reshape(len(of), 15)
    depths = torch.tensor([[100.5, 900.25]], dtype=torch.float64).expand(len(of), 2)
    return torch.cat([matrices, depths], dim=1).numpy()


def write_llff(root: Path, of: Cameras) -> None:
    """The photos are those of a camera that counted on past 9: rows are in the order of names sorted as text."""
    for i, name in enumerate(sorted(f"IMG_{k + 8}.png" for k in range(len(of)))):
        photo(root / "images" / name, i)
    np.save(root / "poses_bounds.npy", poses_bounds(of))


def write_blender(root: Path, of: Cameras) -> None:
    """The last two views are test, the one before val."""
    angle = 2 * math.atan(0.5 * WIDTH / float(of.Ks[0, 0, 0]))
    parts = {"train": range(len(of) - 3), "val": [len(of) - 3], "test": [len(of) - 2, len(of) - 1]}
    for part, views in parts.items():
        frames = []
        for k, view in enumerate(views):
            photo(root / part / f"r_{k}.png", view, alpha=True)
            frames.append({"file_path": f"./{part}/r_{k}", "rotation": 0.0126, "transform_matrix": opengl(of)[view]})
        meta = {"camera_angle_x": angle, "frames": frames}
        (root / f"transforms_{part}.json").write_text(json.dumps(meta))


def write_nerfstudio(root: Path, of: Cameras) -> None:
    """Own intrinsics for each frame, masks and depth in millimetres."""
    frames = []
    for i, matrix in enumerate(opengl(of)):
        photo(root / "images" / f"frame_{i:05d}.png", i)
        (root / "masks").mkdir(exist_ok=True)
        (root / "depth").mkdir(exist_ok=True)
        Image.fromarray((RAMP[..., 0] > 120).astype(np.uint8) * 255).save(root / "masks" / f"{i}.png")
        Image.fromarray(RAMP[..., 0].astype(np.uint16) * 10).save(root / "depth" / f"{i}.png")
        K = of.Ks[i].tolist()
        lens = {"fl_x": K[0][0], "fl_y": K[1][1], "cx": K[0][2], "cy": K[1][2], "w": WIDTH, "h": HEIGHT}
        files = {"file_path": f"images/frame_{i:05d}.png", "mask_path": f"masks/{i}.png"}
        frames.append({**files, "depth_file_path": f"depth/{i}.png", **lens, "transform_matrix": matrix})
    (root / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", "frames": frames}))


def write_colmap(root: Path, of: Cameras, text: bool = False) -> None:
    """A camera for each photo; mip-NeRF 360's folders. Binary layout: colmap.github.io/format.html."""
    folder = root / "sparse" / "0"
    folder.mkdir(parents=True)
    quats, t = rotmat_to_quat(of.cam_from_world[:, :3, :3]).tolist(), of.cam_from_world[:, :3, 3].tolist()
    lenses = [[K[0][0], K[1][1], K[0][2], K[1][2]] for K in of.Ks.tolist()]
    names = [f"DSC{i + 8:05d}.png" for i in range(len(of))]
    for i, name in enumerate(names):
        photo(root / "images" / name, i)
    if text:
        params = [numbers(torch.tensor(lens, dtype=torch.float64)) for lens in lenses]
        rows = [f"{i + 1} PINHOLE {WIDTH} {HEIGHT} {lens}" for i, lens in enumerate(params)]
        (folder / "cameras.txt").write_text("# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n" + "".join(rows))
        poses = [numbers(torch.tensor([*q, *p], dtype=torch.float64)).strip() for q, p in zip(quats, t)]
        rows = [f"{i + 1} {pose} {i + 1} {name}\n\n" for i, (pose, name) in enumerate(zip(poses, names))]
        (folder / "images.txt").write_text("# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n" + "".join(rows))
        (folder / "points3D.txt").write_text("1 1.5 2.5 3.5 255 0 51 0.5 1 0 2 0\n")
        return
    data = struct.pack("<Q", len(of))
    for i, params in enumerate(lenses):
        data += struct.pack("<IiQQ4d", i + 1, 1, WIDTH, HEIGHT, *params)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(of))
    for i, name in enumerate(names):
        data += struct.pack("<I7dI", i + 1, *quats[i], *t[i], i + 1) + name.encode() + b"\0" + struct.pack("<Q", 0)
    (folder / "images.bin").write_bytes(data)
    point = struct.pack("<Q3d3BdQ", 1, 1.5, 2.5, 3.5, 255, 0, 51, 0.5, 0)
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", 1) + point)


def write_colmap_text(root: Path, of: Cameras) -> None:
    write_colmap(root, of, text=True)


def write_middlebury(root: Path, of: Cameras) -> None:
    lines = [str(len(of))]
    for i in range(len(of)):
        photo(root / f"temple{i + 1:04d}.png", i)
        values = torch.cat(
            [of.Ks[i].reshape(-1), of.cam_from_world[i, :3, :3].reshape(-1), of.cam_from_world[i, :3, 3]]
        )
        lines.append(f"temple{i + 1:04d}.png {numbers(values).strip()}")
    (root / "temple_par.txt").write_text("\n".join(lines) + "\n")


def write_strecha(root: Path, of: Cameras) -> None:
    (root / "gt_dense_cameras").mkdir(parents=True)
    for i in range(len(of)):
        photo(root / "images" / f"{i:04d}.png", i)
        pose = of.world_from_cam[i]
        text = numbers(of.Ks[i]) + "0 0 0\n" + numbers(pose[:3, :3]) + numbers(pose[:3, 3]) + f"{WIDTH} {HEIGHT}\n"
        (root / "gt_dense_cameras" / f"{i:04d}.png.camera").write_text(text)


def write_strecha_P(root: Path, of: Cameras) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for i, P in enumerate(projections(of)):
        photo(root / "urd" / f"{i:04d}.png", i)
        (root / f"{i:04d}.png.P").write_text(numbers(P))


WRITERS: dict[str, tuple[str, Callable[[Path, Cameras], None]]] = {
    "spare": ("spare", write_spare),
    "dtu": ("spare", write_dtu),
    "llff": ("llff", write_llff),
    "blender": ("blender", write_blender),
    "nerfstudio": ("nerfstudio", write_nerfstudio),
    "colmap": ("colmap", write_colmap),
    "colmap text": ("colmap", write_colmap_text),
    "middlebury": ("middlebury", write_middlebury),
    "strecha": ("strecha", write_strecha),
    "strecha P": ("strecha", write_strecha_P),
}
"""Layout -> the format that must recognise it, and its writer."""


def write(layout: str, root: Path) -> Cameras:
    """Write a scene in `layout` to `root`, which is two levels deep in a folder of its own; its true cameras."""
    of = cameras(centered=layout in ("llff", "blender"))
    root.mkdir(parents=True)
    WRITERS[layout][1](root, of)
    return of


def scaled(of: Cameras, width: int, height: int) -> Cameras:
    """The same lenses for photos of another size: K scaled about the corner of the first pixel."""
    scale = torch.tensor([width / WIDTH, height / HEIGHT, 1.0], dtype=torch.float64)
    n = len(of)
    return replace(of, Ks=scale[:, None] * of.Ks, width=torch.full((n,), width), height=torch.full((n,), height))
