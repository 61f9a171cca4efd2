"""`recon bench demo`: the whole job on the demo photos, as a user starts it, one photo held out.

Each preset is one `recon run` in a process and a folder of its own, so that times and memory are what a user sees.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recon import errors
from recon.benchmark import machine
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult, Cell, Table
from recon.data.folder import list_photos
from recon.errors import InputError, ReconError
from recon.pipeline.monitor import cpu_seconds

HOLDOUT = 1
QUICK, FULL = ("draft",), ("draft", "standard")
FOLDER_VARIABLE = "RECON_DEMO"
CHECKOUT_FOLDER = Path(__file__).parents[2] / "assets" / "demo"


@dataclass(frozen=True)
class Job:
    """One finished run."""

    quality: str
    command_seconds: float
    """Wall time from the command to its last line, start-up included."""
    metrics: dict[str, Any]
    """The run's `metrics.json`."""


def run(options: BenchOptions) -> BenchResult:
    """The presets `draft`, and with `--full` also `standard`. Each runs once: `repeats` has no meaning here.

    Raises:
        InputError: the demo photos are not there.
        ReconError: a run failed, for the reason it gives.
    """
    photos = demo_folder()
    started = cpu_seconds()
    jobs = [measure(photos, quality, options.seed) for quality in (QUICK if options.quick else FULL)]
    return BenchResult(
        name="demo",
        description=f"The whole job on the demo photos, {HOLDOUT} of {len(list_photos(photos)[0])} held out",
        command="recon bench demo" if options.quick else "recon bench demo --full",
        tables=(result_table(jobs), stage_table(jobs)),
        machine=machine.describe(),
        versions=machine.versions(),
        seeds={"run": options.seed},
        options={"quick": options.quick, "holdout": HOLDOUT},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=cpu_seconds() - started,
    )


def demo_folder() -> Path:
    """The demo photos: `$RECON_DEMO`, else `assets/demo` of the checkout that this code runs from.

    Raises:
        InputError: neither is there.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    folder = Path(given).expanduser() if given else CHECKOUT_FOLDER
    if not folder.is_dir():
        raise InputError(
            f"The demo photos are not in {folder}: an installed package does not carry them. Run this from a checkout, "
            f"or set {FOLDER_VARIABLE} to a folder with photos of one scene."
        )
    return folder


def measure(photos: Path, quality: str, seed: int = 0, extra: Sequence[str] = ()) -> Job:
    """Run the command in a folder that is thrown away; its progress goes to stderr as usual.

    Args:
        extra: further options of `recon run`.

    Raises:
        ReconError: the run failed; of the class that its exit code stands for.
    """
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch:
        command = [
            *(sys.executable, "-m", "recon.cli", "run", "--images", str(photos), "--out", str(Path(scratch) / "recon")),
            *("--quality", quality, "--holdout", str(HOLDOUT), "--seed", str(seed), "--json", *extra),
        ]
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.monotonic() - started
    if done.returncode != 0:
        raise _failure(quality, done)
    return Job(quality, seconds, json.loads(done.stdout)["metrics"])


def _failure(quality: str, done: subprocess.CompletedProcess[str]) -> BaseException:
    if done.returncode in (130, -2):
        return KeyboardInterrupt()
    kinds = {
        kind.exit_code: kind
        for kind in (errors.InputError, errors.PoseError, errors.ResourceError, errors.MissingDependencyError)
    }
    kind = kinds.get(done.returncode, ReconError)
    return kind(f"recon run --quality {quality} ended with exit code {done.returncode}; the reason is above.")


def result_table(jobs: Sequence[Job]) -> Table:
    """What came out, and what it cost in all."""
    rows: list[tuple[Cell, ...]] = []
    for job in jobs:
        m = job.metrics
        scores = m["held_out"]
        rows.append(
            (
                job.quality,
                f"{m['photos']['placed']} of {m['photos']['used']}",
                m["gaussians"],
                m["files"]["splats.ply"] / 1e6,
                *(scores[metric] for metric in ("psnr", "ssim", "lpips")),
                job.command_seconds,
                m["total"]["cpu_seconds"],
                m["total"]["peak_memory_bytes"] / 1e9,
            )
        )
    return Table(
        title="Result",
        columns=(
            "quality", "placed", "Gaussians", "splats.ply MB", "held-out PSNR", "SSIM", "LPIPS", "seconds", "CPU-s",
            "peak GB",
        ),
        rows=tuple(rows),
        note=(
            "Seconds: wall time from the command to its last line. CPU-s and peak memory: of the stages, children "
            "included. The held-out photo takes part in nothing; its camera is then estimated against the finished "
            "model, and it is compared at the size trained at."
        ),
    )  # fmt: skip


def stage_table(jobs: Sequence[Job]) -> Table:
    """Where the time went."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (job.quality, name, cost["seconds"], cost["cpu_seconds"], cost["peak_memory_bytes"] / 1e9)
        for job in jobs
        for name, cost in job.metrics["stages"].items()
    )
    return Table(title="Stages", columns=("quality", "stage", "seconds", "CPU-s", "peak GB"), rows=rows)
