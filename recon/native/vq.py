"""The C interface of the vector quantiser (src/vq.cpp): float32 tensors on the CPU, contiguous."""

import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from recon import native

_PTR, _I64 = ctypes.c_void_p, ctypes.c_int64


class _Groups(ctypes.Structure):
    """`Groups` of src/vq.cpp, in its order."""

    _fields_ = [(name, _PTR) for name in ("order", "starts", "candidates", "candidate_starts")] + [("count", _I64)]


@dataclass(frozen=True)
class Groups:
    """Points in groups, and which centres each group's points may choose from."""

    order: Tensor
    """The points, group after group, int64."""
    starts: Tensor
    """Where each group starts in `order`, and the end of the last, int64."""
    candidates: Tensor
    """The centres, group after group, int32."""
    candidate_starts: Tensor
    """Where each group starts in `candidates`, and the end of the last, int64."""

    def _as_struct(self) -> _Groups:
        pointers = (t.data_ptr() for t in (self.order, self.starts, self.candidates, self.candidate_starts))
        return _Groups(*pointers, len(self.starts) - 1)


def available(*tensors: Tensor) -> bool:
    """Whether the kernels can take these tensors."""
    fits = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
    return fits and native.library() is not None


def nearest(points: Tensor, centers: Tensor) -> Tensor:
    """Index of the centre nearest to each point, the first of equals."""
    points, centers = points.contiguous(), centers.contiguous()
    labels = torch.empty(len(points), dtype=torch.int64)
    _check(
        _library().recon_nearest(
            points.data_ptr(), *points.shape, centers.data_ptr(), len(centers), labels.data_ptr(), native.thread_count()
        )
    )
    return labels


def nearest_among(points: Tensor, centers: Tensor, groups: Groups) -> Tensor:
    """The same, among the candidates of each point's group; every group with points has candidates."""
    labels = torch.empty(len(points), dtype=torch.int64)
    struct = groups._as_struct()
    _check(
        _library().recon_nearest_among(
            points.data_ptr(), points.shape[1], centers.data_ptr(), ctypes.byref(struct), labels.data_ptr(),
            native.thread_count(),
        )
    )  # fmt: skip
    return labels


def neighbours_among(points: Tensor, centers: Tensor, groups: Groups, count: int) -> Tensor:
    """The `count` nearest candidates of each point, in no order; every group with points has as many."""
    found = torch.empty(len(points), count, dtype=torch.int32)
    struct = groups._as_struct()
    _check(
        _library().recon_neighbours_among(
            points.data_ptr(), points.shape[1], centers.data_ptr(), ctypes.byref(struct), count, found.data_ptr(),
            native.thread_count(),
        )
    )  # fmt: skip
    return found


def _check(code: int) -> None:
    if code != 0:
        raise MemoryError("The vector quantiser ran out of memory.")


@functools.cache
def _library() -> ctypes.CDLL:
    """The library with the signatures of the functions used here."""
    lib = native.library()
    assert lib is not None, "callers ask available() first"
    lib.recon_nearest.argtypes = [_PTR, _I64, _I64, _PTR, _I64, _PTR, ctypes.c_int]
    lib.recon_nearest_among.argtypes = [_PTR, _I64, _PTR, _PTR, _PTR, ctypes.c_int]
    lib.recon_neighbours_among.argtypes = [_PTR, _I64, _PTR, _PTR, _I64, _PTR, ctypes.c_int]
    return lib
