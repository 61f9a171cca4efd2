"""The scene as edited and what is selected: one for all tabs, changed by the Edit panel."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon.geometry import Sim3
from recon.render import select_rasterizer
from recon.types import Cameras, Splats
from viewer.display import placed_indices
from viewer.edit import (
    Delete,
    Duplicate,
    FloaterFilter,
    Hide,
    History,
    Move,
    Operation,
    Show,
    camera_count,
    combine,
    floaters,
    object_share,
    seen_fraction,
)
from viewer.edit.selection import Mode


@dataclass(frozen=True)
class Scene:
    """What is to be drawn: rows that are not hidden."""

    splats: Splats
    selected: Bool[Tensor, " N"]
    seen_by: Int[Tensor, " N"] | None


class Editor:
    """`changed()` is called, from the thread that edits, after everything that alters the picture."""

    def __init__(self, splats: Splats, cameras: Cameras | None, changed: Callable[[], None]) -> None:
        self._lock = threading.RLock()
        self._history = History(splats.to("cpu").detach())
        self._cameras = cameras[placed_indices(cameras)] if cameras is not None else None
        self._changed = changed
        self._splats = self._history.splats()
        self._selected = torch.zeros(len(splats), dtype=torch.bool)
        self._seen_by: Int[Tensor, " O"] | None = None

    # What there is

    @property
    def splats(self) -> Splats:
        """All Gaussians as edited, hidden ones included."""
        return self._splats

    @property
    def selected(self) -> Bool[Tensor, " M"]:
        return self._selected

    @property
    def edited(self) -> bool:
        return self._history.can_undo

    def scene(self) -> Scene:
        """What is to be drawn."""
        with self._lock:
            seen = None if self._seen_by is None else self._seen_by[self._history.layout.source.long()]
            hidden = self._history.layout.hidden
            if not bool(hidden.any()):
                return Scene(self._splats, self._selected, seen)
            return Scene(self._splats[~hidden], self._selected[~hidden], None if seen is None else seen[~hidden])

    def counts(self) -> tuple[int, int, int]:
        """Gaussians in the scene, selected, hidden."""
        with self._lock:
            return len(self._splats), int(self._selected.sum()), int(self._history.layout.hidden.sum())

    def can(self) -> tuple[bool, bool]:
        """Whether there is something to undo, and to redo."""
        return self._history.can_undo, self._history.can_redo

    # Selecting; hidden Gaussians are never meant

    def select(self, found: Bool[Tensor, " M"], mode: Mode = "New") -> None:
        """Change the selection by a mask over all rows of `splats`."""
        with self._lock:
            if len(found) != len(self._splats):  # found in a scene that was edited meanwhile
                return
            self._selected = combine(self._selected, found & ~self._history.layout.hidden, mode)
        self._changed()

    def select_all(self, on: bool) -> None:
        self.select(torch.full((len(self._splats),), on))

    def invert(self) -> None:
        self.select(~self._selected)

    def select_floaters(self, rule: FloaterFilter) -> None:
        """Show what the filter would take, as the selection."""
        seen = self.seen_by() if rule.min_cameras > 0 else None
        with self._lock:
            rows = None if seen is None else seen[self._history.layout.source.long()]
            found = floaters(self._splats, rule, rows)
        self.select(found)

    def select_object(self, masks: list[Float[Tensor, "_ _"] | None], mode: Mode = "New") -> None:
        """Select what the masks of the placed photos, one each, vote for by majority."""
        if self._cameras is None:
            return
        with self._lock:
            vote = object_share(self._splats, self._cameras, masks, select_rasterizer("auto"))
        self.select(vote > 0.5, mode)

    def seen_by(self) -> Int[Tensor, " O"] | None:
        """How many input cameras see each Gaussian of the original; None without cameras. Slow the first time."""
        with self._lock:
            if self._seen_by is None and self._cameras is not None and len(self._cameras):
                original = self._history.original
                self._seen_by = camera_count(seen_fraction(original, self._cameras, select_rasterizer("auto")))
            return self._seen_by

    # Changing

    def delete(self) -> None:
        """Take the selection away."""
        self._do(Delete(self._selected))

    def keep(self) -> None:
        """Take everything else away."""
        self._do(Delete(~self._selected))

    def hide(self) -> None:
        self._do(Hide(self._selected))

    def show_all(self) -> None:
        """Bring all that is hidden back."""
        self._do(Show(self._history.layout.hidden))

    def move(self, motion: Sim3) -> None:
        """Move, turn or scale the selection, in world units."""
        self._do(Move(self._selected, motion))

    def duplicate(self, motion: Sim3) -> None:
        """Copy the selection, moved; the copy is then selected."""
        self._do(Duplicate(self._selected, motion))

    def undo(self) -> None:
        """Take the last step back; what it was done to is selected again."""
        with self._lock:
            operation = self._history.undo()
            if operation is not None:
                self._splats = self._history.splats()
                self._selected = torch.zeros(len(self._splats), dtype=torch.bool)
                if not isinstance(operation, Show):
                    self._selected = operation.mask & ~self._history.layout.hidden
        self._changed()

    def redo(self) -> None:
        with self._lock:
            operation = self._history.redo()
            if operation is not None:
                self._after(operation)
        self._changed()

    def _do(self, operation: Operation) -> None:
        with self._lock:
            if not bool(operation.mask.any()):
                return
            self._history.do(operation)
            self._after(operation)
        self._changed()

    def _after(self, operation: Operation) -> None:
        """Bring Gaussians and selection up to date (the lock is held)."""
        self._splats = self._history.splats()
        count = len(self._splats)
        selected = torch.zeros(count, dtype=torch.bool)
        if isinstance(operation, Move):
            selected = operation.mask
        elif isinstance(operation, Duplicate):
            selected[len(operation.mask) :] = True
        self._selected = selected
