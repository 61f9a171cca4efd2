"""One unit of work, one method on one scene with one seed: what goes in, what comes out, where that lies on disk."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from recon.benchmark.runs.sets import photo_bytes, view_file
from recon.data.formats import Scene
from recon.data.split_files import Split
from recon.types import Cameras

FORMAT = 1
"""Goes into every fingerprint: raised when the files of a job change meaning, so that old ones are redone."""
RECORD = "job.json"
Poses = Literal["given", "estimated"]


@dataclass(frozen=True)
class Entry:
    """One row of the tables: a method with its options."""

    label: str
    method: str
    options: Mapping[str, str] = field(default_factory=dict)
    """What the method makes of them is its own affair."""


@dataclass(frozen=True)
class Limits:
    """What one job may use."""

    cpus: int = 1
    gpus: float = 0.0
    seconds: float = 24 * 3600.0
    """For each of a job's steps."""
    retries: int = 2
    """So many more attempts after a job was killed, or its machine was lost."""


@dataclass(frozen=True)
class Job:
    """Where everything is that a job needs; `pack` reads it."""

    entry: Entry
    scene: Scene
    split: Split
    track: str
    poses: Poses
    seed: int
    align: bool = False
    """Also show the test photos, at the very end, to refine the test cameras alone."""
    limits: Limits = field(default_factory=Limits)

    @property
    def key(self) -> str:
        """Folder of the results, relative to the run's."""
        return f"track{self.track}-{self.poses}/{self.entry.label}/seed{self.seed}/{self.scene.name}"

    def pack(self) -> "Parcel":
        """Everything, by value: it can go to another machine."""
        inputs, tests = self.scene.at(self.split.input_views), self.scene.at(self.split.test_views)
        shown = tests.indices if self.align else ()
        return Parcel(
            key=self.key,
            method=self.entry.method,
            options=dict(self.entry.options),
            poses=self.poses,
            seed=self.seed,
            limits=self.limits,
            photos=dict(photo_bytes(inputs, i) for i in inputs.indices),
            cameras=inputs.cameras,
            test_names=tuple(view_file(tests, i) for i in tests.indices),
            test_cameras=tests.cameras,
            test_photos={view_file(tests, i): photo_bytes(tests, i)[1] for i in shown},
        )

    def describe(self) -> dict[str, Any]:
        """What is written about the job beside its results."""
        return {
            "entry": self.entry.label,
            "method": self.entry.method,
            "options": dict(self.entry.options),
            "scene": self.scene.name,
            "dataset": self.split.dataset,
            "track": self.track,
            "poses": self.poses,
            "seed": self.seed,
            "size": [int(self.scene.cameras.width[0]), int(self.scene.cameras.height[0])],
            "inputs": {view_file(self.scene, i): i for i in self.split.input_views},
            "tests": {view_file(self.scene, i): i for i in self.split.test_views},
        }


@dataclass(frozen=True)
class Parcel:
    """A job by value."""

    key: str
    method: str
    options: dict[str, str]
    poses: Poses
    seed: int
    limits: Limits
    photos: dict[str, bytes]
    """The inputs, in the order of `cameras`."""
    cameras: Cameras
    """Of the inputs. The method sees them in the given track only; else they serve to bring the tests to its frame."""
    test_names: tuple[str, ...]
    test_cameras: Cameras
    test_photos: dict[str, bytes]
    """Empty unless test cameras are to be refined."""

    def fingerprint(self, versions: Mapping[str, str]) -> str:
        """Equal for equal work: photos, cameras, method, options, seed and versions."""
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.photos.items()}
        numbers = [
            tensor.tolist()
            for cameras in (self.cameras, self.test_cameras)
            for tensor in (cameras.cam_from_world, cameras.Ks, cameras.width, cameras.height)
        ]
        parts = [FORMAT, self.method, self.options, self.poses, self.seed, hashes, numbers, self.test_names]
        text = json.dumps([*parts, sorted(self.test_photos), dict(versions)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class StepCost:
    """One call of a method."""

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What a job leaves behind, by value."""

    ok: bool
    reason: str = ""
    """Why not, in a sentence."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Relative to the job's folder: renderings and cameras."""
    steps: dict[str, StepCost] = field(default_factory=dict)
    size_bytes: int | None = None
    """Of the stored scene."""
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    harness_seconds: float = 0.0
    """Spent around the method's calls: unpacking, checking, collecting."""
    killed: bool = False
    """Ended from outside: worth another attempt."""

    def record(self) -> dict[str, Any]:
        """The part of `job.json` that the work decides."""
        fit = self.steps.get("fit")
        return {
            "status": "ok" if self.ok else "failed",
            "reason": self.reason,
            "seconds": None if fit is None else fit.seconds,
            "cpu_seconds": None if fit is None else fit.cpu_seconds,
            "peak_memory_bytes": max((cost.peak_memory_bytes for cost in self.steps.values()), default=None),
            "size_bytes": self.size_bytes,
            "harness_seconds": self.harness_seconds,
            "steps": {name: asdict(cost) for name, cost in self.steps.items()},
            "machine": self.machine,
            "versions": self.versions,
        }


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a job, or None where none was finished."""
    try:
        content: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
