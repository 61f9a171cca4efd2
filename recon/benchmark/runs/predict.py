"""`recon bench run`: jobs that are not done yet, spread over an executor, each result written whole or not at all."""

import contextlib
import logging
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from recon.benchmark import machine
from recon.benchmark.runs.executors import Executor
from recon.benchmark.runs.job import FORMAT, RECORD, Entry, Job, Limits, Outcome, Poses, read_record
from recon.benchmark.runs.methods import method_named
from recon.benchmark.runs.sets import BenchSet
from recon.errors import InputError, ResourceError
from recon.events import EventSink, Progress, StageStarted, ignore
from recon.files import write_json

logger = logging.getLogger(__name__)
RUN = "run.json"


@dataclass(frozen=True)
class Plan:
    """Which jobs a run consists of."""

    set: BenchSet
    entries: tuple[Entry, ...]
    poses: tuple[Poses, ...] = ("given",)
    seeds: tuple[int, ...] = (0,)
    align: bool = False
    limits: Limits = field(default_factory=Limits)

    def jobs(self) -> list[Job]:
        """Scenes x seeds x methods x pose tracks, seeds outermost: a run that is stopped has each scene once.

        Raises:
            InputError: a method is unknown, cannot run here or has no such step; test photos are withheld.
        """
        for entry in self.entries:
            method_named(entry.method).check(entry.options)
            if self.align and not method_named(entry.method).aligns:
                raise InputError(f"The method {entry.method} cannot refine test cameras. Leave --align away.")
        if self.align:
            self._require_test_photos()
        return [
            Job(entry, scene, split, self.set.track, poses, seed, self.align and poses == "estimated", limits)
            for seed in self.seeds
            for poses in self.poses
            for entry in self.entries
            for limits in [replace(self.limits, gpus=method_named(entry.method).gpus)]
            for scene, split in self.set.scenes
        ]

    def _require_test_photos(self) -> None:
        for scene, split in self.set.scenes:
            tests = scene.at(split.test_views)
            if missing := [name for name, path in zip(tests.names, tests.image_paths) if path is None]:
                raise InputError(
                    f"--align needs the test photos, but {missing[0]} of {scene.name} is withheld. Leave --align away."
                )


@dataclass(frozen=True)
class Tally:
    """What a run did."""

    done: int
    skipped: int
    """Found finished."""
    failed: tuple[str, ...]
    """Keys of jobs that have no result."""


def predict(plan: Plan, out: Path, executor: Executor, emit: EventSink = ignore) -> Tally:
    """Do every job that `out` does not hold yet. Writes images, cameras, costs and versions; scores nothing.

    Raises:
        InputError: a method cannot run here, or the set lacks what the plan needs.
        ResourceError: the folder is not writable or full.
    """
    jobs = plan.jobs()
    prints = {job.key: fingerprint(job) for job in jobs}
    todo = [job for job in jobs if not is_done(out / job.key, prints[job.key])]
    write_run(plan, out)
    failed: list[str] = []
    skipped = len(jobs) - len(todo)
    emit(StageStarted("bench", "running jobs"))
    emit(Progress("bench", skipped, len(jobs), f"{skipped} done before" if skipped else ""))
    with contextlib.closing(executor.run(todo)) as results:
        for number, (job, outcome) in enumerate(results, skipped + 1):
            save_outcome(out / job.key, job, outcome, prints[job.key])
            if not outcome.ok:
                failed.append(job.key)
                logger.warning("%s: %s", job.key, outcome.reason)
            emit(Progress("bench", number, len(jobs), job.key))
    return Tally(len(todo) - len(failed), skipped, tuple(failed))


def fingerprint(job: Job) -> str:
    """Of the job's inputs and this version of recon."""
    return job.pack().fingerprint({"recon": machine.versions().get("recon", "")})


def is_done(folder: Path, wanted: str) -> bool:
    """Whether the folder holds the finished result of exactly this work."""
    record = read_record(folder)
    return record is not None and record.get("fingerprint") == wanted and record.get("status") == "ok"


def save_outcome(folder: Path, job: Job, outcome: Outcome, key: str) -> None:
    """Write a job's folder under another name and rename it; what an earlier attempt left there goes."""
    values = job.describe() | outcome.record() | {"format": FORMAT, "fingerprint": key, "finished": _now()}
    with _whole_folder(folder) as temporary:
        for name, content in outcome.files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        write_json(temporary / RECORD, values)


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """As `files.atomic_path`, for a folder."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise ResourceError(
            f"Could not write {folder}: {error.strerror or error}. Free some disk space or choose another --out."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_run(plan: Plan, out: Path) -> None:
    """Say what the folder holds, and clear what a killed run left half-written."""
    for leftover in out.rglob(".*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    scenes = {scene.name: split.dataset for scene, split in plan.set.scenes}
    write_json(out / RUN, {"format": FORMAT, "set": plan.set.name, "scenes": scenes, "written": _now()})


def find_jobs(out: Path) -> list[Path]:
    """The folders of all finished jobs below a run's folder, in the order of their names.

    Raises:
        InputError: there are none.
    """
    found = sorted(path.parent for path in out.rglob(RECORD) if not path.parent.name.startswith("."))
    if not found:
        raise InputError(f"{out} holds no results of `recon bench run`. Make some first.")
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
