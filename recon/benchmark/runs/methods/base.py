"""What a method is, and what it finds when it is called (see `recon.benchmark.runs.isolate`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from recon import config as configuration
from recon.benchmark.runs import isolate
from recon.config import RunConfig
from recon.data.transforms_json import read_transforms, write_transforms
from recon.errors import InputError
from recon.files import write_json
from recon.types import Cameras


@dataclass(frozen=True)
class Task:
    """A job as its method sees it: a folder."""

    folder: Path
    seed: int
    poses: str
    """`given` or `estimated`."""
    options: dict[str, str]
    cpus: int

    @staticmethod
    def open(folder: Path) -> "Task":
        """The task that the harness has laid out in `folder`."""
        values = json.loads((folder / isolate.TASK).read_text(encoding="utf-8"))
        return Task(folder, values["seed"], values["poses"], values["options"], values["cpus"])

    @property
    def inputs(self) -> Path:
        """Folder of the input photos."""
        return self.folder / isolate.INPUTS

    @property
    def input_cameras(self) -> Path | None:
        """The inputs' cameras; None where they have to be estimated."""
        path = self.folder / isolate.INPUT_CAMERAS
        return path if path.is_file() else None

    @property
    def model(self) -> Path:
        """Where a method keeps what it makes."""
        return self.folder / "model"

    def tests(self) -> tuple[tuple[str, ...], Cameras]:
        """Names and cameras of the views to be shown; only there once `fit` is over."""
        known = read_transforms(self.folder / isolate.TEST_CAMERAS)
        return tuple(Path(name).name for name in known.names), known.cameras

    def photo_names(self, stems: Sequence[str]) -> list[str]:
        """The input photos whose files, saved again under another suffix, are called `stems`."""
        by_stem = {path.stem: path.name for path in self.inputs.iterdir()}
        return [by_stem[Path(stem).stem] for stem in stems]

    def run_config(self, quality: str = "standard") -> RunConfig:
        """The configuration of a run of ours on the inputs: `quality`, then options with a dot in their name."""
        base = RunConfig(images_dir=self.inputs, out_dir=self.model)
        settings = [f"{key}={value}" for key, value in self.options.items() if "." in key]
        config = configuration.resolve(base, quality=self.options.get("quality", quality), assignments=settings)
        if self.poses == "given":  # the world is that of the test cameras: it must stay where it is
            train = replace(config.train, refine_poses=False)
            config = replace(config, known_poses=self.input_cameras, train=train)
        return configuration.with_seed(config, self.seed)


@runtime_checkable
class Method(Protocol):
    """A way from photos to pictures of other views."""

    @property
    def name(self) -> str: ...

    @property
    def gpus(self) -> float:
        """GPUs that a job needs."""
        ...

    @property
    def aligns(self) -> bool:
        """Whether there is an `align` step."""
        ...

    def check(self, options: Mapping[str, str]) -> None:
        """Raise before anything runs: InputError for options it does not know, MissingDependencyError when what it
        needs is not installed."""
        ...

    def fit(self, task: Task) -> None:
        """Photos to a scene; ends with `fitted`."""
        ...

    def render(self, task: Task) -> None:
        """A picture for each test camera."""
        ...

    def align(self, task: Task) -> None:
        """Refine the test cameras against the test photos, and render again."""
        ...


def fitted(
    task: Task, names: Sequence[str], cameras: Cameras, model: Sequence[Path], versions: Mapping[str, str] | None = None
) -> None:
    """Leave the inputs' cameras, and say which files are the stored scene."""
    write_transforms(task.folder / isolate.CAMERAS, names, cameras, images=isolate.INPUTS)
    values = {
        "model": [str(path.relative_to(task.folder)) for path in model],
        "size_bytes": sum(path.stat().st_size for path in model),
        "versions": dict(versions or {}),
    }
    write_json(task.folder / isolate.FITTED, values)


def check_options(name: str, options: Mapping[str, str], known: Sequence[str], settings: bool = False) -> None:
    """Raise InputError for an option that is neither `known` nor, where `settings` count, one of `recon run --set`."""
    for key in options:
        if key not in known and not (settings and "." in key):
            own = ", ".join((*known, *(("SETTING.KEY such as train.steps",) if settings else ())))
            raise InputError(f"The method {name} has no option {key!r}. It takes: {own or 'none'}.")
