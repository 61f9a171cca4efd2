"""Splat files without photos, for `recon bench compress`: how small they become, and what who walks around them sees of
the loss."""

import gzip
import math
import tempfile
from pathlib import Path

import torch

from recon.benchmark.results import Cell, Table
from recon.compress import PRESETS, ply_bytes, read_splats, squeeze, write_splats
from recon.geometry.se3 import look_at
from recon.metrics import psnr
from recon.pipeline.pictures import render_view
from recon.render import Rasterizer
from recon.types import Cameras, Splats

FORMATS = (".spz", ".sog")
VIEWS, SIDE = 12, 400
FOCAL = 1.2
"""In sides of the picture."""
HEIGHTS_RAD = (-0.35, 0.1, 0.55)
"""The orbit goes up and down between these."""
INSIDE = 0.95
"""The pictures show this share of the Gaussians."""


def file_table(folder: Path, rasterizer: Rasterizer) -> Table:
    """Each file in each format and preset."""
    rows: list[tuple[Cell, ...]] = []
    for file in sorted(path for path in folder.glob("*") if path.suffix in (".ply", ".splat")):
        splats = read_splats(file)
        size, cameras = ply_bytes(splats), around(splats)
        rows.append((file.name, "PLY, gzip", len(splats), size / gzipped_bytes(splats), None))
        for kind in (*FORMATS, *PRESETS):
            stored, n_bytes = _stored(splats, kind)
            likeness = likeness_db(splats, stored, cameras, rasterizer)
            rows.append((file.name, kind, len(stored), size / n_bytes, likeness))
    note = (
        "smaller: than the PLY file with the same harmonics. dB like before: mean PSNR of what it shows against what "
        f"the file showed, from {VIEWS} places around it, {SIDE} pixels; over the pixels that it covers."
    )
    columns = ("file", "format", "Gaussians", "smaller", "dB like before")
    return Table("splat files without photos", columns, tuple(rows), note)


def around(splats: Splats) -> Cameras:
    """Cameras on an orbit that goes up and down, so far away that nearly all Gaussians are in the picture."""
    middle = splats.means.median(0).values
    radius = float(torch.quantile((splats.means - middle).norm(dim=1)[:: len(splats) // 100_000 + 1], INSIDE))
    turn = torch.arange(VIEWS) * (2 * math.pi / VIEWS)
    height = torch.tensor(HEIGHTS_RAD)[torch.arange(VIEWS) % len(HEIGHTS_RAD)]
    way = torch.stack([height.cos() * turn.sin(), -height.sin(), height.cos() * turn.cos()], 1)
    eyes = middle + way * radius * (2 * FOCAL + 0.2)
    poses = look_at(eyes, middle.expand(VIEWS, 3), torch.tensor([0.0, -1.0, 0.0]).expand(VIEWS, 3))
    K = torch.tensor([[FOCAL * SIDE, 0, SIDE / 2], [0, FOCAL * SIDE, SIDE / 2], [0, 0, 1]])
    return Cameras.create(poses, K.repeat(VIEWS, 1, 1), SIDE, SIDE)


def likeness_db(before: Splats, after: Splats, cameras: Cameras, rasterizer: Rasterizer) -> float:
    """Mean PSNR between what the two show, over black, where either covers anything; at most 99."""
    total = 0.0
    for i in range(len(cameras)):
        wanted, shown = (render_view(s, cameras[i], rasterizer) for s in (before, after))
        covered = (torch.maximum(wanted.alpha, shown.alpha) > 1 / 255).float()
        total += min(99.0, float(psnr(shown.rgb.clamp(0, 1), wanted.rgb.clamp(0, 1), covered)))
    return total / len(cameras)


def gzipped_bytes(splats: Splats) -> int:
    """Of the PLY file, after gzip."""
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch:
        path = Path(scratch) / "splats.ply"
        write_splats(path, splats)
        return len(gzip.compress(path.read_bytes(), 6))


def _stored(splats: Splats, kind: str) -> tuple[Splats, int]:
    """What a format or preset makes of splats, and its size in bytes."""
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch:
        path = Path(scratch) / f"splats{'.sog' if kind in PRESETS else kind}"
        if kind in PRESETS:
            path.write_bytes(squeeze(splats, PRESETS[kind]).data)
        else:
            write_splats(path, splats)
        return read_splats(path), path.stat().st_size
