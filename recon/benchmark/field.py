"""`recon bench field`: how few numbers a radiance field needs, on the Lego of NeRF's synthetic scenes.

Whole hash grids of several sizes against hollow ones: HollowNeRF's mask, and tables pruned while they learn. All are
fitted with the same steps, samples and networks, and skip empty space alike; only the table differs. PSNR is on photos
that none has seen, over white.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from recon import data
from recon.benchmark import machine
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult, Cell, Table
from recon.data.images import resize, select
from recon.data.splits import every_nth
from recon.errors import InputError
from recon.fields import (
    Box,
    FieldConfig,
    FieldTrainConfig,
    FieldTrainer,
    HollowConfig,
    HollowTrainer,
    Occupancy,
    RadianceField,
    render_field,
    run_trainer,
    save_field,
)
from recon.metrics import psnr
from recon.sparse import HashGridConfig
from recon.types import Cameras, ImageSet, PointCloud, PosedScene

SCENE = "bench/nerf_lego100"
BOX = Box((-1.2, -1.2, -0.95), 2.4)
"""What the Lego stands in."""
SIDE, EVERY = 200, 10
"""Longest side of the photos in pixels; every so many of them is held out."""
DENSE = 14
"""The whole table that the others are compared with has 2 to this many entries a level."""
COLUMNS = ("field", "numbers", "share", "file kB", "PSNR", "against whole", "lowest", "highest", "CPU-s")


@dataclass(frozen=True)
class Arm:
    """One way to spend numbers."""

    name: str
    log2_entries: int
    """What a level of the table holds at first."""
    share: float | None = None
    """Of the whole field's numbers, what is left at the end; None: a whole table."""
    hollow: HollowConfig = field(default_factory=HollowConfig)
    claimed: bool = False
    """With `--full`, fitted with three seeds; the others with one."""


ARMS = (
    Arm(f"whole, 2^{DENSE}", DENSE, claimed=True),
    Arm("hollow", 16, 0.56, claimed=True),
    Arm("hollow", 16, 0.31, claimed=True),
    Arm("hollow, coarse mask", 16, 0.20, HollowConfig(mask=16, mask_density=0.4)),
    Arm("whole, 2^12", 12),
    Arm("whole, 2^16", 16),
    Arm("hollow without mask", 16, 0.31, HollowConfig(mask=0)),
    Arm("hollow by magnitude", 16, 0.31, HollowConfig(criterion="magnitude")),
    Arm("hollow at random", 16, 0.31, HollowConfig(criterion="random")),
)
QUICK, QUICK_STEPS, STEPS = 3, 500, 2000
"""So many of them make the short version, of fewer steps."""


@dataclass(frozen=True)
class Fit:
    """What one arm gave with one seed."""

    parameters: int
    size_bytes: int
    psnr: float
    cpu_seconds: float


def run(options: BenchOptions) -> BenchResult:
    """Three seeds with `--full`; else the first arms with one seed and few steps.

    Raises:
        InputError: RECON_DATA does not say where the scene is, or it cannot be read.
    """
    started = time.process_time()
    train, test = lego(SIDE)
    steps, n_seeds = (QUICK_STEPS, 1) if options.quick else (STEPS, 3)
    seeds = [options.seed + i for i in range(n_seeds)]
    fits: list[list[Fit]] = []
    for arm in ARMS[:QUICK] if options.quick else ARMS:
        numbers = fits[0][0].parameters if fits else 0
        fits.append([fit(arm, train, test, steps, seed, numbers) for seed in (seeds if arm.claimed else seeds[:1])])
    table = Table(
        title=f"Lego, {len(test)} held-out photos of {SIDE} pixels, {len(train)} to learn from, {steps} steps",
        columns=COLUMNS,
        rows=tuple(_row(arm.name, found, fits[0]) for arm, found in zip(ARMS, fits)),
        note="Means over the seeds; lowest and highest difference between fits of one seed. Hollow fields start from"
        " 2^16 entries a level. Numbers: table, mask and networks; the file also says which entries are left.",
    )
    return BenchResult(
        name="field",
        description="Numbers against held-out quality of hash-grid fields, whole and hollow",
        command="recon bench field" if options.quick else "recon bench field --full",
        tables=(table,),
        machine=machine.describe(),
        versions=machine.versions(),
        seeds={f"seed {i}": seed for i, seed in enumerate(seeds)},
        options={"quick": options.quick, "steps": steps},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=time.process_time() - started,
    )


def _row(name: str, fits: Sequence[Fit], whole: Sequence[Fit]) -> tuple[Cell, ...]:
    gains = [ours.psnr - theirs.psnr for ours, theirs in zip(fits, whole)]
    numbers = round(fmean(f.parameters for f in fits))
    share, size_kb = f"{100 * numbers / whole[0].parameters:.0f} %", fmean(f.size_bytes for f in fits) / 1e3
    seconds = fmean(f.cpu_seconds for f in fits)
    return name, numbers, share, size_kb, fmean(f.psnr for f in fits), fmean(gains), min(gains), max(gains), seconds


def fit(arm: Arm, train: PosedScene, test: PosedScene, steps: int, seed: int, whole: int) -> Fit:
    """Fits one arm; `whole`: how many numbers a share of 1 means."""
    started = time.process_time()
    size = FieldConfig(HashGridConfig(levels=8, features=2, log2_entries=arm.log2_entries, coarsest=16, finest=256))
    fitted, config = RadianceField(size, BOX, seed), FieldTrainConfig(size=size, steps=steps, seed=seed)
    if arm.share is None:
        trainer = FieldTrainer(train, fitted, config)
        run_trainer(trainer)
    else:
        trainer = HollowTrainer(train, fitted, config, replace(arm.hollow, parameters=int(arm.share * whole)))
        run_trainer(trainer)
        fitted = trainer.finished()
    seconds = time.process_time() - started
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch:
        path = Path(scratch) / "field.npz"
        save_field(path, fitted, trainer.occupancy)
        size_bytes = path.stat().st_size
    return Fit(fitted.n_parameters, size_bytes, held_out_psnr(fitted, trainer.occupancy, test), seconds)


def held_out_psnr(field: RadianceField, occupancy: Occupancy, test: PosedScene) -> float:
    """Mean over the photos, over white."""
    values = []
    for i in range(len(test)):
        assert test.masks is not None, "the scene has an alpha channel"
        truth = over_white(test.images[i], test.masks[i])
        shown = render_field(field, occupancy, test.cameras[i], torch.ones(3))
        values.append(float(psnr(shown.rgb.clamp(0, 1), truth)))
    return fmean(values)


def over_white(rgb: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W"]) -> Float[Tensor, "H W 3"]:
    """A picture with transparency on white."""
    return torch.lerp(torch.ones_like(rgb), rgb, alpha[..., None])


def lego(side: int) -> tuple[PosedScene, PosedScene]:
    """The photos to learn from, and those held out.

    Raises:
        InputError: RECON_DATA does not say where they are, or they cannot be read.
    """
    given = os.environ.get("RECON_DATA")
    if not given:
        raise InputError(f"recon bench field needs RECON_DATA, a folder with {SCENE} (datasets/README.md).")
    folder = Path(given).expanduser() / SCENE
    images, cameras = data.apply_known(data.load_posed(folder), data.load_images(folder / "images"))
    images, width = resize(images, side), torch.full((len(images),), side)
    cameras = cameras.resized(width, width * cameras.height // cameras.width)
    train, test = every_nth(len(images), EVERY)
    return _scene(images, cameras, train), _scene(images, cameras, test)


def _scene(images: ImageSet, cameras: Cameras, indices: list[int]) -> PosedScene:
    """Some photos as a scene, with the colours as they are where the object covers a pixel in part."""
    chosen = select(images, indices)
    if chosen.masks is None:
        raise InputError(f"The photos of {SCENE} have no alpha channel. Fetch the set again (datasets/README.md).")
    colors = tuple(  # photos with transparency are read over white
        ((rgb - (1 - a)[..., None]) / a[..., None].clamp_min(1e-3)).clamp(0, 1)
        for rgb, a in zip(chosen.images, chosen.masks)
    )
    nothing = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    return PosedScene(chosen.names, colors, cameras[indices], nothing, chosen.masks)
