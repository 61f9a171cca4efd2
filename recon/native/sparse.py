"""The C interface of the sparse products (src/spmm.cpp, src/spgemm.cpp): float32 on the CPU, contiguous."""

import ctypes
import functools

import torch
from torch import Tensor

from recon import native

_PTR, _I64, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_CSR = [_PTR, _PTR, _PTR]


def available(*tensors: Tensor) -> bool:
    """Whether the kernels can take these tensors."""
    for t in tensors:  # a loop: products take some microseconds
        if t.dtype is not torch.float32 or not t.is_cpu:
            return False
    return native.library() is not None


def spmm(starts: Tensor, columns: Tensor, values: Tensor, b: Tensor) -> Tensor:
    """CSR times dense."""
    out = torch.empty(len(starts) - 1, b.shape[1])
    _check(
        _library().recon_spmm(
            *_pointers(starts, columns, values), len(out), b.data_ptr(), *b.shape, out.data_ptr(), native.thread_count()
        )
    )
    return out


def spmm_backward_values(starts: Tensor, columns: Tensor, b: Tensor, v_out: Tensor) -> Tensor:
    """Gradient of `spmm` by the values."""
    grads = torch.empty(len(columns))
    _check(
        _library().recon_spmm_backward_values(
            *_pointers(starts, columns), len(v_out), b.data_ptr(), b.shape[1], *_pointers(v_out, grads),
            native.thread_count(),
        )
    )  # fmt: skip
    return grads


def pattern_mm(values: Tensor, offsets: Tensor, n_kept: int, m: int, b: Tensor) -> Tensor:
    """n_kept of every m, times dense; values and offsets (uint8) [rows, groups * n_kept]."""
    out = torch.empty(len(values), b.shape[1])
    _check(
        _library().recon_pattern_mm(
            *_pointers(values, offsets), len(values), b.shape[0] // m, n_kept, m, b.data_ptr(), b.shape[1],
            out.data_ptr(), native.thread_count(),
        )
    )  # fmt: skip
    return out


def block_mm(starts: Tensor, columns: Tensor, blocks: Tensor, b: Tensor) -> Tensor:
    """Blocks [count, height, width] times dense; the height is a multiple of 4."""
    height, width = blocks.shape[1:]
    block_rows = len(starts) - 1
    out = torch.empty(block_rows * height, b.shape[1])
    _check(
        _library().recon_block_mm(
            *_pointers(starts, columns, blocks), block_rows, height, width, b.data_ptr(), *b.shape, out.data_ptr(),
            native.thread_count(),
        )
    )  # fmt: skip
    return out


def spgemm(a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor], width: int) -> tuple[Tensor, ...]:
    """(starts, columns, values) of CSR times CSR, columns ascending in each row; `width` is b's number of columns."""
    starts = torch.empty_like(a[0])
    rows = len(starts) - 1
    address = _library().recon_spgemm(
        *_pointers(*a), rows, *_pointers(*b), width, starts.data_ptr(), native.thread_count()
    )
    if address is None:
        raise MemoryError("The sparse product ran out of memory.")
    count = int(starts[-1])
    columns, values = torch.empty(count, dtype=torch.int32), torch.empty(count)
    _library().recon_spgemm_take(address, *_pointers(columns, values))
    return starts, columns, values


def _pointers(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(tensor.data_ptr() for tensor in tensors)


def _check(code: int) -> None:
    if code != 0:
        raise MemoryError("The sparse product ran out of memory.")


@functools.cache
def _library() -> ctypes.CDLL:
    """The library with the signatures of the functions used here."""
    lib = native.library()
    assert lib is not None, "callers ask available() first"
    lib.recon_spmm.argtypes = [*_CSR, _I64, _PTR, _I64, _I64, _PTR, _INT]
    lib.recon_spmm_backward_values.argtypes = [_PTR, _PTR, _I64, _PTR, _I64, _PTR, _PTR, _INT]
    lib.recon_pattern_mm.argtypes = [_PTR, _PTR, _I64, _I64, _I64, _I64, _PTR, _I64, _PTR, _INT]
    lib.recon_block_mm.argtypes = [*_CSR, _I64, _I64, _I64, _PTR, _I64, _I64, _PTR, _INT]
    lib.recon_spgemm.restype = _PTR
    lib.recon_spgemm.argtypes = [*_CSR, _I64, *_CSR, _I64, _PTR, _INT]
    lib.recon_spgemm_take.restype = None
    lib.recon_spgemm_take.argtypes = [_PTR, _PTR, _PTR]
    return lib
