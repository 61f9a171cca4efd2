"""Schedules hit their targets; pruners that work over many steps end where they say."""

from itertools import pairwise

import pytest
import torch
from reference import sparse_pruning as loops

from recon.sparse import (
    Admm,
    Cubic,
    OneShot,
    ProgressivePattern,
    RandomSharing,
    SoftShrinkage,
    adaptive_decay,
    iterative_magnitude,
    keep_density,
    magnitude,
    sparse_soup,
)


def test_one_shot_prunes_at_its_step() -> None:
    schedule = OneShot(at=10, target=0.2)
    assert [schedule.density(step) for step in (0, 9, 10, 99)] == [1.0, 1.0, 0.2, 0.2]


def test_cubic_follows_the_formula_and_reaches_its_target() -> None:
    schedule = Cubic(start=100, stop=300, target=0.1)
    densities = [schedule.density(step) for step in range(400)]
    assert densities == pytest.approx([loops.cubic_density(step, 100, 300, 0.1) for step in range(400)])
    assert densities[300] == 0.1
    assert all(a >= b for a, b in pairwise(densities))


def test_cubic_changes_only_every_so_many_steps() -> None:
    schedule = Cubic(start=0, stop=95, target=0.5, every=10)
    assert len({schedule.density(step) for step in range(40, 50)}) == 1
    assert schedule.density(50) < schedule.density(49)
    assert schedule.density(95) == 0.5


def test_soft_shrinkage_lets_values_come_back_and_ends_hard() -> None:
    schedule = SoftShrinkage(stop=5, target=0.5, amount=0.1)
    values, mask = schedule.apply(torch.tensor([4.0, 3.0, 2.0, 1.0]), 0)
    assert values.tolist() == pytest.approx([4.0, 3.0, 1.8, 0.9])
    values[3] = 10.0  # the optimiser found a use for it
    values, mask = schedule.apply(values, 1, mask)
    assert mask.tolist() == [True, False, False, True]
    for step in range(2, 7):
        values, mask = schedule.apply(values, step, mask)
    assert mask.tolist() == [True, False, False, True]
    assert values.tolist() == pytest.approx([4.0, 0.0, 0.0, 10.0])


@pytest.mark.parametrize("decay", ["linear", "exponential", "structure"])
def test_progressive_patterns_end_with_n_of_m(decay: str) -> None:
    pattern = ProgressivePattern(2, 16, start=10, stop=50, decay=decay)  # type: ignore[arg-type]
    scores = torch.rand(3, 32)
    assert bool((pattern.soft_mask(scores, 0) == 1).all())
    sums = [float(pattern.soft_mask(scores, step).sum()) for step in range(60)]
    assert all(a >= b for a, b in pairwise(sums))
    assert sums[50] == 3 * 32 * 2 / 16
    assert set(pattern.soft_mask(scores, 55).unique().tolist()) == {0.0, 1.0}
    assert sums[10] > sums[30] > sums[50]


def test_structure_decay_halves_what_is_kept() -> None:
    pattern = ProgressivePattern(1, 8, start=0, stop=40, decay="structure")
    assert [pattern.kept(step) for step in (0, 10, 20, 30, 40)] == [8, 4, 2, 1, 1]


def test_adaptive_decay_stops_at_zero_and_spares_the_mask() -> None:
    values = torch.tensor([1.0, -1.0, 0.05, -0.5])
    mask = torch.tensor([True, False, False, False])
    assert adaptive_decay(values, mask, 0.1).tolist() == pytest.approx([1.0, -0.9, 0.0, -0.4])
    moments = torch.tensor([1.0, 4.0, 1.0, 0.25])
    step = 0.1 * (1 + 2 + 1 + 0.5) / 4
    expected = [1.0, -1.0 + step / 2, 0.0, max(0, 0.5 - step / 0.5) * -1]
    assert adaptive_decay(values, mask, 0.1, moments).tolist() == pytest.approx(expected)


def test_iterative_magnitude_rewinds_and_hits_the_density() -> None:
    goal = {"a": torch.randn(40), "b": torch.randn(5, 4) * 0.1}
    seen: list[int] = []

    def train(values: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(sum(int(mask.sum()) for mask in masks.values()))
        for name, value in values.items():
            assert torch.equal(value, torch.full_like(value, 0.5) * masks[name]), "every round starts from early values"
        return {name: goal[name] * masks[name] for name in values}

    early = {name: torch.full_like(value, 0.5) for name, value in goal.items()}
    values, masks = iterative_magnitude(early, train, 0.25, 3, floor=0.1)
    assert seen == [60, round(60 * 0.25 ** (1 / 3)), round(60 * 0.25 ** (2 / 3)), 15]
    assert int(masks["b"].sum()) >= 2
    assert all(torch.equal(values[name], goal[name] * masks[name]) for name in goal)


def _project(values: torch.Tensor) -> torch.Tensor:
    return values * keep_density(magnitude(values), 0.5)


def test_admm_does_what_the_loop_does_and_ends_sparse() -> None:
    goal = torch.tensor([3.0, -2.0, 0.3, 0.2], dtype=torch.float64)
    values = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    admm = Admm.start(values, _project, rho=1.0)
    for _ in range(60):
        loss = (values - goal).square().sum() / 2 + admm.penalty(values)
        (gradient,) = torch.autograd.grad(loss, values)
        values = (values - 0.3 * gradient).detach().requires_grad_()
        admm = admm.update(values)
    expected = loops.admm(
        [0.0] * 4, 60, lambda x: _project(torch.tensor(x)).tolist(), rho=1.0, rate=0.3, goal=goal.tolist()
    )
    assert values.tolist() == pytest.approx(expected, abs=1e-5)
    assert _project(values.detach()).tolist() == pytest.approx([3.0, -2.0, 0.0, 0.0], abs=1e-2)
    assert admm.violation(values) < 1e-2
    with pytest.raises(ValueError, match="rho"):
        Admm.start(values, _project, rho=0.0)


def test_a_soup_is_the_mean_and_as_sparse() -> None:
    mask = {"w": torch.tensor([True, False, True])}
    models = [{"w": torch.tensor([1.0, 0.0, 3.0])}, {"w": torch.tensor([3.0, 0.0, 5.0])}]
    assert sparse_soup(models, mask)["w"].tolist() == [2.0, 0.0, 4.0]
    with pytest.raises(ValueError, match="Model 1 has values outside"):
        sparse_soup([models[0], {"w": torch.ones(3)}], mask)
    with pytest.raises(ValueError, match="no models"):
        sparse_soup([], mask)


def test_sharing_is_even_and_repeatable() -> None:
    shapes, scales = {"a": (7, 5), "b": (12,)}, {"a": 0.5, "b": 2.0}
    shared = RandomSharing(scales, shapes, pool=10, seed=1)
    values = shared()
    assert {name: tuple(value.shape) for name, value in values.items()} == shapes
    flat = torch.cat([values["a"].flatten() / 0.5, values["b"] / 2.0]).abs()
    uses = [int((flat - entry.abs()).abs().lt(1e-6).sum()) for entry in shared.pool]
    assert set(uses) == {4, 5}, "47 weights over 10 entries: each serves four or five"
    again = RandomSharing(scales, shapes, pool=10, seed=1)()
    assert all(torch.equal(values[name], again[name]) for name in shapes)
    with pytest.raises(ValueError, match="1 to 47"):
        RandomSharing(scales, shapes, pool=48)


def test_a_full_pool_learns_anything_and_a_step_moves_weights_as_if_unshared() -> None:
    goal = torch.randn(6)
    shared = RandomSharing({"w": 10.0}, {"w": (6,)}, pool=6)
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.5)
    before = shared()["w"].detach()
    loss = (shared()["w"] - goal).square().sum() / 2
    loss.backward()
    optimizer.step()
    after = shared()["w"].detach()
    assert after.tolist() == pytest.approx((before - 0.5 * (before - goal)).tolist(), abs=1e-4)
