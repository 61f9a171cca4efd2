"""Sparse matrices times dense and sparse ones: `a @ b`.

On the CPU in float32 they are native kernels; elsewhere, or without the library, plain torch gives the same numbers.
`recon bench sparse` shows at which densities which form pays.
"""

import functools
from dataclasses import dataclass
from typing import Any, overload

import torch
from jaxtyping import Float, Int32, Int64, UInt8
from torch import Tensor

from recon.native import sparse as kernels


@dataclass(frozen=True)
class Csr:
    """Compressed rows: each row's nonzeros, ascending by column."""

    starts: Int64[Tensor, " R1"]
    """Where each row starts among the nonzeros, and the end of the last."""
    columns: Int32[Tensor, " Z"]
    values: Float[Tensor, " Z"]
    """May require gradients: times dense is differentiable by it and by the dense matrix."""
    width: int

    @staticmethod
    def from_dense(dense: Float[Tensor, "R C"]) -> "Csr":
        """The nonzeros of a matrix."""
        rows, columns = dense.nonzero(as_tuple=True)
        return Csr(_starts(rows, len(dense)), columns.int(), dense[rows, columns], dense.shape[1])

    def to_dense(self) -> Float[Tensor, "R C"]:
        out = self.values.new_zeros(len(self.starts) - 1, self.width)
        return out.index_put((self.rows, self.columns.long()), self.values)

    @functools.cached_property
    def rows(self) -> Int64[Tensor, " Z"]:
        """The row of each nonzero."""
        counts = self.starts.diff()
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)

    @functools.cached_property
    def order_of_transpose(self) -> Int64[Tensor, " Z"]:
        """Which nonzero comes when in the transpose."""
        return self.columns.argsort(stable=True)

    def transposed(self) -> "Csr":
        """Rows for columns."""
        order = self.order_of_transpose
        return Csr(_starts(self.columns, self.width), self.rows[order].int(), self.values[order], len(self.starts) - 1)

    @overload
    def __matmul__(self, other: Tensor) -> Tensor: ...
    @overload
    def __matmul__(self, other: "Csr") -> "Csr": ...
    def __matmul__(self, other: "Tensor | Csr") -> "Tensor | Csr":
        """Times a dense matrix [C, N] (differentiable), or times another in CSR (not differentiable).

        Raises:
            ValueError: the inner sizes differ.
        """
        if isinstance(other, Csr):
            _check_inner(self.width, len(other.starts) - 1)
            return _csr_times_csr(self, other)
        _check_inner(self.width, len(other))
        if not kernels.available(self.values, other):
            return _torch_spmm(self, other)
        if not (torch.is_grad_enabled() and (self.values.requires_grad or other.requires_grad)):
            return kernels.spmm(self.starts, self.columns, self.values.contiguous(), other.contiguous())
        result = _Spmm.apply(self.values, other, self)
        assert isinstance(result, Tensor), "a Function with one output returns a tensor"
        return result


@dataclass(frozen=True)
class NOfM:
    """n values of every m along the rows: no starts, and one byte to say which (Zhou et al. 2021)."""

    values: Float[Tensor, "R K"]
    offsets: UInt8[Tensor, "R K"]
    """Place of each value among its m, ascending."""
    n: int
    m: int

    @staticmethod
    def from_dense(dense: Float[Tensor, "R C"], n: int, m: int) -> "NOfM":
        """A matrix with at most n nonzeros in every m.

        Raises:
            ValueError: there are more, C is not a multiple of m, or m is above 256.
        """
        if dense.shape[1] % m or not 0 < n <= m <= 256:
            raise ValueError(f"Cannot store {n} of every {m} of {dense.shape[1]} columns: needs n <= m <= 256, and a"
                             " multiple of m columns.")  # fmt: skip
        groups = dense.detach().reshape(len(dense), -1, m)
        if int((groups != 0).sum(2).max()) > n:
            raise ValueError(f"The matrix has more than {n} nonzeros in some {m}: mask it with keep_n_of_m first.")
        places = (groups != 0).float().argsort(dim=2, descending=True, stable=True)[..., :n].sort(dim=2).values
        values = groups.gather(2, places)
        return NOfM(values.flatten(1).contiguous(), places.flatten(1).to(torch.uint8).contiguous(), n, m)

    def to_dense(self) -> Float[Tensor, "R C"]:
        rows, groups = len(self.values), self.values.shape[1] // self.n
        out = self.values.new_zeros(rows, groups, self.m)
        places = self.offsets.view(rows, groups, self.n).long()
        return out.scatter_(2, places, self.values.view(rows, groups, self.n)).flatten(1)

    def __matmul__(self, other: Float[Tensor, "C N"]) -> Float[Tensor, "R N"]:
        """Times a dense matrix; for use, not for training: no gradients.

        Raises:
            ValueError: the inner sizes differ.
        """
        _check_inner(self.values.shape[1] // self.n * self.m, len(other))
        if not kernels.available(self.values, other):
            return self.to_dense() @ other.detach()
        return kernels.pattern_mm(self.values, self.offsets, self.n, self.m, other.detach().contiguous())


@dataclass(frozen=True)
class Blocks:
    """Dense blocks, compressed by rows of blocks."""

    starts: Int64[Tensor, " R1"]
    columns: Int32[Tensor, " B"]
    """Of each block, in units of blocks."""
    blocks: Float[Tensor, "B h w"]
    width: int
    """Columns of the whole matrix."""

    @staticmethod
    def from_dense(dense: Float[Tensor, "R C"], height: int, width: int) -> "Blocks":
        """The blocks that are not all zero.

        Raises:
            ValueError: the matrix is not made of whole blocks, or the height is not a multiple of 4.
        """
        if height % 4 or height < 1 or dense.shape[0] % height or dense.shape[1] % width:
            raise ValueError(
                f"Cannot cut {dense.shape[0]}x{dense.shape[1]} into blocks of {height}x{width}: the height must be a"
                " multiple of 4, and the matrix made of whole blocks."
            )
        tiles = dense.detach().reshape(dense.shape[0] // height, height, -1, width).transpose(1, 2)
        rows, columns = (tiles != 0).flatten(2).any(2).nonzero(as_tuple=True)
        return Blocks(_starts(rows, len(tiles)), columns.int(), tiles[rows, columns].contiguous(), dense.shape[1])

    def to_dense(self) -> Float[Tensor, "R C"]:
        height, width = self.blocks.shape[1:]
        counts = self.starts.diff()
        out = self.blocks.new_zeros(len(counts), self.width // width, height, width)
        rows = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        out[rows, self.columns.long()] = self.blocks
        return out.transpose(1, 2).reshape(len(counts) * height, self.width)

    def __matmul__(self, other: Float[Tensor, "C N"]) -> Float[Tensor, "R N"]:
        """Times a dense matrix; for use, not for training: no gradients.

        Raises:
            ValueError: the inner sizes differ.
        """
        _check_inner(self.width, len(other))
        if not kernels.available(self.blocks, other):
            return self.to_dense() @ other.detach()
        return kernels.block_mm(self.starts, self.columns, self.blocks, other.detach().contiguous())


class _Spmm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, b: Tensor, a: Csr) -> Tensor:  # type: ignore[override]
        values, b = values.contiguous(), b.contiguous()
        ctx.save_for_backward(values, b)
        ctx.a = a
        return kernels.spmm(a.starts, a.columns, values, b)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        values, b = ctx.saved_tensors
        a, v_out = ctx.a, v_out.contiguous()
        by_values = by_b = None
        if ctx.needs_input_grad[0]:
            by_values = kernels.spmm_backward_values(a.starts, a.columns, b, v_out)
        if ctx.needs_input_grad[1]:
            order = a.order_of_transpose
            by_b = kernels.spmm(_starts(a.columns, a.width), a.rows[order].int(), values[order], v_out)
        return by_values, by_b, None


def _torch_spmm(a: Csr, b: Tensor) -> Tensor:
    rows = b.new_zeros(len(a.starts) - 1, b.shape[1])
    return rows.index_add(0, a.rows, a.values[:, None] * b[a.columns.long()])


def _csr_times_csr(a: Csr, b: Csr) -> Csr:
    if kernels.available(a.values, b.values):
        parts = [(m.starts, m.columns, m.values.detach().contiguous()) for m in (a, b)]
        starts, columns, values = kernels.spgemm(parts[0], parts[1], b.width)
        return Csr(starts, columns, values, b.width)
    left, right = (
        torch.sparse_coo_tensor(
            torch.stack([m.rows, m.columns.long()]),
            m.values.detach(),
            (len(m.starts) - 1, m.width),
            check_invariants=False,
        )
        for m in (a, b)
    )
    product = torch.sparse.mm(left, right).coalesce()
    rows, columns = product.indices()
    return Csr(_starts(rows, len(a.starts) - 1), columns.int(), product.values(), b.width)


def _starts(rows: Tensor, count: int) -> Tensor:
    """Where each of `count` rows starts among entries counted by their row."""
    starts = torch.zeros(count + 1, dtype=torch.int64, device=rows.device)
    torch.cumsum(torch.bincount(rows, minlength=count), 0, out=starts[1:])
    return starts


def _check_inner(columns: int, rows: int) -> None:
    if columns != rows:
        raise ValueError(f"Cannot multiply a matrix of {columns} columns by one of {rows} rows.")
