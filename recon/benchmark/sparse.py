"""`recon bench sparse`: sparse products, the hash grid and vector quantisation, against torch and scipy.

Everything on one thread. Times are CPU-ms of the process, the fastest of several rounds in which all contestants take
turns; each is called once before it is measured, so that none pays for the cache that another left behind.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon import native
from recon.benchmark import machine
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult, Cell, Table
from recon.errors import MissingDependencyError
from recon.sparse import Blocks, Csr, HashGrid, HashGridConfig, NOfM, keep_n_of_m, kmeans, magnitude, nearest
from recon.sparse.hashgrid import Grid, encode_torch

Work = Callable[[], object]

# Weights times a batch: a small decoder, the layers of an MLP at a large batch, a wide layer at a small one.
QUICK_SHAPES = ((64, 64, 4096), (256, 256, 4096))
SHAPES = (*QUICK_SHAPES, (16, 64, 65536), (1024, 1024, 256))
DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
PATTERNS = ((1, 8), (1, 4), (2, 4))
BLOCK_DENSITIES = (0.05, 0.1, 0.25, 0.5, 0.75)
SPGEMM = ((2000, 0.0005), (2000, 0.002), (2000, 0.01), (2000, 0.03), (1000, 0.1), (500, 0.3))


@dataclass(frozen=True)
class _Rounds:
    """How often everything is measured."""

    rounds: int
    calls: int = 3

    def fastest(self, works: Sequence[Work]) -> list[float]:
        """CPU-ms of one call of each, the fastest round."""
        best = [float("inf")] * len(works)
        for _ in range(self.rounds):
            for i, work in enumerate(works):
                work()
                started = time.process_time()
                for _ in range(self.calls):
                    work()
                best[i] = min(best[i], 1e3 * (time.process_time() - started) / self.calls)
        return best


def run(options: BenchOptions) -> BenchResult:
    """All tables.

    Raises:
        MissingDependencyError: there is no native library to measure.
    """
    if native.library() is None:
        raise MissingDependencyError(
            f"The sparse benchmark measures the native library, which is missing ({native.describe().reason}). "
            "Install a C++ compiler, for example g++, and run it again."
        )
    started, rounds = time.process_time(), _Rounds(max(2, options.repeats // 2))
    shapes = QUICK_SHAPES if options.quick else SHAPES
    generator = torch.Generator().manual_seed(options.seed)
    with _one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its sparse tensors a beta
        tables = (
            spmm_table(shapes, rounds, generator),
            structured_table(shapes, rounds, generator),
            spgemm_table(rounds, options.seed),
            hashgrid_table(_Rounds(2, 1), options),
            quantise_table(_Rounds(1, 1), options, generator),
        )
    return BenchResult(
        name="sparse",
        description="Sparse products, hash grid and vector quantisation on the CPU, against torch and scipy",
        command="recon bench sparse" if options.quick else "recon bench sparse --full",
        tables=tables,
        machine=machine.describe(),
        versions=machine.versions(),
        seeds={"numbers": options.seed},
        options={"quick": options.quick, "repeats": options.repeats},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=time.process_time() - started,
    )


def spmm_table(shapes: Sequence[tuple[int, int, int]], rounds: _Rounds, generator: torch.Generator) -> Table:
    """CSR times dense by density."""
    from scipy.sparse import csr_matrix

    rows: list[tuple[Cell, ...]] = []
    for height, inner, n in shapes:
        b = torch.randn(inner, n, generator=generator)
        for density in DENSITIES:
            keep = torch.rand(height, inner, generator=generator) < density
            dense = torch.randn(height, inner, generator=generator) * keep
            ours, peer, scipy = Csr.from_dense(dense), dense.to_sparse_csr(), csr_matrix(dense.numpy())
            times = rounds.fastest(_times_dense(ours, peer, scipy, dense, b))
            rows.append((f"{height}x{inner} x {inner}x{n}", density, *times, min(times[1:]) / times[0]))
    return Table(
        title="CSR times dense, one thread, CPU-ms",
        columns=("product", "density", "ours", "torch CSR", "scipy", "torch dense", "times the best other"),
        rows=tuple(rows),
        note="Above 1 in the last column ours is the fastest. Above a half, a dense product is the right tool.",
    )


def _times_dense(ours: Any, peer: Tensor, scipy: Any, dense: Tensor, b: Tensor) -> list[Callable[[], Any]]:
    """One product by ours, torch's sparse, scipy's and torch's dense, to be timed."""
    numpy = b.numpy()
    return [lambda: ours @ b, lambda: peer @ b, lambda: scipy @ numpy, lambda: dense @ b]


def structured_table(shapes: Sequence[tuple[int, int, int]], rounds: _Rounds, generator: torch.Generator) -> Table:
    """N of M and blocks of 8x8 times dense."""
    from scipy.sparse import bsr_matrix, csr_matrix

    rows: list[tuple[Cell, ...]] = []
    for height, inner, n in shapes:
        b = torch.randn(inner, n, generator=generator)
        cases: list[tuple[str, Tensor, Any, Any, Any]] = []
        for kept, m in PATTERNS:
            dense = torch.randn(height, inner, generator=generator)
            dense = dense * keep_n_of_m(magnitude(dense), kept, m)
            peers = (dense.to_sparse_csr(), csr_matrix(dense.numpy()))
            cases.append((f"{kept} of {m}", dense, NOfM.from_dense(dense, kept, m), *peers))
        for density in BLOCK_DENSITIES:
            keep = torch.rand(height // 8, inner // 8, generator=generator) < density
            dense = torch.randn(height, inner, generator=generator) * torch.kron(keep.float(), torch.ones(8, 8))
            peers = (dense.to_sparse_bsr((8, 8)), bsr_matrix(dense.numpy(), blocksize=(8, 8)))
            cases.append((f"8x8 blocks, {density:g}", dense, Blocks.from_dense(dense, 8, 8), *peers))
        for name, dense, ours, peer, scipy in cases:
            times = rounds.fastest(_times_dense(ours, peer, scipy, dense, b))
            rows.append((f"{height}x{inner} x {inner}x{n}", name, *times, min(times[1:]) / times[0]))
    return Table(
        title="N of M and blocks times dense, one thread, CPU-ms",
        columns=("product", "form", "ours", "torch sparse", "scipy", "torch dense", "times the best other"),
        rows=tuple(rows),
        note="The others have no N of M: they get CSR; for blocks, BSR.",
    )


def spgemm_table(rounds: _Rounds, seed: int) -> Table:
    """CSR times CSR by density."""
    from scipy import sparse

    rows: list[tuple[Cell, ...]] = []
    for n, density in SPGEMM:
        scipy = [sparse.random(n, n, density, format="csr", dtype=np.float32, random_state=seed + i) for i in range(2)]
        parts = [
            (torch.from_numpy(m.indptr).long(), torch.from_numpy(m.indices).int(), torch.from_numpy(m.data))
            for m in scipy
        ]
        ours = [Csr(*part, n) for part in parts]
        peer = [torch.sparse_csr_tensor(starts, columns.long(), v, (n, n)) for starts, columns, v in parts]
        times = rounds.fastest([lambda m=m: m[0] @ m[1] for m in (ours, peer, scipy)])  # type: ignore[misc]
        product = ours[0] @ ours[1]
        rows.append((f"{n}x{n}", density, len(product.values) / n**2, *times, min(times[1:]) / times[0]))
    return Table(
        title="CSR times CSR, one thread, CPU-ms",
        columns=("size", "density", "of the product", "ours", "torch", "scipy", "times the best other"),
        rows=tuple(rows),
        note="Ours are ascending in each row, scipy's are not.",
    )


def hashgrid_table(rounds: _Rounds, options: BenchOptions) -> Table:
    """Encoding and gradients, against the same in torch."""
    n = 2**16 if options.quick else 2**18
    rows: list[tuple[Cell, ...]] = []
    for config in (HashGridConfig(), HashGridConfig(log2_entries=19, finest=2048)):
        grid = HashGrid(config, options.seed)
        generator = torch.Generator().manual_seed(options.seed)
        positions = torch.rand(n, 3, generator=generator)
        leaf = positions.clone().requires_grad_()
        v_out = torch.randn(n, config.levels * config.features, generator=generator)
        plain = Grid(grid.levels, grid.table, None)

        def native_encode(x: Tensor, grid: HashGrid = grid) -> Tensor:
            return grid(x)  # type: ignore[no-any-return]

        def torch_encode(x: Tensor, plain: Grid = plain) -> Tensor:
            return encode_torch(plain, x)

        cases: tuple[tuple[str, Tensor, tuple[Tensor, ...]], ...] = (
            ("features", positions, ()),
            ("and gradient of the table", positions, (grid.table,)),
            ("and of the positions", leaf, (grid.table, leaf)),
        )
        for what, x, inputs in cases:
            works = [_encode_step(encode, x, inputs, v_out) for encode in (native_encode, torch_encode)]
            ours, peer = rounds.fastest(works)
            head = (f"{config.levels} levels of up to 2^{config.log2_entries}", n, what)
            rows.append((*head, ours, 1e6 * ours / n, peer, peer / ours))
    return Table(
        title="Hash grid, two features a level, one thread, CPU-ms",
        columns=("grid", "points", "what", "ours", "ns a point", "torch", "times faster"),
        rows=tuple(rows),
    )


def _encode_step(encode: Callable[[Tensor], Tensor], x: Tensor, inputs: Sequence[Tensor], v_out: Tensor) -> Work:
    def forward() -> object:
        with torch.no_grad():
            return encode(x)

    def both() -> object:
        return torch.autograd.grad(encode(x), inputs, v_out)

    return both if inputs else forward


def quantise_table(rounds: _Rounds, options: BenchOptions, generator: torch.Generator) -> Table:
    """k-means and the nearest centres of points as spherical harmonics are: few directions, many near zero."""
    n, sizes = (50_000, ((9, 1024), (45, 4096))) if options.quick else (300_000, ((9, 4096), (45, 4096), (45, 65536)))
    rows: list[tuple[Cell, ...]] = []
    for dims, count in sizes:
        mix = torch.randn(dims, dims, generator=generator) * torch.logspace(0, -1.5, dims)[:, None]
        tail = torch.randn(n, 1, generator=generator).exp()
        points = torch.randn(n, dims, generator=generator) @ mix * tail
        started = time.process_time()
        book = kmeans(points, count, seed=options.seed)
        seconds = time.process_time() - started
        some = points[:10_000]
        searches = (partial(search, some, book.centers) for search in (nearest, _cdist))
        ours, peer = rounds.fastest(list(searches))
        exact = nearest(some, book.centers)
        found, best = (_error(some, book.centers[labels]) for labels in (book.labels[: len(some)], exact))
        rows.append((f"{n} x {dims}", count, seconds, 100 * (found / best - 1), ours, peer, peer / ours))
    return Table(
        title="Vector quantisation, one thread",
        columns=(
            "points", "centres", "k-means, 10 rounds: CPU-s", "% above exact labels",
            "nearest of 10000: CPU-ms", "torch cdist", "times faster",
        ),
        rows=tuple(rows),
        note="% above: squared error of the labels that k-means found by local search, over that of exact ones.",
    )  # fmt: skip


def _cdist(points: Tensor, centers: Tensor) -> Tensor:
    return torch.cat([torch.cdist(block, centers).argmin(1) for block in points.split(1024)])


def _error(points: Tensor, decoded: Tensor) -> float:
    return float((points - decoded).square().sum())


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    native.set_thread_count(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        native.set_thread_count(None)
