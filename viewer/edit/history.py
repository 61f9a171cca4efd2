"""What was done to a scene, and taking it back.

An edited scene is the original and a `Layout`: which of its Gaussians there are, in what order, which of a few motions
each has made, and which are hidden. Operations are masks and motions, so that a long history costs bytes per Gaussian
and not copies of all tensors; taking one back replays the others.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from recon.geometry import Sim3
from recon.types import Splats
from viewer.edit.transform import transform_splats


@dataclass(frozen=True)
class Layout:
    """The rows of an edited scene."""

    source: Int[Tensor, " M"]
    """Row of the original that each row comes from."""
    motion: Int[Tensor, " M"]
    """Index into `motions`."""
    hidden: Bool[Tensor, " M"]
    motions: tuple[Sim3, ...]
    """The first is the identity. All on the CPU in float64, in world units."""

    @staticmethod
    def of(count: int) -> "Layout":
        """All rows of an original of `count` Gaussians, unmoved."""
        rows = torch.arange(count, dtype=torch.int32)
        hidden = torch.zeros(count, dtype=torch.bool)
        return Layout(rows, torch.zeros_like(rows), hidden, (Sim3.identity(torch.float64),))

    def __len__(self) -> int:
        return len(self.source)

    def build(self, original: Splats) -> Splats:
        """The edited scene's Gaussians, hidden ones included."""
        splats = original[self.source.long()]
        for index, motion in enumerate(self.motions[1:], start=1):
            rows = torch.nonzero(self.motion == index)[:, 0]
            if len(rows):
                moved = transform_splats(splats[rows], _float(motion)).tensors()
                splats = Splats(**{n: v.index_put((rows,), moved[n]) for n, v in splats.tensors().items()})
        return splats


@runtime_checkable
class Operation(Protocol):
    """One step of a history. `mask` says which rows of the layout before it were meant."""

    @property
    def mask(self) -> Bool[Tensor, " M"]: ...

    def apply(self, layout: Layout) -> Layout: ...


@dataclass(frozen=True)
class Delete:
    """Take rows away."""

    mask: Bool[Tensor, " M"]

    def apply(self, layout: Layout) -> Layout:
        keep = ~self.mask
        return replace(layout, source=layout.source[keep], motion=layout.motion[keep], hidden=layout.hidden[keep])


@dataclass(frozen=True)
class Hide:
    """Leave rows out of the picture; they stay in the scene and in what is saved."""

    mask: Bool[Tensor, " M"]

    def apply(self, layout: Layout) -> Layout:
        return replace(layout, hidden=layout.hidden | self.mask)


@dataclass(frozen=True)
class Show:
    """Bring hidden rows back."""

    mask: Bool[Tensor, " M"]

    def apply(self, layout: Layout) -> Layout:
        return replace(layout, hidden=layout.hidden & ~self.mask)


@dataclass(frozen=True)
class Move:
    """Move, turn or scale rows."""

    mask: Bool[Tensor, " M"]
    motion: Sim3

    def apply(self, layout: Layout) -> Layout:
        index, motions = layout.motion.clone(), list(layout.motions)
        for earlier in layout.motion[self.mask].unique().tolist():
            index[self.mask & (layout.motion == earlier)] = len(motions)
            motions.append(self.motion.compose(layout.motions[earlier]))
        return replace(layout, motion=index, motions=tuple(motions))


@dataclass(frozen=True)
class Duplicate:
    """Append a copy of rows, moved."""

    mask: Bool[Tensor, " M"]
    motion: Sim3

    def apply(self, layout: Layout) -> Layout:
        moved = Move(self.mask, self.motion).apply(layout)
        return Layout(
            torch.cat([layout.source, layout.source[self.mask]]),
            torch.cat([layout.motion, moved.motion[self.mask]]),
            torch.cat([layout.hidden, layout.hidden[self.mask]]),
            moved.motions,
        )


class History:
    """An original and the operations done to it. Not thread-safe: its owner has the lock."""

    def __init__(self, original: Splats) -> None:
        self.original = original
        self.layout = Layout.of(len(original))
        self._done: list[Operation] = []
        self._undone: list[Operation] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def splats(self) -> Splats:
        """The scene as edited, hidden Gaussians included."""
        return self.layout.build(self.original)

    def do(self, operation: Operation) -> None:
        """Apply an operation; what had been undone is forgotten."""
        assert len(operation.mask) == len(self.layout), "an operation's mask has one entry per row"
        self.layout = operation.apply(self.layout)
        self._done.append(operation)
        self._undone.clear()

    def undo(self) -> Operation | None:
        """Take the last operation back and return it; None when there is none."""
        if not self._done:
            return None
        operation = self._done.pop()
        self._undone.append(operation)
        layout = Layout.of(len(self.original))
        for earlier in self._done:
            layout = earlier.apply(layout)
        self.layout = layout
        return operation

    def redo(self) -> Operation | None:
        """Do again what was undone last and return it; None when there is nothing."""
        if not self._undone:
            return None
        operation = self._undone.pop()
        self.layout = operation.apply(self.layout)
        self._done.append(operation)
        return operation


def _float(motion: Sim3) -> Sim3:
    return Sim3(motion.scale.float(), motion.R.float(), motion.t.float())
