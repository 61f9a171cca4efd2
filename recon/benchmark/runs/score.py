"""`recon bench score`: from what a run wrote, and the truth, to figures. Nothing is computed by a method any more.

A test view that was not shown, for whatever reason, is scored as a black picture: a method cannot gain by failing.
"""

import functools
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from recon.benchmark.evaluate import SceneReport
from recon.benchmark.runs import isolate
from recon.benchmark.runs.job import FORMAT, read_record
from recon.benchmark.runs.predict import find_jobs
from recon.benchmark.runs.sets import BenchSet, open_truth, view_file
from recon.data.formats import Scene
from recon.data.transforms_json import read_transforms
from recon.errors import InputError
from recon.events import EventSink, Progress, StageStarted, ignore
from recon.metrics import pose_errors, score_image

ALIGNED_MARK = " +align"
"""Added to an entry's label where the test cameras were refined with the help of the test photos."""
COSTS = ("seconds", "cpu_seconds", "peak_memory_bytes", "size_bytes")

ReadPicture = Callable[[str], bytes | None]
"""The content of a rendering's file by the view's file name; None where there is none."""


@dataclass(frozen=True)
class Scored:
    """One job's figures."""

    entry: str
    scene: str
    dataset: str
    track: str
    poses: str
    seed: int
    report: SceneReport
    missing: int
    """Test views that were not shown."""
    costs: dict[str, float | None]
    reason: str = ""
    """Why the job failed, if it did."""
    folder: str = ""
    """Of its pictures, relative to the run's."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, means included."""
        return {**asdict(self), "mean": self.report.mean()}


def score_run(out: Path, truth: Path, emit: EventSink = ignore) -> list[Scored]:
    """Every job below `out` against the truth: a folder with a folder for each scene.

    Raises:
        InputError: no jobs, or the truth lacks a scene or a test photo.
        MissingDependencyError: the LPIPS weights are not installed.
    """
    folders = find_jobs(out)
    emit(StageStarted("score", "comparing with the truth"))
    results: list[Scored] = []
    scenes: dict[tuple[str, int], Scene] = {}
    for number, folder in enumerate(folders):
        record = read_record(folder)
        assert record is not None, "find_jobs looks for records"
        if record.get("format") != FORMAT:
            raise InputError(f"{folder} was written by another version of recon. Run the benchmark again.")
        emit(Progress("score", number, len(folders), str(folder.relative_to(out))))
        key = (record["scene"], max(record["size"]))
        if key not in scenes:
            scenes[key] = open_truth(truth, *key)
        results.extend(_score_job(out, folder, record, scenes[key]))
    emit(Progress("score", len(folders), len(folders)))
    return results


def _score_job(out: Path, folder: Path, record: dict[str, Any], truth: Scene) -> Iterator[Scored]:
    views = list(record["tests"].values())
    kinds = [isolate.RENDERS] + ([isolate.ALIGNED] if (folder / isolate.ALIGNED).is_dir() else [])
    for kind in kinds:
        pictures = folder / kind
        report, missing = score_views(truth, views, functools.partial(read_file, pictures))
        if record["poses"] == "estimated" and kind == isolate.RENDERS:
            report = replace(report, poses=_pose_figures(folder, record, truth))
        yield Scored(
            entry=record["entry"] + (ALIGNED_MARK if kind == isolate.ALIGNED else ""),
            scene=record["scene"],
            dataset=record["dataset"],
            track=record["track"],
            poses=record["poses"],
            seed=record["seed"],
            report=report,
            missing=missing,
            costs={name: record[name] for name in COSTS},
            reason=record["reason"],
            folder=pictures.relative_to(out).as_posix(),
        )


def score_submission(file: Path, truth: Path, views: BenchSet) -> list[Scored]:
    """The pictures of a ZIP with a folder for each scene at its root.

    Args:
        views: which scenes and test views to expect; photos of the truth at the size that is measured.

    Raises:
        InputError: not a ZIP, or the truth lacks a test photo.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} cannot be read as a ZIP ({error}).") from error
    results = []
    with archive:
        present = set(archive.namelist())
        for scene, split in views.scenes:
            truth_scene = open_truth(truth, scene.name, max(int(scene.cameras.width[0]), int(scene.cameras.height[0])))

            def read(name: str, folder: str = scene.name) -> bytes | None:
                inside = f"{folder}/{name}"
                return archive.read(inside) if inside in present else None

            report, missing = score_views(truth_scene, split.test_views, read)
            costs: dict[str, float | None] = dict.fromkeys(COSTS)
            results.append(Scored(file.stem, scene.name, split.dataset, views.track, "", 0, report, missing, costs))
    return results


def score_views(truth: Scene, views: Sequence[int], read: ReadPicture) -> tuple[SceneReport, int]:
    """Scores of the views that a split calls `views`, and how many of them were not shown.

    Raises:
        InputError: a test photo is withheld, or a rendering has another size.
    """
    scores, missing = [], 0
    for index in views:
        row = truth.at([index])
        photo, mask = row.image(0), row.mask(0)
        name = view_file(truth, index)
        rendering = read_picture(read(name), name)
        missing += rendering is None
        scores.append(score_image(name, torch.zeros_like(photo) if rendering is None else rendering, photo, mask))
    return SceneReport(truth.name, tuple(scores)), missing


def read_picture(content: bytes | None, name: str) -> Float[Tensor, "_ _ 3"] | None:
    """An 8-bit picture as sRGB in [0, 1]; None of nothing.

    Raises:
        InputError: damaged.
    """
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as picture:
            values = np.array(picture.convert("RGB"), dtype=np.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"The rendering {name} cannot be read ({error}). Render it again.") from error
    return torch.from_numpy(values / 255)


def read_file(folder: Path, name: str) -> bytes | None:
    """A rendering, or None where there is none."""
    path = folder / name
    return path.read_bytes() if path.is_file() else None


def _pose_figures(folder: Path, record: dict[str, Any], truth: Scene) -> dict[str, float | None] | None:
    """How far the inputs' cameras are from the true ones; None of a job that failed before it had any."""
    path = folder / isolate.CAMERAS
    if not path.is_file():
        return None
    known = read_transforms(path)
    order = [Path(name).stem for name in known.names]
    estimated = known.cameras[[order.index(Path(name).stem) for name in record["inputs"]]]
    return pose_errors(estimated, truth.at(list(record["inputs"].values())).cameras).summary()
