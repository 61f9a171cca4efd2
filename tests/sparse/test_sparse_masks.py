"""Masks keep exactly what they say, and what a loop keeps."""

import pytest
import torch
from reference import sparse_pruning as loops

from recon.sparse import (
    gradient_times_value,
    group_norms,
    keep_count,
    keep_density,
    keep_global,
    keep_groups,
    keep_n_of_m,
    magnitude,
    random_scores,
)


@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_exactly_so_many_are_kept_and_the_earlier_of_equals(count: int) -> None:
    scores = torch.randint(0, 5, (5, 6)).float()
    mask = keep_count(scores, count)
    assert int(mask.sum()) == count
    assert mask.flatten().tolist() == loops.keep_count(scores.flatten().tolist(), count)


def test_a_count_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="Cannot keep 5 of 4"):
        keep_count(torch.rand(4), 5)


def test_density_rounds_to_the_nearest_count() -> None:
    assert int(keep_density(torch.rand(10), 0.26).sum()) == 3
    assert bool(keep_density(torch.rand(3, 4), 1.0).all())


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (4, 4), (0, 4), (3, 8), (1, 32)])
def test_n_of_every_m(n: int, m: int) -> None:
    scores = torch.rand(5, 64).round(decimals=1)
    mask = keep_n_of_m(scores, n, m)
    assert bool((mask.view(-1, m).sum(1) == n).all())
    assert mask.flatten().tolist() == loops.keep_n_of_m(scores.flatten().tolist(), n, m)


def test_n_of_m_needs_a_multiple() -> None:
    with pytest.raises(ValueError, match="multiple"):
        keep_n_of_m(torch.rand(3, 10), 2, 4)


def test_global_masks_share_one_threshold_and_respect_the_floor() -> None:
    scores = {"large": torch.rand(40) + 10, "small": torch.rand(4, 5), "tiny": torch.rand(7) / 100}
    floors = [4, 2, 1]  # 10 % of each, rounded up
    masks = keep_global(scores, 0.5, floor=0.1)
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.5 * 67)
    expected = loops.keep_global([value.flatten().tolist() for value in scores.values()], 0.5, floors)
    assert [mask.flatten().tolist() for mask in masks.values()] == expected
    assert int(masks["tiny"].sum()) == 1
    assert not keep_global(scores, 0.5)["tiny"].any(), "without a floor the layer collapses"


def test_a_floor_above_the_density_is_refused() -> None:
    with pytest.raises(ValueError, match="floor"):
        keep_global({"a": torch.rand(10)}, 0.1, floor=0.5)


def test_groups_live_or_die_whole() -> None:
    parts = [torch.randn(10, 3), torch.randn(10, 2, 2), torch.randn(10)]
    norms = group_norms(parts)
    assert norms[4].item() == pytest.approx(sum(float(p[4].square().sum()) for p in parts) ** 0.5, rel=1e-6)
    mask = keep_groups(norms, 0.3, like=parts[1])
    assert mask.shape == parts[1].shape
    assert int(mask[:, 0, 0].sum()) == 3
    assert bool((mask.flatten(1).all(1) == mask.flatten(1).any(1)).all())
    with pytest.raises(ValueError, match="rows"):
        group_norms([torch.rand(3, 2), torch.rand(4)])


def test_criteria_score_what_they_say() -> None:
    values = torch.tensor([-2.0, 0.5, 0.0])
    gradient = torch.tensor([0.1, -4.0, 9.0])
    assert magnitude(values).tolist() == [2.0, 0.5, 0.0]
    assert gradient_times_value(values, gradient).tolist() == pytest.approx([0.2, 2.0, 0.0])
    assert torch.equal(random_scores(values, 3), random_scores(values, 3))
    assert not torch.equal(random_scores(values, 3), random_scores(values, 4))


def test_gradient_times_value_predicts_the_change_of_a_linear_loss() -> None:
    values = torch.randn(6, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(6, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((values * slope).sum(), values)
    changes = [abs(float((values.detach() * slope)[i])) for i in range(6)]
    assert gradient_times_value(values, gradient).tolist() == pytest.approx(changes)
