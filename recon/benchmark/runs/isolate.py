"""One job, done in a folder of its own by child processes that are told nothing else.

A method is called up to three times, each time as a new process whose working directory is the folder:

1. `fit` finds `inputs/` (the input photos) and `task.json`, in the given-pose track also `inputs.json` (their
   cameras). It leaves `cameras.json` (the inputs' cameras in its own world), `fitted.json` and whatever it needs.
2. Only now `tests.json` appears: the test cameras in the method's world. `render` leaves `renders/NAME.png` for each.
   The harness takes these away before anything else happens.
3. If asked for, the test photos appear in `tests/`: `align` may refine the test cameras, nothing else, and leaves
   `aligned.json` and `aligned/NAME.png` (InstantSplat and SparseAGS evaluate so).

Neither folder, arguments nor environment name the place of the data set, and photos are copies, not links. A stored
scene that changes after `fit` fails the job.
"""

import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recon.benchmark import machine
from recon.benchmark.runs.frames import to_method_frame
from recon.benchmark.runs.job import Outcome, Parcel, StepCost
from recon.benchmark.runs.process import run_measured
from recon.data.formats.base import file_size
from recon.data.transforms_json import read_transforms, write_transforms
from recon.errors import InputError, PoseError, ReconError
from recon.files import write_json
from recon.types import Cameras

INPUTS, TASK, INPUT_CAMERAS, CAMERAS, FITTED = "inputs", "task.json", "inputs.json", "cameras.json", "fitted.json"
TEST_CAMERAS, RENDERS, TESTS = "tests.json", "renders", "tests"
ALIGNED_CAMERAS, ALIGNED = "aligned.json", "aligned"
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CXX")
PASSED_PREFIXES = (
    "CUDA_",
    "NVIDIA_",
    "MALLOC_",
    "RECON_NATIVE",
    "RECON_WEIGHTS",
    "RECON_ALLOW",
    "XDG_CACHE_HOME",
    "OMP_WAIT_POLICY",
)
"""Of the environment. RECON_DATA and RECON_DEMO, which name places of photos, are not among them."""


class StepFailedError(ReconError):
    """A call of a method did not do what it should."""

    def __init__(self, message: str, killed: bool = False) -> None:
        super().__init__(message)
        self.killed = killed


@dataclass
class Progress:
    """What a job has so far; whatever fails, this much is known."""

    files: dict[str, bytes]
    steps: dict[str, StepCost]
    fitted: dict[str, Any]


def run_parcel(parcel: Parcel) -> Outcome:
    """Do the job. A method that fails is an outcome, not an exception."""
    where, started = this_machine(), time.monotonic()
    so_far = Progress({}, {}, {})
    reason, killed = "", False
    folder = Path(tempfile.mkdtemp(prefix="recon-bench-"))
    try:
        _all_steps(parcel, folder, so_far)
    except StepFailedError as error:
        reason, killed = str(error), error.killed
    except (InputError, PoseError) as error:
        reason = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    inside = sum(cost.seconds for cost in so_far.steps.values())
    return Outcome(
        ok=not reason,
        reason=reason,
        files=so_far.files,
        steps=so_far.steps,
        size_bytes=so_far.fitted.get("size_bytes"),
        versions=machine.versions() | so_far.fitted.get("versions", {}),
        machine=where,
        harness_seconds=time.monotonic() - started - inside,
        killed=killed,
    )


@functools.cache
def this_machine() -> str:
    """Processor, cores and GPU of the machine that does the work."""
    found = machine.describe()
    return f"{found.cpu}, {found.cores} cores" + (f", {found.gpu}" if found.gpu else "")


def _all_steps(parcel: Parcel, folder: Path, so_far: Progress) -> None:
    _lay_out(parcel, folder)
    _call(parcel, folder, "fit", so_far)
    so_far.fitted.update(_read_fitted(folder))
    estimated = _fixed_cameras(parcel, folder)
    so_far.files[CAMERAS] = (folder / CAMERAS).read_bytes()
    seal = _digest(folder, so_far.fitted["model"])
    tests = parcel.test_cameras
    if parcel.poses == "estimated":
        tests = to_method_frame(tests, parcel.cameras, estimated)
    write_transforms(folder / TEST_CAMERAS, parcel.test_names, tests, images=TESTS)
    _call(parcel, folder, "render", so_far)
    so_far.files |= _collect(folder, RENDERS, parcel.test_names, tests)
    so_far.files[TEST_CAMERAS] = (folder / TEST_CAMERAS).read_bytes()
    if parcel.test_photos:
        _write_all(folder / TESTS, parcel.test_photos)
        _call(parcel, folder, "align", so_far)
        so_far.files |= _collect(folder, ALIGNED, parcel.test_names, tests)
        so_far.files[ALIGNED_CAMERAS] = (folder / ALIGNED_CAMERAS).read_bytes()
    if _digest(folder, so_far.fitted["model"]) != seal:
        raise StepFailedError("The stored scene changed after the test cameras were revealed.")


def _lay_out(parcel: Parcel, folder: Path) -> None:
    _write_all(folder / INPUTS, parcel.photos)
    if parcel.poses == "given":
        write_transforms(folder / INPUT_CAMERAS, tuple(parcel.photos), parcel.cameras, images=INPUTS)
    task = {"seed": parcel.seed, "poses": parcel.poses, "options": parcel.options, "cpus": parcel.limits.cpus}
    write_json(folder / TASK, task)


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _call(parcel: Parcel, folder: Path, step: str, so_far: Progress) -> None:
    command, limits = method_command(parcel.method, step), parcel.limits
    ended = run_measured(command, folder, environment(limits.cpus), limits.seconds, folder / "log.txt")
    so_far.steps[step] = ended.cost
    if ended.timed_out:
        raise StepFailedError(f"{step} took more than the limit of {parcel.limits.seconds:.0f} s.")
    if ended.returncode < 0:
        raise StepFailedError(f"{step} was ended by signal {-ended.returncode}.", killed=True)
    if ended.returncode > 0:
        said = ended.output.splitlines()[-1] if ended.output else "it said nothing"
        raise StepFailedError(f"{step} ended with exit code {ended.returncode}: {said}")


def method_command(name: str, step: str) -> list[str]:
    """How a method is called."""
    return [sys.executable, "-m", "recon.benchmark.runs.methods", name, step]


def environment(cpus: int) -> dict[str, str]:
    """What a method's process is told: how to run, and nothing about where data lies."""
    kept = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_PREFIXES)}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RECON_NUM_THREADS"), str(cpus))
    source = str(Path(__file__).parents[3])  # the child's working directory is not the checkout
    path = os.pathsep.join(part for part in (source, kept.get("PYTHONPATH", "")) if part)
    memory = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}  # see recon.cli.allocator
    return memory | kept | threads | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _read_fitted(folder: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads((folder / FITTED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StepFailedError(f"fit left no readable {FITTED} ({error}).") from error
    return values


def _fixed_cameras(parcel: Parcel, folder: Path) -> Cameras:
    """The inputs' cameras as the method has fixed them, in the order and at the sizes of the inputs."""
    known = read_transforms(folder / CAMERAS)
    order = {Path(name).name: row for row, name in enumerate(known.names)}
    if missing := [name for name in parcel.photos if name not in order]:
        raise StepFailedError(f"fit left no camera for {', '.join(missing)}, not even an unregistered one.")
    cameras = known.cameras[[order[name] for name in parcel.photos]]
    resized = cameras.resized(parcel.cameras.width, parcel.cameras.height)
    return replace(resized, registered=cameras.registered & parcel.cameras.registered)


def _collect(folder: Path, kind: str, names: tuple[str, ...], tests: Cameras) -> dict[str, bytes]:
    """The renderings, moved out of the method's reach."""
    stems = [Path(name).stem for name in names]
    if missing := [stem for stem in stems if not (folder / kind / f"{stem}.png").is_file()]:
        raise StepFailedError(f"No picture {kind}/{missing[0]}.png was left ({len(missing)} of {len(names)} missing).")
    for stem, width, height in zip(stems, tests.width.tolist(), tests.height.tolist()):
        if (size := file_size(folder / kind / f"{stem}.png")) != (width, height):
            raise StepFailedError(f"{kind}/{stem}.png is {size[0]} x {size[1]} pixels; {width} x {height} were asked.")
    files = {f"{kind}/{stem}.png": (folder / kind / f"{stem}.png").read_bytes() for stem in stems}
    shutil.rmtree(folder / kind)
    return files


def _digest(folder: Path, names: list[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
