"""Splits as files, in the format that SpaRe publishes: `{scene: {input_views, test_views, dataset}}`, views from 0."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.errors import InputError
from recon.files import write_text

KEYS = ("input_views", "test_views", "dataset")


@dataclass(frozen=True)
class Split:
    """Which views of a scene a method is given, and which it must render."""

    input_views: tuple[int, ...]
    test_views: tuple[int, ...]
    dataset: str
    """`DTU` or `Synthetic` in SpaRe's own files; the name of the data set in ours."""

    def check(self, where: str, indices: Iterable[int] | None = None) -> None:
        """Raise InputError if a view is negative, repeated, both given and tested, or not one of `indices`."""
        views = (*self.input_views, *self.test_views)
        if not self.input_views or not self.test_views:
            raise InputError(f"{where} needs views to start from and views to test; one of the lists is empty.")
        if min(views) < 0:
            raise InputError(f"{where} names view {min(views)}; views count from 0.")
        if shared := sorted(set(self.input_views) & set(self.test_views)):
            raise InputError(f"{where} tests on views that it gives away: {', '.join(map(str, shared))}.")
        if len(set(views)) != len(views):
            raise InputError(f"{where} names a view twice.")
        if indices is not None and (unknown := sorted(set(views) - set(indices))):
            raise InputError(f"{where} names views that the scene lacks: {', '.join(map(str, unknown))}.")


def committed_splits(name: str) -> Path:
    """Where the splits called `name` lie (`dtu_3`, `spare/Track1_split_test`): in the package, or in a checkout."""
    package = Path(__file__).parents[1]
    folders = (package / "_splits", package.parent / "datasets" / "splits")
    return next(
        (file for folder in folders if (file := folder / f"{name}.json").is_file()), folders[-1] / f"{name}.json"
    )


def read_splits(path: Path | str) -> dict[str, Split]:
    """The splits of the scenes in a file, checked.

    Raises:
        InputError: not such a file, or a split that makes no sense; says which scene.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}). Download it again.") from error
    if not isinstance(values, dict) or not values:
        raise InputError(f"{path} must hold an object with a split for each scene.")
    return {scene: _split(value, f"{path}, scene {scene}") for scene, value in values.items()}


def write_splits(path: Path | str, splits: Mapping[str, Split]) -> None:
    """Write splits, a line for each scene, atomically.

    Raises:
        InputError: a split that makes no sense.
        ResourceError: the folder is not writable or the disk is full.
    """
    lines = []
    for scene, split in splits.items():
        split.check(f"scene {scene}")
        value = {"input_views": split.input_views, "test_views": split.test_views, "dataset": split.dataset}
        lines.append(f"  {json.dumps(scene)}: {json.dumps(value)}")
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _split(value: Any, where: str) -> Split:
    if not isinstance(value, dict) or not set(KEYS) <= set(value):
        raise InputError(f"{where} needs {', '.join(KEYS)}.")
    split = Split(_views(value, "input_views", where), _views(value, "test_views", where), str(value["dataset"]))
    split.check(where)
    return split


def _views(value: dict[str, Any], key: str, where: str) -> tuple[int, ...]:
    views = value[key]
    if not isinstance(views, list) or not all(isinstance(view, int) and not isinstance(view, bool) for view in views):
        raise InputError(f"{where}: {key} must be a list of whole numbers, got {str(views)[:60]}.")
    return tuple(views)
