"""The group envelope against searches over shares and subsets, and its proximal step against its definition."""

import pytest
import torch
from reference import sparse_pruning as loops

from recon.sparse import group_envelope, group_norms, prox_group_envelope

WEIGHTS = torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0, 1.5], dtype=torch.float64)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("budget", [0.7, 2.0, 5.0])
def test_prox_is_what_bisection_finds(strength: float, budget: float) -> None:
    values = torch.randn(6, 3, dtype=torch.float64)
    result = prox_group_envelope(values, budget, strength, WEIGHTS)
    norms = group_norms([values]).tolist()
    expected = loops.prox_envelope(norms, WEIGHTS.tolist(), budget, strength)
    assert group_norms([result]).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("strength", [0.05, 0.5])
def test_prox_minimises_what_it_should(strength: float) -> None:
    values = torch.randn(6, 2, dtype=torch.float64)

    def objective(x: torch.Tensor) -> float:
        return float((x - values).square().sum() / 2 + strength * group_envelope(x, 3.0, WEIGHTS))

    best = prox_group_envelope(values, 3.0, strength, WEIGHTS)
    others = [objective(best + 1e-3 * torch.randn_like(best)) for _ in range(50)]
    assert objective(best) <= min(others)


def test_strong_steps_leave_about_the_budget_of_groups() -> None:
    values = torch.randn(200, 4)
    for _ in range(40):
        values = prox_group_envelope(values, 20, 0.5)
    alive = int((group_norms([values]) > 0).sum())
    assert 15 <= alive <= 25


def test_the_envelope_of_two_groups_and_of_few_enough() -> None:
    values = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)
    expected = loops.envelope_of_pairs([5.0, 2.0], [1.0, 2.0], 1.5)
    assert group_envelope(values, 1.5, weights).item() == pytest.approx(expected, rel=1e-5)
    assert group_envelope(values, 3.0, weights).item() == pytest.approx((25 + 4) / 2)


def test_it_lies_above_half_the_squared_norm_and_meets_it_on_feasible_values() -> None:
    values = torch.randn(6, 3, dtype=torch.float64)
    assert float(group_envelope(values, 3.0, WEIGHTS)) > float(values.square().sum() / 2)
    sparse = values.clone()
    sparse[[1, 3, 4, 5]] = 0
    assert group_envelope(sparse, 3.0, WEIGHTS).item() == pytest.approx(float(sparse.square().sum() / 2))


def test_it_is_the_conjugate_of_the_best_subset() -> None:
    values = torch.randn(6, 3, dtype=torch.float64)
    ones = torch.ones(6, dtype=torch.float64)
    probe = torch.randn(6, 3, dtype=torch.float64)
    conjugate = loops.best_subset(group_norms([probe]).tolist(), ones.tolist(), 2) / 2
    assert float(group_envelope(values, 2, ones)) >= float((probe * values).sum()) - conjugate  # Fenchel and Young


def test_its_gradient_is_right() -> None:
    values = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(group_envelope(values, 2.0), values)
    direction = torch.randn_like(values)
    ahead = group_envelope(values.detach() + 1e-6 * direction, 2.0)
    behind = group_envelope(values.detach() - 1e-6 * direction, 2.0)
    assert float((gradient * direction).sum()) == pytest.approx(float((ahead - behind) / 2e-6), rel=1e-5)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        prox_group_envelope(torch.rand(3, 2), 0.0, 0.1)
