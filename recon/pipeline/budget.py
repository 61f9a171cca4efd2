"""A target in megabytes: what splats weigh as a file, and that file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recon.compress import PRESETS, file_bytes, squeeze
from recon.files import atomic_path
from recon.pipeline.core import Run
from recon.types import Cameras, Splats

PRESET = "web"
"""Of the file that a target in megabytes is for."""


def weigh(splats: Splats) -> int:
    """Bytes of the small file that all of `splats` make."""
    return file_bytes(splats, PRESETS[PRESET])


def write_within(run: Run, splats: Splats, cameras: Cameras) -> tuple[Sequence[Path], dict[str, Any] | None]:
    """Write trained splats as a file of the size asked for, and say what is in it; nothing if none was asked for.

    Raises:
        InputError: the target is too small.
        ResourceError: the folder is not writable or the disk is full.
    """
    target = run.config.train.budget.target_mb
    if target is None:
        return (), None
    # Training has left out what had to go.
    config = replace(PRESETS[PRESET], keep=1.0, target_bytes=round(target * 1e6))
    squeezed = squeeze(splats, config, cameras, run.rasterizer, run.emit)
    out = run.folder.root / f"splats_{PRESET}.sog"
    with atomic_path(out) as temporary:
        temporary.write_bytes(squeezed.data)
    about = {"file": out.name, "bytes": len(squeezed.data), "gaussians": len(squeezed.splats)}
    return (out,), {"preset": PRESET, "target_mb": target, **about}
