"""The C interface of the hash grid (src/hashgrid.cpp): float32 on the CPU, contiguous."""

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon import native

_PTR, _I64, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
FEATURES = (1, 2, 4, 8)
"""How many features an entry may have."""


class _Level(ctypes.Structure):
    """`Level` of src/hashgrid.cpp, in its order."""

    _fields_ = (("offset", _I64), ("resolution", ctypes.c_int32), ("mask", ctypes.c_uint32))


class _Grid(ctypes.Structure):
    """`HashGrid` of src/hashgrid.cpp, in its order."""

    _fields_ = (*((name, _PTR) for name in ("levels", "table", "slots")), ("n_levels", _I64), ("n_features", _I64))


@dataclass(frozen=True)
class Level:
    """Where one level lies in the table, and how fine it is."""

    offset: int
    resolution: int
    entries: int
    hashed: bool


@dataclass(frozen=True)
class Grid:
    """What a call needs besides positions."""

    levels: Sequence[Level]
    table: Tensor
    slots: Tensor | None

    def _as_struct(self) -> tuple[_Grid, Any]:
        """The structure, and the array it points to, to be kept alive."""
        rows = (_Level(v.offset, v.resolution, v.entries - 1 if v.hashed else 0) for v in self.levels)
        array = (_Level * len(self.levels))(*rows)
        slots = None if self.slots is None else self.slots.data_ptr()
        return _Grid(ctypes.addressof(array), self.table.data_ptr(), slots, len(array), self.table.shape[1]), array


def available(table: Tensor, positions: Tensor) -> bool:
    """Whether the kernels can take these tensors."""
    fits = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (table, positions))
    return fits and table.shape[1] in FEATURES and native.library() is not None


def forward(grid: Grid, positions: Tensor) -> Tensor:
    """Interpolated features [N, levels * features]."""
    out = torch.empty(len(positions), len(grid.levels) * grid.table.shape[1])
    _call("recon_hashgrid_forward", grid, positions, out)
    return out


def backward_table(grid: Grid, positions: Tensor, v_out: Tensor) -> Tensor:
    """Gradient by the table."""
    v_table = torch.zeros_like(grid.table)
    _call("recon_hashgrid_backward_table", grid, positions, v_out, v_table)
    return v_table


def backward_positions(grid: Grid, positions: Tensor, v_out: Tensor) -> Tensor:
    """Gradient by the positions."""
    v_positions = torch.empty_like(positions)
    _call("recon_hashgrid_backward_positions", grid, positions, v_out, v_positions)
    return v_positions


def _call(name: str, grid: Grid, positions: Tensor, *others: Tensor) -> None:
    struct, _levels = grid._as_struct()
    pointers = (tensor.data_ptr() for tensor in others)
    function = getattr(_library(), name)
    code = function(ctypes.byref(struct), positions.data_ptr(), len(positions), *pointers, native.thread_count())
    if code == 2:
        raise MemoryError("The hash grid ran out of memory.")
    assert code == 0, "available() has looked at the number of features"


@functools.cache
def _library() -> ctypes.CDLL:
    """The library with the signatures of the functions used here."""
    lib = native.library()
    assert lib is not None, "callers ask available() first"
    lib.recon_hashgrid_forward.argtypes = [_PTR, _PTR, _I64, _PTR, _INT]
    for name in ("recon_hashgrid_backward_table", "recon_hashgrid_backward_positions"):
        getattr(lib, name).argtypes = [_PTR, _PTR, _I64, _PTR, _PTR, _INT]
    return lib
