"""Path-trace scenes: Blender's module in a Python of its own, run as a child process, one a scene."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.benchmark.generate.cap import RigSize, rig
from recon.benchmark.generate.layout import (
    LIGHTINGS,
    SceneFiles,
    world_from_opengl,
    write_calibration,
    write_scene_cameras,
)
from recon.benchmark.generate.scenes import SceneSpec, choose_scenes
from recon.benchmark.generate.split import TRACKS, ViewSplit, choose_views
from recon.config import to_mapping
from recon.data.split_files import read_splits, write_splits
from recon.errors import InputError, MissingDependencyError, ResourceError
from recon.events import EventSink, Progress, ignore
from recon.files import write_json
from recon.types import Cameras

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).parent / "blender"
PYTHON_VARIABLE = "RECON_BLENDER_PYTHON"
BLENDER = "bpy==4.5.*"
"""The version the figures in docs/decisions/0008-path-tracer.md were measured with; it needs Python 3.11."""
ALL_ON = 3
"""The lighting that is evaluated: all lamps on."""
SEED_LIMIT = 2**31


@dataclass(frozen=True)
class GenerateConfig:
    """What to render, and where to."""

    out: Path
    scenes: tuple[str, ...] = ("all",)
    models: Path | None = None
    """Folder with the model files that some scenes name."""
    views: RigSize = 49
    """Cameras of the rig."""
    every_view: bool = False
    """Render all of them; otherwise those of the split alone (9 inputs and the test views)."""
    test_views: int = 10
    size: tuple[int, int] = (1600, 1200)
    """Width and height in pixels."""
    lights: tuple[int, ...] = (ALL_ON,)
    samples: int = 64
    """Paths a pixel, before denoising."""
    seed: int = 0
    blender_python: Path | None = None

    def check(self) -> None:
        """Raises InputError for a value that cannot be."""
        if min(self.size) < 8 or max(self.size) > 8192:
            raise InputError(f"--size must be 8 to 8192 pixels each way, got {self.size[0]} {self.size[1]}.")
        if not self.lights or not set(self.lights) <= set(LIGHTINGS):
            raise InputError(
                f"--lights must be some of 0 to 6 (3 is all lamps on), got {' '.join(map(str, self.lights))}."
            )
        if self.samples < 1:
            raise InputError(f"--samples must be at least 1, got {self.samples}.")
        if not 0 <= self.seed < SEED_LIMIT:
            raise InputError(f"--seed must be 0 to {SEED_LIMIT - 1}, got {self.seed}.")


@dataclass(frozen=True)
class Generated:
    """What a call of `generate` did."""

    scenes: tuple[str, ...]
    rendered: int
    """Pictures made now."""
    kept: int
    """Pictures that were there."""


@dataclass(frozen=True)
class _Work:
    """One scene of a call."""

    spec: SceneSpec
    files: SceneFiles
    split: ViewSplit
    n_shots: int
    missing: list[tuple[int, int]]
    """(view, lighting) of the pictures that are not there yet."""


def generate(config: GenerateConfig, emit: EventSink = ignore) -> Generated:
    """Render the scenes of `config` into `config.out` (see `layout`). What is there is kept: a stopped call goes on.

    Raises:
        InputError: an unknown scene, a missing model file, an impossible setting, or others than those that the folder
            was begun with.
        MissingDependencyError: there is no Python with Blender's module.
        ResourceError: the path tracer failed, or its files could not be written.
    """
    config.check()
    cameras = rig(config.views, *config.size)
    works = [_plan(spec, config, cameras) for spec in choose_scenes(config.scenes, config.models)]
    python = find_blender(config.blender_python) if any(work.missing for work in works) else Path()
    _write_index(config, works)
    write_calibration(config.out, cameras)
    total = sum(work.n_shots for work in works)
    rendered = sum(len(work.missing) for work in works)
    done = total - rendered
    for work in works:
        emit(Progress("generate", done, total, work.spec.name))
        for _ in trace(python, _job(work, config, cameras)) if work.missing else ():
            done += 1
            emit(Progress("generate", done, total, work.spec.name))
        write_scene_cameras(work.files, cameras)
    return Generated(tuple(work.spec.name for work in works), rendered, total - rendered)


def _plan(spec: SceneSpec, config: GenerateConfig, cameras: Cameras) -> _Work:
    files = SceneFiles(config.out, spec.name)
    split = choose_views(cameras.centers, spec.name, config.seed, config.test_views)
    views = range(len(cameras)) if config.every_view else split.views
    shots = [(view, light) for view in views for light in dict.fromkeys(config.lights)]
    missing = [shot for shot in shots if not _is_complete(files, split, *shot)]
    return _Work(spec, files, split, len(shots), missing)


def _is_complete(files: SceneFiles, split: ViewSplit, view: int, lighting: int) -> bool:
    return all(path.is_file() for path in (files.image(view, lighting, split), files.mask(view), files.depth(view)))


def _job(work: _Work, config: GenerateConfig, cameras: Cameras) -> dict[str, Any]:
    """What the path tracer is told; it adds whatever of a shot is not there."""
    poses = world_from_opengl(cameras).tolist()
    return work.spec.job() | {
        "seed": config.seed,
        "models": str((config.models or Path()).resolve()),
        "size": list(config.size),
        "samples": config.samples,
        "focal_px": float(cameras.Ks[0, 0, 0]),
        "views": [{"view": view, "world_from_opengl": poses[view]} for view in sorted({v for v, _ in work.missing})],
        "shots": [
            {
                "view": view,
                "light": light,
                "image": str(work.files.image(view, light, work.split).resolve()),
                "mask": str(work.files.mask(view).resolve()),
                "depth": str(work.files.depth(view).resolve()),
            }
            for view, light in work.missing
        ],
    }


def trace(python: Path, job: dict[str, Any]) -> Iterator[int]:
    """Run one job of `recon/benchmark/generate/blender`; yields the number of each shot when its files are whole.

    Raises:
        ResourceError: the program ended with an error, or without having rendered everything.
    """
    with tempfile.TemporaryDirectory(prefix="recon-generate-") as folder:
        file = Path(folder) / "job.json"
        write_json(file, job)
        command = [str(python), str(PROGRAM), str(file)]
        done = 0
        with subprocess.Popen(
            command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as child:
            said: deque[str] = deque(maxlen=40)
            try:
                for line in child.stdout or ():
                    said.append(line.rstrip())
                    logger.debug("blender: %s", said[-1])
                    if line.startswith("SHOT "):
                        done += 1
                        yield int(line.split()[1])
                code = child.wait()
            finally:
                child.kill()
        if code != 0 or done < len(job["shots"]):
            raise ResourceError(
                f"The path tracer ended with code {code} after {done} of {len(job['shots'])} pictures; what is "
                "finished is kept, and the same command goes on. Its last words:\n  " + "\n  ".join(list(said)[-6:])
            )


def find_blender(given: Path | None = None) -> Path:
    """A Python that has Blender's module: the one given, $RECON_BLENDER_PYTHON, or the one that runs recon.

    The module is only ever loaded there, in a process of its own.

    Raises:
        MissingDependencyError: none of them has it; says how to get it.
    """
    named = given or (Path(os.environ[PYTHON_VARIABLE]) if os.environ.get(PYTHON_VARIABLE) else None)
    python = (named or Path(sys.executable)).expanduser()
    check = "import importlib.util as u, sys; sys.exit(u.find_spec('bpy') is None)"
    try:
        found = (
            subprocess.run([python, "-c", check], env=_environment(), capture_output=True, timeout=60).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        found = False
    if not found:
        raise MissingDependencyError(
            f"Rendering needs Blender's Python module, which {python} does not have. It takes an environment of its "
            "own with Python 3.11 (1 GB):\n"
            f'  python3.11 -m venv ~/.recon-blender && ~/.recon-blender/bin/pip install "{BLENDER}"\n'
            "then add --blender-python ~/.recon-blender/bin/python"
        )
    return python


def _environment() -> dict[str, str]:
    """Without our packages: the child has its own, and must not see torch's or numpy's of this one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _write_index(config: GenerateConfig, works: Sequence[_Work]) -> None:
    """The split files and `scenes.json`, with what earlier calls wrote kept in them.

    Raises:
        InputError: the folder was begun with other settings, or a scene's description has changed since: pictures that
            do not belong together would be mixed.
    """
    folder = config.out / "inputs"
    settings = {
        "size": list(config.size),
        "samples": config.samples,
        "seed": config.seed,
        "views": config.views,
        "test_views": config.test_views,
    }
    index = _read_json(folder / "scenes.json") or {"settings": settings, "scenes": {}}
    differ = [f"{key} {index['settings'].get(key)}" for key in settings if index["settings"].get(key) != settings[key]]
    scenes = {work.spec.name: to_mapping(work.spec) for work in works}
    differ += [f"another scene {name}" for name in scenes if index["scenes"].get(name, scenes[name]) != scenes[name]]
    if differ:
        raise InputError(
            f"{config.out} was begun with other settings ({', '.join(differ)}). Repeat those, or choose another --out."
        )
    write_json(folder / "scenes.json", index | {"scenes": index["scenes"] | scenes})
    for track in TRACKS:
        path = folder / f"Track{track}_split.json"
        earlier = read_splits(path) if path.is_file() else {}
        write_splits(path, earlier | {work.spec.name: work.split.of_track(track) for work in works})


def _read_json(path: Path) -> Any:
    """None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}). Delete it; it is written anew.") from error
