"""Sparse products against loops, dense products, and gradients in double precision."""

import pytest
import torch
from reference import sparse_products as loops

from recon import native
from recon.native import sparse as kernels
from recon.sparse import Blocks, Csr, NOfM, keep_n_of_m, magnitude


def _sparse(rows: int, columns: int, density: float) -> torch.Tensor:
    return torch.randn(rows, columns) * (torch.rand(rows, columns) < density)


@pytest.fixture(params=["native", "torch"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(kernels, "available", lambda *tensors: False)
    return str(request.param)


def test_csr_is_what_the_loop_makes() -> None:
    dense = _sparse(9, 7, 0.3)
    dense[4] = 0
    csr = Csr.from_dense(dense)
    starts, columns, values = loops.to_csr(dense.tolist())
    assert (csr.starts.tolist(), csr.columns.tolist(), csr.values.tolist()) == (starts, columns, values)
    assert torch.equal(csr.to_dense(), dense)
    assert torch.equal(csr.transposed().to_dense(), dense.T)


def test_small_products_are_those_of_the_loop(backend: str) -> None:
    a, b = _sparse(8, 12, 0.4), torch.randn(12, 5)
    expected = torch.tensor(loops.product(a.tolist(), b.tolist()))
    assert torch.allclose(Csr.from_dense(a) @ b, expected, atol=1e-5)
    assert torch.allclose(Blocks.from_dense(a, 4, 3) @ b, expected, atol=1e-5)
    patterned = a * keep_n_of_m(magnitude(a), 2, 4)
    expected = torch.tensor(loops.product(patterned.tolist(), b.tolist()))
    assert torch.allclose(NOfM.from_dense(patterned, 2, 4) @ b, expected, atol=1e-5)


@pytest.mark.parametrize("density", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("n", [1, 7, 130, 1100])
def test_products_of_every_width_and_density(density: float, n: int) -> None:
    a, b = _sparse(44, 60, density), torch.randn(60, n)
    for threads in (1, 3):
        native.set_thread_count(threads)
        results = [Csr.from_dense(a) @ b, Blocks.from_dense(a, 4, 5) @ b]
        native.set_thread_count(None)
        assert all(torch.allclose(result, a @ b, atol=1e-4) for result in results)


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (3, 16), (1, 32)])
def test_n_of_m_round_trip_and_product(n: int, m: int) -> None:
    dense = torch.randn(10, 64)
    dense = dense * keep_n_of_m(magnitude(dense), n, m)
    dense[3] = 0
    stored = NOfM.from_dense(dense, n, m)
    assert stored.values.shape == (10, 64 * n // m)
    assert torch.equal(stored.to_dense(), dense)
    b = torch.randn(64, 33)
    assert torch.allclose(stored @ b, dense @ b, atol=1e-5)


def test_blocks_store_only_what_is_there() -> None:
    dense = torch.zeros(16, 24)
    dense[4:8, 8:16] = torch.randn(4, 8)
    blocks = Blocks.from_dense(dense, 4, 8)
    assert blocks.blocks.shape == (1, 4, 8)
    assert torch.equal(blocks.to_dense(), dense)


@pytest.mark.parametrize("shape", [(30, 40, 50), (100, 20, 300), (5, 5, 5000)])
@pytest.mark.parametrize("density", [0.002, 0.05, 0.6])
def test_csr_times_csr(backend: str, shape: tuple[int, int, int], density: float) -> None:
    rows, inner, width = shape
    a, b = _sparse(rows, inner, density), _sparse(inner, width, density)
    product = Csr.from_dense(a) @ Csr.from_dense(b)
    assert torch.allclose(product.to_dense(), a @ b, atol=1e-4)
    for i in range(rows):
        columns = product.columns[product.starts[i] : product.starts[i + 1]]
        assert bool((columns.diff() > 0).all()), "ascending, none twice"


def test_very_wide_and_empty_rows_go_through_the_hash_table() -> None:
    width = 300_000
    columns = torch.tensor([7, 299_999, 7, 150_000], dtype=torch.int32)
    b = Csr(torch.tensor([0, 2, 4]), columns, torch.tensor([1.0, 2.0, 3.0, 4.0]), width)
    a = Csr.from_dense(torch.tensor([[1.0, 1.0], [0.0, 0.0], [3.0, -1.0]]))
    product = a @ b
    assert product.starts.tolist() == [0, 3, 3, 5], "3 * 1 - 1 * 3 is zero and not kept"
    assert product.columns.tolist() == [7, 150_000, 299_999, 150_000, 299_999]
    assert product.values.tolist() == [4.0, 4.0, 2.0, -4.0, 6.0]


@pytest.mark.parametrize("n", [3, 600])
def test_gradients_are_those_of_double_precision(backend: str, n: int) -> None:
    a, b = _sparse(20, 30, 0.3), torch.randn(30, n, requires_grad=True)
    csr = Csr.from_dense(a)
    csr = Csr(csr.starts, csr.columns, csr.values.requires_grad_(), csr.width)
    upstream = torch.randn(20, n)
    by_values, by_b = torch.autograd.grad(csr @ b, [csr.values, b], upstream)
    exact_a, exact_b = a.double().requires_grad_(), b.detach().double().requires_grad_()
    expected_a, expected_b = torch.autograd.grad(exact_a @ exact_b, [exact_a, exact_b], upstream.double())
    assert torch.allclose(by_values.double(), expected_a[csr.rows, csr.columns.long()], atol=1e-4)
    assert torch.allclose(by_b.double(), expected_b, atol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    a = Csr.from_dense(_sparse(4, 6, 0.5))
    with pytest.raises(ValueError, match="6 columns by one of 5 rows"):
        a @ torch.rand(5, 2)
    with pytest.raises(ValueError, match="more than 1 nonzeros"):
        NOfM.from_dense(torch.ones(2, 8), 1, 4)
    with pytest.raises(ValueError, match="multiple"):
        NOfM.from_dense(torch.ones(2, 9), 1, 4)
    with pytest.raises(ValueError, match="multiple of 4"):
        Blocks.from_dense(torch.ones(6, 6), 3, 3)
