"""Which jobs `recon bench views` runs, and what it prints of their scores."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from recon import config as configuration
from recon.benchmark import machine
from recon.benchmark.evaluate import SceneReport
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult
from recon.benchmark.runs.executors import select_executor
from recon.benchmark.runs.job import Entry, Job, Limits, Poses
from recon.benchmark.runs.predict import Plan, predict
from recon.benchmark.runs.score import Scored, score_run
from recon.benchmark.runs.sets import DEMO, BenchSet, find_root, open_set
from recon.benchmark.views.arms import Arm, choose_arms
from recon.benchmark.views.sheets import write_sheets
from recon.benchmark.views.tables import make_tables
from recon.config import RunConfig
from recon.data.split_files import Split, committed_splits, read_splits
from recon.errors import InputError
from recon.events import EventSink, Progress, StageStarted, ignore
from recon.files import write_json
from recon.metrics import ImageScores
from recon.pipeline.monitor import cpu_seconds

SCORES = "scores.json"
"""Beside a job's record: it goes when the job is done anew."""
SHARED_OPTIONS = {"images.masks": "none"}
"""Of all arms. Objects with transparency are shown to every method on white, as the truth is."""


@dataclass(frozen=True)
class ViewsOptions:
    """What is compared on what."""

    scenes: tuple[str, ...] = ()
    """Folders below RECON_DATA, kinds of scenes (`real`, `rendered`), or `demo`; all that are there if empty."""
    photos: tuple[int, ...] = (3, 6, 9)
    poses: tuple[Poses, ...] = ("given", "estimated")
    arms: tuple[str, ...] = ("methods",)
    """Labels or groups of `recon.benchmark.views.arms`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    max_side: int = 504
    """Longest side of photos and pictures: LLFF's usual 504 x 378."""
    quality: str = "standard"
    options: Mapping[str, str] = field(default_factory=dict)
    """For every arm, such as `train.steps`; an arm's own go over them."""
    out: Path | None = None
    """Keep the results here, and continue; None: a folder that is thrown away."""
    on: str = "local"
    jobs: int = 1
    limits: Limits = field(default_factory=Limits)


FULL = ViewsOptions()
QUICK = ViewsOptions(
    scenes=("bench/llff_fern",),
    photos=(3,),
    poses=("given",),
    seeds=(0,),
    max_side=320,
    quality="draft",
    options={"train.steps": "300"},
)


def run(options: BenchOptions) -> BenchResult:
    """`run_views` as it is without options of its own."""
    seeds = tuple(options.seed + k for k in range(1 if options.quick else len(FULL.seeds)))
    return run_views(replace(QUICK if options.quick else FULL, seeds=seeds), "" if options.quick else "--full")


def run_views(options: ViewsOptions, command: str = "", emit: EventSink = ignore) -> BenchResult:
    """Run what is not done yet, score it, put the tables together. Failed jobs count as black pictures.

    Args:
        command: what was asked for on the command line, for the head of the tables.

    Raises:
        InputError: no data, scene or arm of a name; a setting that does not exist.
    """
    started = cpu_seconds()
    arms = choose_arms(options.arms)
    plans = list(make_plans(options, arms))  # what is wrong with any of them is said before the first runs
    with contextlib.ExitStack() as stack:
        out = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recon-views-")))
        scored: list[Scored] = []
        for plan, root in plans:
            predict(plan, out, select_executor(options.on, options.jobs), emit)
            results = score_plan(plan, out, root, emit)
            write_sheets(out, root, plan.set, results)
            scored += results
    return BenchResult(
        name="views",
        description="Held-out views from a few photos",
        command=f"recon bench views {command}".strip(),
        tables=make_tables(scored, arms, options.max_side),
        machine=machine.describe(),
        versions=machine.versions(),
        seeds={"run": min(options.seeds)},
        options={name: value for name, value in asdict(options).items() if name not in ("out", "limits")},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=cpu_seconds() - started,
    )


def make_plans(options: ViewsOptions, arms: tuple[Arm, ...]) -> Iterator[tuple[Plan, Path]]:
    """A plan for each number of photos and kind of poses, and the folder of the truth.

    Raises:
        InputError: as `run_views`.
    """
    for count in options.photos:
        found, root = open_scenes(options, count)
        for poses in options.poses:
            entries = tuple(make_entry(arm, options) for arm in arms if arm.only in (None, poses))
            yield Plan(found, entries, (poses,), options.seeds, poses == "estimated", options.limits), root


def make_entry(arm: Arm, options: ViewsOptions) -> Entry:
    """An arm with the options that all arms share.

    Raises:
        InputError: a setting that does not exist.
    """
    chosen = {"quality": options.quality} | SHARED_OPTIONS | dict(options.options) | dict(arm.options)
    settings = [f"{key}={value}" for key, value in chosen.items() if "." in key]
    configuration.resolve(RunConfig(Path(), Path()), quality=options.quality, assignments=settings)
    return Entry(arm.label, arm.method, chosen)


def open_scenes(options: ViewsOptions, count: int) -> tuple[BenchSet, Path]:
    """The scenes with `count` inputs each, and the folder that they lie in: RECON_DATA, or that of the demo photos.

    Raises:
        InputError: none of the scenes is there.
    """
    data = os.environ.get("RECON_DATA")
    if options.scenes == (DEMO,) or (options.scenes == QUICK.scenes and not data):
        return open_set(DEMO, str(count), max_side=options.max_side), find_root(DEMO)
    if not data or not Path(data).is_dir():
        raise InputError(
            "This needs photos with known cameras. Set RECON_DATA to a folder that holds them as dev/NAME and "
            "bench/NAME (see datasets/README.md), or take the demo photos with --scenes demo."
        )
    root, split = Path(data), f"views_{count}"
    if not committed_splits(split).is_file():
        raise InputError(f"There are splits for 3, 6 and 9 photos, not for {count}. Change --photos.")
    known = read_splits(committed_splits(split))
    names = choose_scenes(known, root, options.scenes)
    found = open_set(str(root), str(count), split, names, options.max_side)
    named = tuple((replace(scene, name=name), views) for name, (scene, views) in zip(names, found.scenes))
    return replace(found, scenes=named), root


def choose_scenes(known: Mapping[str, Split], root: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    """The scenes called `wanted`, or of the kinds called so (`real`, `rendered`), that are there; all if none is said.

    Raises:
        InputError: a name means nothing, a scene named is not there, or none is.
    """
    kinds = {split.dataset for split in known.values()}
    if unknown := [name for name in wanted if name not in known and name not in kinds]:
        raise InputError(f"No scene {unknown[0]!r}. There are: {', '.join((*sorted(kinds), *known))}.")
    if missing := [name for name in wanted if name in known and not (root / name).is_dir()]:
        raise InputError(f"{root} (RECON_DATA) has no folder {missing[0]}. See datasets/README.md.")
    chosen = [name for name, split in known.items() if not wanted or name in wanted or split.dataset in wanted]
    found = tuple(name for name in chosen if (root / name).is_dir())
    if not found:
        raise InputError(f"{root} (RECON_DATA) holds none of the benchmark's scenes. See datasets/README.md.")
    return found


def score_plan(plan: Plan, out: Path, truth: Path, emit: EventSink = ignore) -> list[Scored]:
    """The scores of a plan's jobs; what was scored before is read."""
    jobs = plan.jobs()
    emit(StageStarted("score", "comparing with the truth"))
    results: list[Scored] = []
    for number, job in enumerate(jobs):
        emit(Progress("score", number, len(jobs), job.key))
        results += score_job(job, out, truth)
    emit(Progress("score", len(jobs), len(jobs)))
    return results


def score_job(job: Job, out: Path, truth: Path) -> list[Scored]:
    """One result, or two where the test cameras were also refined."""
    folder = out / job.key
    kept = folder / SCORES
    if kept.is_file():
        return [_read_scored(values) for values in json.loads(kept.read_text(encoding="utf-8"))]
    found = [replace(one, folder=f"{job.key}/{one.folder}") for one in score_run(folder, truth)]
    write_json(kept, [one.to_dict() for one in found])
    return found


def _read_scored(values: dict) -> Scored:
    """What `Scored.to_dict` wrote."""
    plain = {name: value for name, value in values.items() if name != "mean"}
    report = plain["report"] | {"images": tuple(ImageScores(**image) for image in plain["report"]["images"])}
    return Scored(**(plain | {"report": SceneReport(**report)}))
