"""`recon bench compress`: size against held-out quality, for every preset and every format.

Few-view scenes are trained with some photos held out, then stored in every way; what is read back is rendered in the
held-out photos' places. With `--full` also scenes below RECON_DATA, with given cameras and six photos each; the
splat files in RECON_DATA/dev/splats, which have no photos; and the time that 300 000 Gaussians take.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean

import torch

from recon import native
from recon.benchmark import machine
from recon.benchmark.demo import demo_folder
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult, Cell, Table
from recon.benchmark.splat_files import file_table, gzipped_bytes
from recon.compress import PRESETS, SPLAT_SUFFIXES, CompressConfig, ply_bytes, read_splats, squeeze, write_splats
from recon.compress.compact import Kind
from recon.data.folder import list_photos
from recon.errors import InputError, ReconError
from recon.geometry.so3 import quat_to_rotmat
from recon.metrics import ImageScores, score_image
from recon.optimize.budget.config import BudgetConfig
from recon.optimize.budget.prune import within_budget
from recon.pipeline import open_finished
from recon.pipeline.evaluate import Scored, score
from recon.pipeline.monitor import cpu_seconds
from recon.pipeline.pictures import render_view
from recon.pipeline.stages import Trained
from recon.render import Rasterizer, select_rasterizer
from recon.runfolder import RunFolder, open_run
from recon.types import Splats

PHOTOS = 6
FULL_SCENES = ("dev/lund_door", "bench/llff_fern", "bench/kitchen")
LARGE = 300_000
"""So many Gaussians are in the scene that is timed."""
LARGE_OPTIONS = (
    *("--set", "dense.scale=1"),
    *("--set", f"train.init.max_gaussians={LARGE - 20_000}", "--set", f"train.densify.max_gaussians={LARGE}"),
)
HALVED = math.log(0.7)
"""How much narrower half a Gaussian is."""
SPLAT_FOLDER = "dev/splats"
COLORS: tuple[tuple[str, Kind], ...] = (
    *((preset, "harmonics") for preset in PRESETS),
    *(("web", kind) for kind in ("hybrid", "latents", "field")),
)
"""Presets whose colours a network knows."""
HALF = BudgetConfig()
"""How half of the Gaussians are left out; how many these are, the scene says."""
COLUMNS = ("format", "Gaussians", "MB", "smaller", "dB lost", "SSIM lost", "LPIPS more", "write CPU-s", "read CPU-s")


@dataclass(frozen=True)
class Scene:
    """Trained splats, and photos that they were not trained on."""

    name: str
    trained: Trained
    held_out: list[Scored]
    rasterizer: Rasterizer

    def scores(self, splats: Splats) -> list[ImageScores]:
        """Each held-out photo against what `splats` show in its place."""
        return [
            score_image(view.name, render_view(splats, view.camera, self.rasterizer).rgb.clamp(0, 1), view.truth)
            for view in self.held_out
        ]


def run(options: BenchOptions) -> BenchResult:
    """The demo photos; with `--full` also the data's scenes and splat files. Each is done once.

    Raises:
        InputError: the demo photos are not there, or with `--full` RECON_DATA is not set.
        ReconError: training failed, for the reason it gives.
    """
    started = cpu_seconds()
    data = None if options.quick else data_folder()
    tables = [measure(train_scene("demo", demo_folder(), options.seed))]
    if data is not None:
        tables += [measure(train_scene(name, data / name, options.seed)) for name in FULL_SCENES]
        tables.append(file_table(data / SPLAT_FOLDER, select_rasterizer()))
        tables.append(time_table(train_scene("demo, large", demo_folder(), options.seed, LARGE_OPTIONS)))
    return BenchResult(
        name="compress",
        description="Size against quality on held-out photos, for every preset and format",
        command="recon bench compress" if options.quick else "recon bench compress --full",
        tables=tuple(tables),
        machine=machine.describe(),
        versions=machine.versions(),
        seeds={"run": options.seed},
        options={"quick": options.quick, "photos": PHOTOS},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=cpu_seconds() - started,
    )


def data_folder() -> Path:
    """Where the scenes are.

    Raises:
        InputError: RECON_DATA does not say.
    """
    given = os.environ.get("RECON_DATA")
    if not given:
        raise InputError("recon bench compress --full needs RECON_DATA, a folder with scenes (datasets/README.md).")
    return Path(given).expanduser()


def train_scene(name: str, folder: Path, seed: int, extra: Sequence[str] = ()) -> Scene:
    """`recon run` with the draft preset in a folder that is thrown away, at least one photo held out."""
    photos, poses = (folder / "images", ["--poses", str(folder)]) if (folder / "images").is_dir() else (folder, [])
    holdout = max(1, len(list_photos(photos)[0]) - PHOTOS)
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch:
        out = Path(scratch) / "recon"
        command = [
            *(sys.executable, "-m", "recon.cli", "run", "--images", str(photos), *poses, "--out", str(out)),
            *("--quality", "draft", "--holdout", str(holdout), "--seed", str(seed), *extra),
        ]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode != 0:
            raise ReconError(f"Training on {folder} failed; the reason is above.")
        return open_scene(name, open_run(out))


def open_scene(name: str, folder: RunFolder) -> Scene:
    """A finished run with its held-out photos, placed against the splats as they are before compression."""
    finished = open_finished(folder)
    scored, _ = score(finished, finished.value("images").held_out)
    if not scored:
        raise ReconError(f"None of the held-out photos of {name} could be placed, so there is nothing to measure with.")
    return Scene(name, finished.value("train"), scored, finished.rasterizer)


def measure(scene: Scene) -> Table:
    """All formats, trained under a budget of half the Gaussians, all presets, and colours that a network knows."""
    splats = scene.trained.splats
    before, zipped = scene.scores(splats), gzipped_bytes(splats)
    size = (zipped / 1e6, ply_bytes(splats) / zipped)
    rows: list[tuple[Cell, ...]] = [("PLY, gzip", len(splats), *size, 0.0, 0.0, 0.0, None, None)]
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch:
        for suffix in SPLAT_SUFFIXES:
            stored = _store(Path(scratch) / f"splats{suffix}", partial(write_splats, splats=splats))
            rows.append(_row(suffix, stored, ply_bytes(splats), before, scene.scores(stored.splats)))
        stored = _store(Path(scratch) / "half.ply", partial(_half_to, scene=scene))
        rows.append(_row("half, .ply", stored, ply_bytes(splats), before, scene.scores(stored.splats)))
        for preset, config in PRESETS.items():
            stored = _store(Path(scratch) / "small.sog", partial(_squeeze_to, scene=scene, config=config))
            rows.append(_row(f"{preset} (.sog)", stored, ply_bytes(splats), before, scene.scores(stored.splats)))
        for preset, colors in COLORS:
            config = replace(PRESETS[preset], colors=colors)
            stored = _store(Path(scratch) / "small.csog", partial(_squeeze_to, scene=scene, config=config))
            rows.append(_row(f"{preset}, {colors}", stored, ply_bytes(splats), before, scene.scores(stored.splats)))
    quality = " / ".join(f"{mean:.3f}" for mean in _means(before) if mean is not None)
    note = f"{len(before)} held-out photos; as trained: PSNR / SSIM / LPIPS {quality}. `smaller`: than the PLY."
    return Table(scene.name, COLUMNS, tuple(rows), note)


def time_table(scene: Scene) -> Table:
    """How long packing and unpacking take, on as many threads as there are."""
    trained = scene.trained
    scene = replace(scene, trained=replace(trained, splats=grown(trained.splats, LARGE)))
    splats = scene.trained.splats
    before = scene.scores(splats)
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch:
        for preset, config in PRESETS.items():
            path = Path(scratch) / f"{preset}.sog"
            started = time.perf_counter()
            stored = _store(path, partial(_squeeze_to, scene=scene, config=config))
            seconds = time.perf_counter() - started
            lost = _means(before)[0] - _means(scene.scores(stored.splats))[0]
            smaller = ply_bytes(splats) / stored.size_bytes
            rows.append((preset, len(splats), smaller, lost, seconds, stored.write_seconds, stored.read_seconds))
    width, height = (int(size[0]) for size in (scene.trained.cameras.width, scene.trained.cameras.height))
    return Table(
        "time for a large scene",
        ("preset", "Gaussians", "smaller", "dB lost", "seconds, both ways", "write CPU-s", "read CPU-s"),
        tuple(rows),
        f"{len(scene.trained.cameras)} photos of {width}x{height}; {native.thread_count()} threads. "
        f"{len(trained.splats)} Gaussians as trained, the largest of them cut in two; dB lost: to these.",
    )


def grown(splats: Splats, count: int) -> Splats:
    """Exactly `count`: the largest are cut in two along their longest axis, again and again."""
    while len(splats) < count:
        order = splats.log_scales.amax(1).argsort(descending=True, stable=True)
        cut, whole = order[: count - len(splats)], order[count - len(splats) :]
        longest = splats.log_scales[cut].argmax(1)
        axes = quat_to_rotmat(torch.nn.functional.normalize(splats.quats[cut], dim=1))
        along = axes.gather(2, longest[:, None, None].expand(-1, 3, 1))[..., 0]
        apart = along * splats.scales[cut].amax(1, keepdim=True) / 2
        narrower = splats.log_scales[cut] + HALVED * torch.nn.functional.one_hot(longest, 3)
        halves = [replace(splats[cut], means=splats.means[cut] + side * apart, log_scales=narrower) for side in (-1, 1)]
        splats = Splats.cat([splats[whole], *halves])
    return splats[:count]


def _squeeze_to(path: Path, scene: Scene, config: CompressConfig) -> None:
    path.write_bytes(squeeze(scene.trained.splats, config, scene.trained.cameras, scene.rasterizer).data)


def _half_to(path: Path, scene: Scene) -> None:
    """What `--max-gaussians` of half as many gives: leaving out is the last part of training, the rest is the same."""
    trained = scene.trained
    budget = replace(HALF, max_gaussians=len(trained.splats) // 2)
    write_splats(path, within_budget(trained.splats, trained.cameras, budget, scene.rasterizer))


@dataclass(frozen=True)
class Stored:
    """A file that was written and read."""

    splats: Splats
    size_bytes: int
    write_seconds: float
    read_seconds: float


def _store(path: Path, write: Callable[[Path], None]) -> Stored:
    started = time.process_time()
    write(path)
    written = time.process_time()
    splats = read_splats(path)
    return Stored(splats, path.stat().st_size, written - started, time.process_time() - written)


def _row(
    name: str, stored: Stored, before_bytes: int, before: list[ImageScores], after: list[ImageScores]
) -> tuple[Cell, ...]:
    (psnr, ssim, lpips), (psnr_after, ssim_after, lpips_after) = _means(before), _means(after)
    return (
        name,
        len(stored.splats),
        stored.size_bytes / 1e6,
        before_bytes / stored.size_bytes,
        psnr - psnr_after,
        ssim - ssim_after,
        None if lpips is None or lpips_after is None else lpips_after - lpips,
        stored.write_seconds,
        stored.read_seconds,
    )


def _means(scores: list[ImageScores]) -> tuple[float, float, float | None]:
    """PSNR, SSIM and LPIPS; that of pictures too small for it is not known."""
    lpips = [s.lpips for s in scores if s.lpips is not None]
    return fmean(s.psnr for s in scores), fmean(s.ssim for s in scores), fmean(lpips) if lpips else None
