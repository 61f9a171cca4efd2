"""Compressing a finished run, with its photos' cameras, or a splat file without."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from recon.compress import CompressConfig, Squeezed, ply_bytes, read_splats, squeeze
from recon.config import Device
from recon.events import EventSink, StageStarted, ignore
from recon.files import atomic_path
from recon.metrics import psnr
from recon.pipeline import open_finished
from recon.pipeline.pictures import render_view
from recon.pipeline.stages import Trained
from recon.render import Rasterizer
from recon.runfolder import RunFolder
from recon.types import Cameras, Splats

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompressReport:
    """What became of the splats."""

    out: Path
    gaussians_before: int
    gaussians: int
    bytes_before: int
    """Of the PLY file with the same harmonics."""
    bytes: int
    seconds: float
    likeness_db: float | None
    """Mean PSNR, in the photos' views, against what the splats showed before; None without cameras."""

    @property
    def ratio(self) -> float:
        return self.bytes_before / self.bytes


def compress_run(
    folder: RunFolder, out: Path, config: CompressConfig, device: Device = "auto", emit: EventSink = ignore
) -> CompressReport:
    """Compress the splats of a finished run into the file `out`: SOG, or `.csog` with `config.colors`.

    Raises:
        InputError: the target is too small.
        ResourceError: the folder of `out` is not writable or the disk is full.
    """
    run = open_finished(folder, emit, device)
    trained: Trained = run.value("train")
    emit(StageStarted("compress"))
    started = time.monotonic()
    squeezed = squeeze(trained.splats, config, trained.cameras, run.rasterizer, emit)
    seconds = time.monotonic() - started
    likeness = likeness_db(trained.splats, squeezed.splats, trained.cameras, run.rasterizer)
    return _write(out, trained.splats, squeezed, seconds, likeness)


def compress_file(source: Path, out: Path, config: CompressConfig) -> CompressReport:
    """Compress a splat file of any format into the file `out`: SOG, or `.csog` with `config.colors`. There are no
    cameras: see `recon.compress.squeeze`.

    Raises:
        InputError: the file cannot be read, or the target is too small.
        ResourceError: the folder of `out` is not writable or the disk is full.
    """
    splats = read_splats(source)
    started = time.monotonic()
    squeezed = squeeze(splats, config)
    return _write(out, splats, squeezed, time.monotonic() - started, None)


def likeness_db(before: Splats, after: Splats, cameras: Cameras, rasterizer: Rasterizer) -> float:
    """Mean PSNR of what `after` shows against what `before` shows, at most 99."""
    total = 0.0
    for i in range(len(cameras)):
        shown, wanted = (render_view(s, cameras[i], rasterizer).rgb.clamp(0, 1) for s in (after, before))
        total += min(99.0, float(psnr(shown, wanted)))
    return total / len(cameras)


def _write(out: Path, before: Splats, squeezed: Squeezed, seconds: float, likeness: float | None) -> CompressReport:
    with atomic_path(out) as temporary:
        temporary.write_bytes(squeezed.data)
    size = ply_bytes(before)
    report = CompressReport(out, len(before), len(squeezed.splats), size, len(squeezed.data), seconds, likeness)
    log.info("compressed %.1fx in %.1f s: %s", report.ratio, seconds, out)
    return report
