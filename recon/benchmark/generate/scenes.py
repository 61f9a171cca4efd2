"""What is on the platform: scene files (`configs/scenes/*.yaml`) read into dataclasses, with every key checked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from recon.config import config_folder, override, read_mapping
from recon.errors import InputError

Kind = Literal["matte", "glossy", "thin", "textureless", "plant", "glass", "several", "repeated"]
Pattern = Literal["plain", "noise", "cells", "wood", "checker", "weave", "print"]
Shape = Literal[
    "sphere", "box", "torus", "monkey", "lathe", "stone", "blocks", "cage", "spring", "leaves", "cloth", "gear"
]


@dataclass(frozen=True)
class MaterialSpec:
    """A surface made by code."""

    pattern: Pattern = "plain"
    colors: list = field(default_factory=lambda: [[0.6, 0.6, 0.6]])
    """Linear RGB triples; `plain` takes the first."""
    scale: float = 10.0
    """Marks per unit of the shape's own size."""
    roughness: float = 0.6
    metallic: float = 0.0
    transmission: float = 0.0
    """1 is glass."""
    coat: float = 0.0
    """A clear lacquer over it."""
    bump: float = 0.0
    """Relief that follows the pattern."""


@dataclass(frozen=True)
class ObjectSpec:
    """A thing on the platform: either a `shape` made by code or a `model` file."""

    shape: Shape | None = None
    model: str | None = None
    """A glTF file under the folder given with --models; it brings its own material."""
    height_m: float = 0.15
    at_m: tuple[float, float] = (0.0, 0.0)
    """Where its middle stands: x to the right, y away from the middle camera."""
    lift_m: float = 0.0
    """Of its foot above the platform."""
    turn_deg: float = 0.0
    """About the vertical."""
    tip_deg: float = 0.0
    """About x, before turning."""
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    count: int = 6
    """Leaves, layers, turns, teeth or folds."""
    profile: list = field(default_factory=list)
    """[radius, height] pairs of a `lathe`."""
    wall: float = 0.0
    """Thickness of walls or wires, relative; 0 makes a lathe solid."""
    material: MaterialSpec = field(default_factory=MaterialSpec)


@dataclass(frozen=True)
class SceneSpec:
    """One scene."""

    name: str
    about: str
    kind: Kind
    platform: Literal["white", "mat"] = "white"
    """Bare, or with a printed sheet on it, which gives photos without poses something to match."""
    licence: str = "CC0 1.0"
    """Of what is rendered."""
    source: str = "made by code"
    objects: tuple[ObjectSpec, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """The model files it needs."""
        return tuple(item.model for item in self.objects if item.model)

    def job(self) -> dict[str, Any]:
        """Plain values for the path tracer."""
        return {"platform": self.platform, "objects": [asdict(item) for item in self.objects]}


def scene_folder() -> Path:
    """Where the scene files are."""
    return config_folder() / "scenes"


def scene_names() -> list[str]:
    """Every scene there is a file for."""
    return sorted(path.stem for path in scene_folder().glob("*.yaml"))


def load_scene(name: str) -> SceneSpec:
    """Read the scene called `name`, or the scene file of that path.

    Raises:
        InputError: no such scene, or a key or value in its file that is none.
    """
    path = Path(name) if name.endswith(".yaml") else scene_folder() / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"There is no scene {name!r}. Scenes: {', '.join(scene_names())}; or give a file.yaml.")
    values = read_mapping(path)
    entries = values.pop("objects", None)
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path} has no list of `objects`. See the others in {scene_folder()}.")
    objects = tuple(_read_object(entry, f"{path.name}, object {i}") for i, entry in enumerate(entries))
    return override(SceneSpec(path.stem, "", "matte", objects=objects), values, path.name)


def choose_scenes(names: Sequence[str], models: Path | None) -> list[SceneSpec]:
    """The scenes called `names`. `all` means each that can be rendered: those with model files only if these are there.

    Raises:
        InputError: an unknown name, or one that needs a model file that is not there.
    """
    if list(names) == ["all"]:
        specs = [load_scene(name) for name in scene_names()]
        return [spec for spec in specs if not missing_models(spec, models)]
    specs = [load_scene(name) for name in names]
    for spec in specs:
        if missing := missing_models(spec, models):
            raise InputError(
                f"Scene {spec.name!r} needs {', '.join(missing)} ({spec.source}), which is not in the folder given "
                f"with --models ({models or 'none given'}). Fetch it, or leave this scene out."
            )
    return specs


def missing_models(spec: SceneSpec, models: Path | None) -> list[str]:
    """The model files of the scene that are not under `models`."""
    return [name for name in spec.models if models is None or not (models / name).is_file()]


def _read_object(entry: Any, where: str) -> ObjectSpec:
    if not isinstance(entry, dict):
        raise InputError(f"{where} must be keys and values, got {entry!r}.")
    item = override(ObjectSpec(), entry, where)
    if (item.shape is None) == (item.model is None):
        raise InputError(f"{where} needs either a `shape` or a `model`.")
    return item
