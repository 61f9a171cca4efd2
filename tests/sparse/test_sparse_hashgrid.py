"""The hash grid against a loop, its gradients against double precision, and what pruning leaves."""

from dataclasses import astuple
from itertools import pairwise

import pytest
import torch
from reference import sparse_hashgrid as loops

from recon import native
from recon.native import hashgrid as kernels
from recon.sparse import HashGrid, HashGridConfig, HollowGrid, SaliencyMask
from recon.sparse.hashgrid import Grid, encode_torch

SMALL = HashGridConfig(levels=4, features=2, log2_entries=8, coarsest=4, finest=20)


def _grid(config: HashGridConfig = SMALL) -> HashGrid:
    grid = HashGrid(config)
    torch.nn.init.normal_(grid.table)
    return grid


def _double(grid: HashGrid, positions: torch.Tensor) -> torch.Tensor:
    return encode_torch(Grid(grid.levels, grid.table.detach().double(), grid.slots), positions)


def _loop(grid: HashGrid, positions: torch.Tensor) -> torch.Tensor:
    levels, slots = [astuple(level) for level in grid.levels], None if grid.slots is None else grid.slots.tolist()
    return torch.tensor([loops.encode(p, levels, grid.table.tolist(), slots) for p in positions.tolist()])


def test_the_layout_grows_from_coarse_to_fine() -> None:
    levels = HashGridConfig(levels=16, log2_entries=19, coarsest=16, finest=512).layout()
    assert (levels[0].resolution, levels[-1].resolution) == (16, 512)
    assert [level.hashed for level in levels] == [(level.resolution + 1) ** 3 > 2**19 for level in levels]
    assert all(a.offset + a.entries == b.offset for a, b in pairwise(levels))
    with pytest.raises(ValueError, match="finest >= coarsest"):
        HashGrid(HashGridConfig(coarsest=32, finest=16))


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("pruned", [False, True])
def test_features_are_what_the_loop_finds(features: int, pruned: bool) -> None:
    grid = _grid(HashGridConfig(levels=4, features=features, log2_entries=8, coarsest=4, finest=20))
    if pruned:
        grid = grid.pruned(torch.rand(len(grid.table)) < 0.5)
    border = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [-0.3, 0.25, 1.7]])
    positions = torch.cat([torch.rand(40, 3), border])
    expected = _loop(grid, positions)
    assert any(level.hashed for level in grid.levels)
    assert not all(level.hashed for level in grid.levels)
    assert torch.allclose(grid(positions), expected, atol=1e-5)
    assert torch.allclose(encode_torch(Grid(grid.levels, grid.table, grid.slots), positions), expected, atol=1e-5)


@pytest.mark.parametrize("features", [1, 2, 8])
@pytest.mark.parametrize("pruned", [False, True])
def test_gradients_are_those_of_double_precision(features: int, pruned: bool) -> None:
    grid = _grid(HashGridConfig(levels=3, features=features, log2_entries=7, coarsest=3, finest=9))
    if pruned:
        grid = grid.pruned(torch.rand(len(grid.table)) < 0.7)
    positions = (torch.rand(300, 3) * 1.2 - 0.1).requires_grad_()
    upstream = torch.randn(300, 3 * features)
    by_table, by_positions = torch.autograd.grad(grid(positions), [grid.table, positions], upstream)
    table, exact = (t.detach().double().requires_grad_() for t in (grid.table, positions))
    expected = torch.autograd.grad(
        encode_torch(Grid(grid.levels, table, grid.slots), exact), [table, exact], upstream.double()
    )
    assert torch.allclose(by_table.double(), expected[0], atol=1e-4)
    assert torch.allclose(by_positions.double(), expected[1], rtol=1e-4, atol=1e-3)
    outside = ((positions < 0) | (positions > 1)).detach()
    assert not by_positions[outside].any()


def test_the_torch_gradient_is_that_of_finite_differences() -> None:
    grid = _grid()
    positions = torch.rand(20, 3, dtype=torch.float64) * 0.9 + 0.05
    upstream = torch.randn(20, 8, dtype=torch.float64)
    leaf = positions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((_double(grid, leaf) * upstream).sum(), leaf)
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-7
        change = (_double(grid, positions + step) - _double(grid, positions - step)) / 2e-7
        assert torch.allclose(gradient[:, axis], (change * upstream).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pruned", [False, True])
def test_threads_change_nothing(pruned: bool) -> None:
    """Pruned corners once added their nothing to row 0, while another thread added something there."""
    grid, positions = _grid(), torch.rand(30_000 if pruned else 3000, 3)
    if pruned:
        grid = grid.pruned(torch.rand(len(grid.table)) < 0.3)
    upstream = torch.randn(len(positions), 8)
    results = []
    for n in (1, 3):
        native.set_thread_count(n)
        features = grid(positions)
        results.append((features.detach(), torch.autograd.grad(features, grid.table, upstream)[0]))
    native.set_thread_count(None)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_not_a_number_and_no_points_do_no_harm() -> None:
    grid = _grid()
    assert torch.isfinite(grid(torch.tensor([[float("nan"), 0.5, float("inf")]]))).all()
    assert grid(torch.zeros(0, 3)).shape == (0, 8)


def test_without_the_library_the_features_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, positions = _grid(), torch.rand(50, 3)
    expected = grid(positions)
    weights = grid.weights_of_rows(positions)
    monkeypatch.setattr(kernels, "available", lambda *tensors: False)
    assert torch.allclose(grid(positions), expected, atol=1e-5)
    assert torch.allclose(grid.weights_of_rows(positions), weights, atol=1e-5)


def test_rows_that_no_point_meets_can_go_unnoticed() -> None:
    grid, positions = _grid(), torch.rand(100, 3) * 0.2
    weights = grid.weights_of_rows(positions)
    assert float(weights.sum()) == pytest.approx(100 * 4, rel=1e-5)
    smaller = grid.pruned(weights > 0)
    assert len(smaller.table) == int((weights > 0).sum()) < len(grid.table) / 2
    assert torch.allclose(smaller(positions), grid(positions), atol=1e-6)
    again = smaller.pruned(torch.ones(len(smaller.table), dtype=torch.bool))
    assert torch.equal(again(positions), smaller(positions))
    with pytest.raises(ValueError, match="at least one"):
        grid.pruned(torch.zeros(len(grid.table), dtype=torch.bool))


def test_a_saliency_mask_finds_where_something_is() -> None:
    field = HollowGrid(_grid(), SaliencyMask(6))
    readout = torch.nn.Linear(8, 1, bias=False)
    optimizer = torch.optim.Adam([*field.parameters(), *readout.parameters()], lr=0.05)
    admm = field.saliency.pruner(density=0.25, rho=5e-3)
    for i in range(60):
        positions = torch.rand(200, 3)
        something = (positions[:, :1] < 0.4).float()
        loss = (readout(field(positions)) - something * (1 + torch.sin(9 * positions[:, 1:2]))).square().mean()
        optimizer.zero_grad()
        (loss + admm.penalty(field.saliency.values)).backward()
        optimizer.step()
        if i % 10 == 9:
            admm = admm.update(field.saliency.values)
    pruned = field.saliency.pruned(0.25)
    assert pruned.grid.slots is not None
    kept = (pruned.grid.slots >= 0).view(7, 7, 7)  # z, y, x
    assert len(pruned.values) == int(kept.sum()) <= round(0.25 * 343)
    assert float(kept[..., :3].float().mean()) > 4 * float(kept[..., 4:].float().mean())


def test_a_hollowed_grid_is_smaller_and_says_the_same() -> None:
    saliency = SaliencyMask(6)
    with torch.no_grad():
        salient = torch.zeros(7, 7, 7)
        salient[:2, :2, :2] = 1
        saliency.values.copy_(salient.view(-1, 1))
    field = HollowGrid(_grid(), saliency.pruned(8 / 343))
    positions = torch.rand(4000, 3)
    assert torch.allclose(field.saliency(positions), saliency(positions))
    smaller = field.hollowed(positions)
    assert smaller.n_parameters < 0.7 * field.n_parameters
    assert torch.allclose(smaller(positions), field(positions), atol=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        field.hollowed(positions + 0.9)
