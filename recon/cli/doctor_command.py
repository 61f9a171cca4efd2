"""`recon doctor`: what this machine has, what recon would use, what is missing and how to get it."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

import recon
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.errors import MissingDependencyError

REQUIRED = (
    *("torch", "numpy", "scipy", "opencv-python-headless", "pycolmap", "viser", "plyfile", "pillow", "pillow-heif"),
    *("imageio-ffmpeg", "jaxtyping", "kornia", "pyyaml", "psutil", "rich", "safetensors", "tyro"),
)
ON_A_GPU = ("gsplat",)
EXTRAS = {
    "ray": (("ray",), "recon bench run --on ray"),
    "mesh": (("PyMCubes", "fast-simplification", "xatlas", "trimesh"), "textured meshes"),
}
"""Of recon, by name: its distributions, and what they are for."""
ENOUGH_MEMORY, ENOUGH_DISK = 3e9, 1e9
MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    state: str
    """`ok`, `note` (works, but could be better) or `missing` (the main job would fail)."""
    found: str
    advice: str = ""


def execute(options: Any, console: Console) -> Result:
    """Check everything; the exit code is 0 if `recon run` would work. Compiles the native library if it is missing."""
    with contextlib.suppress(Exception):  # a broken installation is reported below
        announce_compiling(console)
    checks = [
        Check("recon", "ok", recon.__version__),
        Check("system", "ok", f"{platform.platform()}"),
        *_guarded(_hardware, "hardware"),
        Check("python", "ok" if sys.version_info >= (3, 11) else "missing", platform.python_version()),
        *_packages(),
        *_guarded(_torch, "torch"),
        *_guarded(_native, "native library"),
        *_guarded(_rasterizer, "rasterizer"),
        *_guarded(_weights, "weights"),
        *_guarded(_feed_forward, "pose models"),
        *_guarded(_segmenter, "object masks"),
        *_guarded(_priors, "priors"),
        *_guarded(_extras, "extras"),
        *_guarded(_blender, "Blender's module"),
        *_guarded(_peers, "peers"),
        *_guarded(_ffmpeg, "ffmpeg"),
        *_guarded(_presets, "presets"),
        *_guarded(_disk, "disk"),
    ]
    works = all(check.state != "missing" for check in checks)
    value = {"status": "ok" if works else "missing", "checks": [asdict(check) for check in checks]}
    verdict = "recon run will work here." if works else "recon run will not work until what is missing is there."
    return Result(value, [_table(checks), verdict], exit_code=0 if works else 5)


def _guarded(check: Any, name: str) -> list[Check]:
    """A check that fails says so instead of ending the others: finding broken installations is what doctor is for."""
    try:
        return list(check())
    except Exception as error:
        return [Check(name, "missing", f"{type(error).__name__}: {error}", "Install recon again: pip install .")]


def _hardware() -> list[Check]:
    import psutil

    from recon.pipeline.summary import processor_name

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    enough = memory.available > ENOUGH_MEMORY
    return [
        Check("processor", "ok", f"{processor_name()}, {cores} cores usable ({platform.machine()})"),
        Check(
            "memory",
            "ok" if enough else "note",
            f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB free",
            "" if enough else "A run takes up to 3 GB: close other programs or use --quality draft.",
        ),
    ]


def _packages() -> list[Check]:
    missing = [name for name in REQUIRED if not _installed(name)]
    advice = f"pip install {' '.join(missing)}" if missing else ""
    checks = [
        Check(
            "packages",
            "missing" if missing else "ok",
            f"missing: {', '.join(missing)}" if missing else f"all {len(REQUIRED)} there",
            advice,
        )
    ]
    absent = [name for name in ON_A_GPU if not _installed(name)]
    if absent:
        checks.append(Check("packages for a GPU", "note", f"missing: {', '.join(absent)}", f"pip install {absent[0]}"))
    return checks


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _torch() -> list[Check]:
    import torch

    checks = [Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        return [*checks, Check("GPU", "ok", f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}")]
    built = (
        f"built for CUDA {torch.version.cuda}, but no device is usable" if torch.version.cuda else "CPU build of torch"
    )
    return [*checks, Check("GPU", "ok", f"none ({built}); the CPU is used")]


def _native() -> list[Check]:
    from recon import native

    info = native.describe()
    if info.path is None:
        advice = "Install a C++ compiler (Debian, Ubuntu: apt install g++); it is used once, automatically."
        return [Check("native library", "note", info.reason, advice)]
    return [Check("native library", "ok", f"{info.isa}, {native.thread_count()} threads: {info.path} ({info.reason})")]


def _rasterizer() -> list[Check]:
    from recon.render import select_rasterizer

    chosen = select_rasterizer("auto")
    why = {
        "cuda": "gsplat's CUDA kernels, as there is a GPU",
        "cpu": "the native library, as there is no GPU",
        "torch_tiles": "plain PyTorch, as there is neither a GPU nor the native library: 20 to 40 times slower",
    }.get(chosen.name, "")
    return [Check("rasterizer", "note" if chosen.name == "torch_tiles" else "ok", f"{chosen.name}: {why}")]


def _weights() -> list[Check]:
    from recon.assets import weight_folders
    from recon.poses import BACKENDS
    from recon.poses.feedforward import FEED_FORWARD

    checks = []
    optional = [backend.name for backend in FEED_FORWARD]
    for name, backend in sorted(BACKENDS.items()):
        if name == "known" or name in optional:  # needs nothing, or has lines of its own
            continue
        ready, why = backend.available()
        checks.append(Check(f"poses: {name}", "ok" if ready else "note", "ready" if ready else why))
    if not any(backend.available()[0] for backend in BACKENDS.values()):
        checks.append(Check("poses", "missing", "no backend can run", "Install recon again: pip install ."))
    found = [path for folder in weight_folders() if (path := folder / "lpips").is_dir()]
    advice = "" if found else "Held-out photos are then measured without LPIPS. Set RECON_WEIGHTS to a folder with it."
    checks.append(Check("LPIPS weights", "ok" if found else "note", str(found[0]) if found else "not found", advice))
    return checks


def _feed_forward() -> list[Check]:
    """The optional pose models: package, and which of their weights are on the disk. Nothing is downloaded."""
    from recon.assets import cached_checkpoint
    from recon.poses.feedforward import FEED_FORWARD

    checks = []
    for backend in FEED_FORWARD:
        installed, why = backend.available()
        here = [str(checkpoint) for checkpoint in backend.checkpoints if cached_checkpoint(checkpoint)]
        weights = f"weights here: {'; '.join(here)}" if here else "no weights here"
        if not installed:
            found = f"optional, {why}" + (f"; {weights}" if here else "")
            checks.append(Check(f"poses: {backend.name}", "ok", found))
            continue
        first = backend.checkpoints[0]
        offer = "" if here else f"--allow-download fetches {first}" if backend.has_default else _named(backend)
        checks.append(Check(f"poses: {backend.name}", "ok" if here else "note", f"installed, {weights}", offer))
    return checks


def _named(backend: Any) -> str:
    """How to ask for weights that are not for everybody."""
    return "Name the weights: " + "; ".join(f"--set poses.checkpoint={known}" for known in backend.checkpoints)


def _segmenter() -> list[Check]:
    """What finds the object where no masks are given."""
    from recon.priors.segment import SEGMENTERS

    checks = []
    for segmenter in SEGMENTERS.values():
        if segmenter.name == "none":
            continue
        ready, why = segmenter.available()
        checks.append(
            Check(f"object masks: {segmenter.name}", "ok" if ready else "note", "ready" if ready else "no weights", why)
        )
    return checks


def _priors() -> list[Check]:
    """What `--prior` and `--depth-prior` can name: what is missing, licence and size of the weights."""
    from recon.priors.depth import DEPTH_MODELS, make_depth_model
    from recon.priors.diffusion import PRIORS, make_prior

    pictures = [_prior("prior", make_prior(name)) for name in PRIORS if name != "none"]
    return [*pictures, *(_prior("depth-prior", make_depth_model(name)) for name in DEPTH_MODELS)]


def _prior(option: str, prior: Any) -> Check:
    ready, why = prior.available()
    licence = prior.licence
    terms = f", licence {licence.name}, {licence.megabytes:.0f} MB" if licence.name else ""
    if not licence.commercial:
        terms += ", no commercial use"
    found = f"ready{terms}" if ready else f"optional, for --{option}{terms}. {why}"
    return Check(f"{option}: {prior.name}", "ok", found)


def _extras() -> list[Check]:
    """Packages that only some commands need; without them nothing is wrong."""
    checks = []
    for extra, (distributions, purpose) in EXTRAS.items():
        missing = [name for name in distributions if not _installed(name)]
        here = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions if name not in missing)
        lack = f"optional, for {purpose}: pip install 'recon[{extra}]' (missing: {', '.join(missing)})"
        checks.append(Check(f"extra: {extra}", "ok", lack if missing else here))
    return checks


def _blender() -> list[Check]:
    """The path tracer of `recon dataset render`, which has a Python of its own."""
    from recon.benchmark.generate.render import BLENDER, PYTHON_VARIABLE, find_blender

    try:
        return [Check("Blender's module", "ok", f"of {find_blender()}")]
    except MissingDependencyError:
        python = os.environ.get(PYTHON_VARIABLE) or sys.executable
        how = f'pip install "{BLENDER}" in a Python of its own that ${PYTHON_VARIABLE} names'
        return [Check("Blender's module", "ok", f"optional, for recon dataset render: {python} lacks it; {how}")]


def _peers() -> list[Check]:
    """Programs of others that `recon bench run` can compare with."""
    from recon.benchmark.runs.methods import METHODS
    from recon.benchmark.runs.methods.external import ExternalMethod

    peers = [method for method in METHODS.values() if isinstance(method, ExternalMethod)]
    found = {peer.name: shutil.which(peer.program) for peer in peers}
    return [
        Check(
            f"peer: {peer.name}",
            "ok",
            found[peer.name] or f"optional, for recon bench run: no {peer.program} on the PATH. {peer.advice}",
        )
        for peer in peers
    ]


def _ffmpeg() -> list[Check]:
    from recon.video import ffmpeg_path

    path = ffmpeg_path()
    if path is None:
        return [Check("ffmpeg", "note", "not found: no MP4 videos", "pip install imageio-ffmpeg")]
    return [Check("ffmpeg", "ok", path)]


def _presets() -> list[Check]:
    from recon.config import config_folder, preset_names

    return [Check("presets", "ok", f"{', '.join(preset_names())} in {config_folder()}")]


def _disk() -> list[Check]:
    free = shutil.disk_usage(Path.cwd()).free
    advice = "" if free > ENOUGH_DISK else "A run needs a few hundred MB: free some space, or use --out elsewhere."
    return [Check("disk", "ok" if free > ENOUGH_DISK else "note", f"{free / 1e9:.1f} GB free here", advice)]


def _table(checks: list[Check]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for wrapping in (False, False, True):
        table.add_column(no_wrap=not wrapping, overflow="fold")
    for check in checks:
        text = check.found + (f"\n-> {check.advice}" if check.advice else "")
        table.add_row(MARKS[check.state], check.name, text.replace("[", "\\["))
    return table
