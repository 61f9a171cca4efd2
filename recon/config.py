"""One configuration for a whole run, composed of the dataclasses that live beside what they configure.

A preset or a configuration file is YAML that names only what differs from the defaults:

    train:
      steps: 1500

Files are applied over presets, `--set train.steps=1500` over both. Unknown keys are errors that name the key, the
file and the nearest known keys; the resolved configuration is saved as `config.yaml` in every run.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from recon.data import ImagesConfig
from recon.errors import InputError
from recon.fields import FieldTrainConfig
from recon.mesh import MeshConfig
from recon.optimize import PlacingConfig, TrainConfig
from recon.poses import PosesConfig
from recon.priors.depth import DepthPriorConfig
from recon.report import ReportConfig
from recon.stereo import StereoConfig
from recon.video import VideoConfig

__all__ = [
    "Device",
    "RunConfig",
    "config_folder",
    "dump",
    "load",
    "override",
    "preset_names",
    "read_mapping",
    "resolve",
    "to_mapping",
    "with_seed",
]

T = TypeVar("T")
Device = Literal["auto", "cpu", "cuda"]
Representation = Literal["splats", "hashgrid"]


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes, and where it reads and writes."""

    images_dir: Path
    """Folder with the photos."""
    out_dir: Path
    """The run folder."""
    quality: str = "standard"
    """The preset this configuration started from."""
    device: Device = "auto"
    """Where to compute; `auto` takes a CUDA device when there is one."""
    seed: int = 0
    """Seed of everything random, as given with --seed (stages have their own copy)."""
    holdout: int = 0
    """Photos kept out of every stage and used only to measure the result."""
    known_poses: Path | None = None
    """File or folder with known cameras (transforms.json, COLMAP model); None estimates them."""
    representation: Representation = "splats"
    """What is trained: splats, or a hash-grid field with splats laid on its surface for what needs them."""
    images: ImagesConfig = field(default_factory=ImagesConfig)
    poses: PosesConfig = field(default_factory=PosesConfig)
    dense: StereoConfig = field(default_factory=StereoConfig)
    placing: PlacingConfig = field(default_factory=PlacingConfig)
    depth_prior: DepthPriorConfig = field(default_factory=DepthPriorConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    hashgrid: FieldTrainConfig = field(default_factory=FieldTrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


def config_folder() -> Path:
    """Where the presets are: `configs/` of a checkout, or the copy inside an installed package."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_configs", package.parent / "configs"):
        if (folder / "standard.yaml").is_file():
            return folder
    raise InputError(f"The presets are missing from this installation ({package / '_configs'}). Install recon again.")


def preset_names() -> list[str]:
    """Names that `--quality` and `--config` accept."""
    return sorted(path.stem for path in config_folder().glob("*.yaml"))


def read_mapping(name_or_file: str | Path) -> dict[str, Any]:
    """The content of a preset or of a YAML file.

    Raises:
        InputError: no such preset or file, or not a YAML mapping.
    """
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        path = config_folder() / f"{name_or_file}.yaml"
        if not path.is_file():
            raise InputError(
                f"Unknown preset {str(name_or_file)!r}. Presets: {', '.join(preset_names())}; a file must end in .yaml."
            )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Could not read the configuration {path}: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path} must hold keys and values, found a {type(content).__name__}.")
    return content or {}


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["train.steps=300"]` as a nested mapping; values are read as YAML."""
    nested: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set expects KEY=VALUE such as train.steps=300, got {text!r}.")
        *parents, last = key.strip().split(".")
        target = nested
        for parent in parents:
            target = target.setdefault(parent, {})
        try:
            target[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {text!r}: the value is not valid YAML.") from error
    return nested


def override(base: T, values: Mapping[str, Any], source: str, prefix: str = "") -> T:
    """`base` (a dataclass instance) with the nested `values` put in; types are checked.

    Raises:
        InputError: an unknown key or a value of the wrong type, naming key and `source`.
    """
    hints = typing.get_type_hints(type(base))
    names = [f.name for f in dataclasses.fields(base) if f.init]  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            raise InputError(_unknown_key(f"{prefix}{key}", source, [f"{prefix}{name}" for name in names]))
        current = getattr(base, key)
        if dataclasses.is_dataclass(current) and isinstance(value, Mapping):
            changes[key] = override(current, value, source, f"{prefix}{key}.")
        else:
            changes[key] = _convert(value, hints[key], f"{prefix}{key}", source)
    return replace(base, **changes)  # type: ignore[type-var]


def _unknown_key(key: str, source: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known keys: {', '.join(known)}."
    return f"Unknown setting {key!r} in {source}. {hint}"


def _convert(value: Any, hint: Any, key: str, source: str) -> Any:
    """`value` from YAML as the type `hint`, or an InputError."""
    for option in _alternatives(hint):
        converted = _try_convert(value, option)
        if converted is not _MISMATCH:
            return converted
    wanted = " or ".join(_describe(option) for option in _alternatives(hint))
    raise InputError(f"Setting {key!r} in {source} must be {wanted}, got {value!r}.")


_MISMATCH = object()


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _try_convert(value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if hint is type(None):
        return None if value is None else _MISMATCH
    if origin is Literal:
        return value if value in typing.get_args(hint) else _MISMATCH
    if origin in (tuple, list, Sequence):
        return _try_sequence(value, hint)
    if origin is dict or hint is dict:
        return dict(value) if isinstance(value, Mapping) else _MISMATCH
    if hint is Path:
        return Path(value) if isinstance(value, str | Path) else _MISMATCH
    if hint is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else _MISMATCH
    if hint is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else _MISMATCH
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value) if value in [member.value for member in hint] else _MISMATCH
    return value if isinstance(hint, type) and isinstance(value, hint) else _MISMATCH


def _try_sequence(value: Any, hint: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _MISMATCH
    element_hints = [h for h in typing.get_args(hint) if h is not Ellipsis]
    if len(element_hints) > 1:
        if len(element_hints) != len(value):
            return _MISMATCH
    else:
        element_hints = (element_hints or [Any]) * len(value)
    items = []
    for item, element in zip(value, element_hints):
        converted = next(
            (c for o in _alternatives(element) if (c := _try_convert(item, o)) is not _MISMATCH), _MISMATCH
        )
        if converted is _MISMATCH:
            return _MISMATCH
        items.append(converted)
    return items if typing.get_origin(hint) is list else tuple(items)


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(str(a) for a in typing.get_args(hint))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def to_mapping(config: Any) -> Any:
    """A dataclass as plain YAML/JSON values."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_mapping(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Enum):
        return config.value
    if isinstance(config, Path):
        return str(config)
    if isinstance(config, Mapping):
        return {str(k): to_mapping(v) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return [to_mapping(v) for v in config]
    return config


def resolve(
    base: RunConfig, *, config: str | Path | None = None, assignments: Sequence[str] = (), quality: str | None = None
) -> RunConfig:
    """`base` with, in this order, the preset `quality`, the preset or file `config`, and the assignments applied."""
    for name in (quality, config):
        if name is not None:
            mapping = read_mapping(name)
            is_file = Path(name).suffix in (".yaml", ".yml")
            if is_file:  # a saved config.yaml names its own folders; the command line decides those
                mapping = {k: v for k, v in mapping.items() if k not in ("images_dir", "out_dir")}
            base = override(base, mapping, str(name) if is_file else f"{name}.yaml")
            if not is_file:
                base = replace(base, quality=str(name))
    return override(base, parse_assignments(assignments), "--set")


def with_seed(config: RunConfig, seed: int) -> RunConfig:
    """`config` with the seed of the run and of every stage that has one set to `seed`."""
    changes: dict[str, Any] = {"seed": seed}
    for f in dataclasses.fields(config):
        part = getattr(config, f.name)
        if dataclasses.is_dataclass(part) and hasattr(part, "seed"):
            changes[f.name] = replace(part, seed=seed)  # type: ignore[type-var]
    return replace(config, **changes)


def dump(config: RunConfig) -> str:
    """The resolved configuration as YAML; `load` reads it back."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True)


def load(path: Path) -> RunConfig:
    """A resolved configuration, as saved in a run folder."""
    mapping = read_mapping(path)
    missing = [key for key in ("images_dir", "out_dir") if key not in mapping]
    if missing:
        raise InputError(f"{path} is not a saved run configuration: {', '.join(missing)} missing.")
    return override(RunConfig(Path(mapping["images_dir"]), Path(mapping["out_dir"])), mapping, str(path))
