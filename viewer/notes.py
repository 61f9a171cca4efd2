"""What a person said about a scene: its scale, its floor, views to keep. Kept in the run folder as `view.json`."""

import json
import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recon.files import write_json
from viewer.display import DisplayFrame, View

logger = logging.getLogger(__name__)

FILE = "view.json"
FORMAT = 1
MAX_VIEWS = 200

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class SavedView:
    """A view in world units, so that it stays where it is when the display changes."""

    name: str
    position: Triple
    look_at: Triple
    up: Triple
    fov_y_rad: float
    aspect: float

    @staticmethod
    def of(view: View, frame: DisplayFrame, name: str) -> "SavedView":
        position, look_at = (tuple(frame.world_points(p).tolist()) for p in (view.position, view.look_at))
        return SavedView(name, position, look_at, tuple(view.up.tolist()), view.fov_y_rad, view.aspect)

    def view(self, frame: DisplayFrame) -> View:
        """The view in display units."""
        position, look_at = (frame.points(np.array(p)) for p in (self.position, self.look_at))
        return View(position, look_at, np.array(self.up), self.fov_y_rad, self.aspect)


@dataclass(frozen=True)
class Notes:
    """All that is kept about one scene. Nothing of it changes the run's results."""

    unit: str = ""
    """What lengths are given in, such as m; empty while the scale is unknown."""
    units_per_world: float = 1.0
    up: Triple | None = None
    """Unit vector away from the floor; None where nobody said."""
    floor: Triple | None = None
    """A point of the floor, in the world."""
    views: tuple[SavedView, ...] = ()

    def length(self, world: float) -> str:
        """A distance in the world as a person reads it."""
        value = world * self.units_per_world
        return f"{value:.4g} {self.unit}".rstrip() if self.unit else f"{value:.4g} units"

    def with_view(self, view: SavedView) -> "Notes":
        return replace(self, views=(*self.views, view)[-MAX_VIEWS:])


def read_notes(folder: Path | None) -> Notes:
    """The notes in a run folder; empty ones, with a warning, when the file is damaged."""
    path = None if folder is None else folder / FILE
    if path is None or not path.is_file():
        return Notes()
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("Left out %s: %s", path, error)
        return Notes()


def write_notes(folder: Path, notes: Notes) -> None:
    """Keep the notes in a run folder.

    Raises:
        ResourceError: it cannot be written to.
    """
    write_json(folder / FILE, {"format": FORMAT, **asdict(notes)})


def _parse(values: dict[str, Any]) -> Notes:
    views = tuple(
        SavedView(
            str(v["name"]),
            _triple(v["position"]),
            _triple(v["look_at"]),
            _triple(v["up"]),
            _positive(v["fov_y_rad"]),
            _positive(v["aspect"]),
        )
        for v in values.get("views", [])[:MAX_VIEWS]
    )
    up, floor = (None if values.get(key) is None else _triple(values[key]) for key in ("up", "floor"))
    scale = _positive(values.get("units_per_world", 1.0))
    return Notes(str(values.get("unit", ""))[:12], scale, up, floor, views)


def _triple(value: Any) -> Triple:
    x, y, z = (float(v) for v in value)
    if not all(math.isfinite(v) for v in (x, y, z)):
        raise ValueError(f"three finite numbers are needed, got {value}")
    return x, y, z


def _positive(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"a positive number is needed, got {value}")
    return number
