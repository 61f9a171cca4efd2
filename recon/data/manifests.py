"""What is known about each data set: where it comes from, what it may be used for, what must lie on disk.

A manifest is a YAML file in `datasets/manifests`; nothing here uses the network.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import yaml

from recon.data.formats import FORMATS, Scene, open_scene
from recon.data.formats.base import file_size
from recon.data.split_files import Split, committed_splits, read_splits
from recon.data.splits import RULES
from recon.errors import InputError


@dataclass(frozen=True)
class Licence:
    """What may be done with the data."""

    name: str
    """As its owners state it, or `none stated`."""
    url: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Archive:
    """One download."""

    name: str
    url: str
    size: str | None = None
    """As its host shows it (rounded)."""
    sha256: str | None = None
    unknown: str = ""
    """Why size or checksum are missing."""


@dataclass(frozen=True)
class Splits:
    """Which views are inputs and which are tested: by a rule, or as published."""

    rule: str | None = None
    """A name in `recon.data.splits.RULES`."""
    inputs: tuple[int, ...] = ()
    """Numbers of input views; the committed files are `<manifest>_<number>.json`."""
    published: tuple[str, ...] = ()
    """Committed copies of published files."""
    incomplete: str = ""
    """What of them is missing, and why."""


@dataclass(frozen=True)
class Manifest:
    """One data set."""

    name: str
    title: str
    format: str
    """A name in `recon.data.formats.FORMATS`."""
    source: str
    licence: Licence
    citation: str
    archives: tuple[Archive, ...]
    fetch: str
    """How a person gets it onto disk, step by step."""
    layout: str
    """What must then lie there."""
    scenes: Mapping[str, int]
    """Folder of each scene, relative to the data set's, and how many views it has (more do no harm)."""
    evaluate: Mapping[str, int]
    """`width` and `height` of the protocol, or the `factor` by which photos are shrunk."""
    splits: Splits
    photos: str = "given"
    """`given`: all of them; `inputs`: test photos are kept back by the owners."""


@dataclass(frozen=True)
class SceneCheck:
    """What was found of one scene."""

    scene: str
    status: str
    """`ok`, `missing` or `wrong`."""
    message: str


def manifest_names() -> list[str]:
    """The data sets that there are manifests of."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def read_manifest(name: str) -> Manifest:
    """The manifest of the data set `name`.

    Raises:
        InputError: there is none, or it is malformed.
    """
    if name not in manifest_names():
        raise InputError(f"There is no data set {name!r}. There are: {', '.join(manifest_names())}.")
    path = _folder() / f"{name}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"Could not read {path} ({error}). Restore it.") from error
    manifest: Manifest = _build(Manifest, values, str(path))
    if manifest.name != name or manifest.format not in FORMATS:
        raise InputError(f"{path} calls itself {manifest.name!r} in format {manifest.format!r}. Restore it.")
    if manifest.splits.rule is not None and manifest.splits.rule not in RULES:
        raise InputError(f"{path} names the rule {manifest.splits.rule!r}. There are: {', '.join(RULES)}.")
    return manifest


def split_names(manifest: Manifest) -> tuple[str, ...]:
    """The committed files of splits, as `committed_splits` takes them."""
    return manifest.splits.published + tuple(f"{manifest.name}_{count}" for count in manifest.splits.inputs)


def make_splits(manifest: Manifest, count: int) -> dict[str, Split]:
    """The splits with `count` inputs that the manifest's rule gives; scenes with too few views are left out.

    Raises:
        InputError: the data set's splits are published, not made by a rule.
    """
    if manifest.splits.rule is None:
        raise InputError(f"The splits of {manifest.name} are published, not made by a rule: {split_names(manifest)}.")
    rule = RULES[manifest.splits.rule]
    splits = {}
    for scene, n in manifest.scenes.items():
        if n > count:
            inputs, tests = rule(n, count)
            splits[scene] = Split(tuple(inputs), tuple(tests), manifest.title)
    return splits


def evaluation_size(manifest: Manifest, scene: Scene) -> tuple[int, int]:
    """Width and height at which the protocol measures `scene`."""
    if "factor" not in manifest.evaluate:
        return manifest.evaluate["width"], manifest.evaluate["height"]
    factor = manifest.evaluate["factor"]
    shipped = scene.reduced.get(factor, (None,))[0]
    if shipped is not None:  # how its makers rounded
        return file_size(shipped)
    return round(int(scene.cameras.width[0]) / factor), round(int(scene.cameras.height[0]) / factor)


def find_manifest(folder: Path) -> Manifest:
    """The data set whose scenes lie in `folder`: the one with most of them there, and in its format.

    Raises:
        InputError: none.
    """

    def count(manifest: Manifest) -> int:
        return sum(FORMATS[manifest.format].detect(folder / scene) for scene in manifest.scenes)

    manifests = [read_manifest(name) for name in manifest_names()]
    best = max(manifests, key=count)
    if count(best) == 0:
        expected = "; ".join(f"{m.name}: {', '.join(list(m.scenes)[:2])}, ..." for m in manifests)
        raise InputError(f"{folder} holds no scene of a known data set ({expected}). Give the folder of its scenes.")
    return best


def check_dataset(manifest: Manifest, folder: Path) -> list[SceneCheck]:
    """Compare `folder` with what the protocol needs: scenes, views, photos, sizes, splits. Photos are not decoded.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give the folder that the data set was unpacked to.")
    files = {name: _split_file(name, folder) for name in split_names(manifest)}
    splits = {name: read_splits(file) for name, file in files.items()}
    # A download's own files may speak of scenes that could not be seen when the manifest was written.
    counts = {scene: max(manifest.scenes.values()) for scene in chain(*splits.values())} | dict(manifest.scenes)
    return [_check_scene(manifest, folder, scene, count, splits) for scene, count in counts.items()]


def check_archives(manifest: Manifest, folder: Path) -> list[SceneCheck]:
    """Compare the downloads that still lie in `folder` with their checksums, those that are known."""
    present = [archive for archive in manifest.archives if archive.sha256 and (folder / archive.name).is_file()]
    return [_check_archive(archive, folder / archive.name) for archive in present]


def _check_archive(archive: Archive, path: Path) -> SceneCheck:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return SceneCheck(archive.name, "wrong", f"it cannot be read: {error.strerror or error}")
    if found == archive.sha256:
        return SceneCheck(archive.name, "ok", "its checksum is right")
    return SceneCheck(archive.name, "wrong", f"its SHA-256 is {found[:12]}..., download it again")


def _split_file(name: str, folder: Path) -> Path:
    """A published file that came with the download, else the committed one."""
    own = folder / f"{Path(name).name}.json"
    return own if own.is_file() else committed_splits(name)


def _check_scene(
    manifest: Manifest, folder: Path, scene: str, count: int, splits: Mapping[str, Mapping[str, Split]]
) -> SceneCheck:
    if not (folder / scene).is_dir():
        return SceneCheck(scene, "missing", f"there is no folder {folder / scene}")
    try:
        found = open_scene(folder / scene, manifest.format)
        if len(found) < count:
            raise InputError(f"It has {len(found)} views; {count} are needed. Is the download complete?")
        width, height = evaluation_size(manifest, found)
        found.sized(width, height)
        own = {name: of_scenes[scene] for name, of_scenes in splits.items() if scene in of_scenes}
        names = _usable_splits(found, own, manifest.photos == "given")
    except InputError as error:
        return SceneCheck(scene, "wrong", str(error))
    photos = sum(path is not None for path in found.image_paths)
    return SceneCheck(
        scene, "ok", f"{len(found)} views, {photos} photos, measured at {width} x {height}; {', '.join(names)}"
    )


def _usable_splits(found: Scene, splits: Mapping[str, Split], tests_given: bool) -> list[str]:
    """The splits of one scene whose photos are there: those of the inputs, and of the tests where they are given out.

    Raises:
        InputError: a split names views that the scene lacks, a photo is missing where all are given out, or no split
            can be used.
    """
    photos = {index for index, path in zip(found.indices, found.image_paths) if path is not None}
    names, lacking = [], []
    for name, split in splits.items():
        split.check(f"Split {name}", found.indices)
        missing = sorted({*split.input_views, *(split.test_views if tests_given else ())} - photos)
        if missing:
            lacking.append(f"{name} needs the photos of views {', '.join(map(str, missing))}")
        else:
            names.append(name)
    if lacking and (tests_given or not names):
        raise InputError(f"Photos are missing: {'; '.join(lacking)}. Is the download complete?")
    return names


def _folder() -> Path:
    """In an installed package, or a checkout."""
    package = Path(__file__).parents[1]
    folders = (package / "_manifests", package.parent / "datasets" / "manifests")
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def _build(kind: Any, values: Any, where: str) -> Any:
    """A dataclass from what YAML gives, its field types checked."""
    if not isinstance(values, dict):
        raise InputError(f"{where} must hold keys and values.")
    known = {field.name: field.type for field in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise InputError(f"{where} has unknown keys: {', '.join(map(str, unknown))}.")
    try:
        return kind(**{key: _value(known[key], value, f"{where}, {key}") for key, value in values.items()})
    except TypeError as error:
        raise InputError(f"{where} is incomplete ({error}).") from error


def _value(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, UnionType):
        return None if value is None else _value(get_args(kind)[0], value, where)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_value(get_args(kind)[0], item, where) for item in value)
    if get_origin(kind) is Mapping and isinstance(value, dict):
        return {str(key): _value(get_args(kind)[1], item, f"{where}, {key}") for key, item in value.items()}
    if kind in (Licence, Archive, Splits):
        return _build(kind, value, where)
    if kind in (str, int) and isinstance(value, kind) and not isinstance(value, bool):
        return value.strip() if isinstance(value, str) else value
    raise InputError(f"{where} is {str(value)[:40]!r}, which is not {kind}.")
