"""A limit on the number of Gaussians, or on their file: whom it costs, that it holds, and that nothing else changes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from optimize_scenes import arc_cameras, rasterizer, scene, wall
from test_train import SMALL, novel_psnr

from recon.errors import InputError
from recon.optimize import TrainConfig, Trainer, train
from recon.optimize.budget import prune
from recon.optimize.budget.config import BudgetConfig
from recon.optimize.budget.prune import Rounds, within_budget
from recon.render import render
from recon.render.importance import changes, importance
from recon.render.looks import Looks, looks_around
from recon.types import Cameras, Splats

LIMIT = 700
BYTES, TABLES = 40, 3000


def limited(**settings: float | str) -> TrainConfig:
    return replace(SMALL, budget=BudgetConfig(**{"views": 4, "side": 64, "recovery": 40, **settings}))


def weigh(splats: Splats) -> int:
    """A format as simple as can be."""
    return TABLES + BYTES * len(splats)


# --- whom it costs


def tiny(side: int = 8) -> tuple[Splats, Cameras]:
    cameras = arc_cameras(1)
    return wall(60), cameras.resized(torch.tensor([side]), torch.tensor([side]))


def test_changes_are_on_average_the_sum_of_squared_derivatives():
    """Against a loop: one backward pass for every pixel and channel."""
    splats, camera = tiny()
    logits = splats.logit_opacities.clone().requires_grad_(True)
    image = render(replace(splats, logit_opacities=logits), camera, rasterizer()).rgb[0]
    expected = torch.zeros(len(splats))
    for value in image.flatten():
        (slope,) = torch.autograd.grad(value, logits, retain_graph=True)
        opacities = splats.opacities
        expected += (opacities * slope / (opacities * (1 - opacities))).square()
    generator = torch.Generator().manual_seed(0)
    draws = [changes(splats, camera, torch.ones(8, 8), rasterizer(), generator) for _ in range(60)]
    found = torch.stack(draws).mean(0)
    shown = expected > 0.05 * expected.max()
    assert int(shown.sum()) > 5
    torch.testing.assert_close(found[shown], expected[shown], rtol=0.5, atol=0)
    assert float(found.sum()) == pytest.approx(float(expected.sum()), rel=0.1)


def test_what_is_hidden_or_shows_what_is_behind_it_is_worth_less():
    """In front of a wall of one colour: a disc of another, one of the same, and one behind the wall."""
    splats = wall(3000)
    splats = replace(splats, sh0=torch.full_like(splats.sh0, 0.5))
    disc = splats[torch.tensor([0, 0, 0])]
    places = torch.tensor([[0.5, 0.0, -1.5], [-0.5, 0.0, -1.5], [0.0, 0.0, 1.5]])
    colors = torch.tensor([-1.0, 0.5, -1.0])[:, None, None].expand(3, 1, 3).clone()
    three = replace(disc, means=places, log_scales=disc.log_scales + 1, sh0=colors)
    everything = Splats.cat([splats, three])
    looks = looks_around(everything, arc_cameras(3), 3, 64, rasterizer())
    other, alike, behind = importance(everything, looks, rasterizer(), 0)[-3:].tolist()
    assert other > 2 * alike
    assert alike > 2 * behind


def test_importance_is_the_same_every_time():
    splats, camera = tiny(16)
    picture = render(splats, camera, rasterizer()).rgb[0]
    looks = Looks(camera, [picture], torch.ones(16, 16))
    first = importance(splats, looks, rasterizer(), 3)
    assert torch.equal(first, importance(splats, looks, rasterizer(), 3))
    assert not torch.equal(first, importance(splats, looks, rasterizer(), 4))


# --- when


def test_rounds_take_the_same_share_each_time():
    schedule = Rounds(stop=4, target=1 / 16)
    assert [schedule.density(time) for time in range(6)] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16])


@pytest.mark.parametrize("schedule", ["cubic", "rounds"])
def test_the_limit_is_reached_step_by_step_with_recovery_after(schedule: str, monkeypatch: pytest.MonkeyPatch):
    counts = []

    def watched(splats: Splats, *args: Any, **settings: Any) -> Splats:
        counts.append((len(splats), args[2].steps))
        return splats

    monkeypatch.setattr(prune, "refit", watched)
    config = BudgetConfig(max_gaussians=500, schedule=schedule, times=3, recovery=40, views=2, side=32)
    left = within_budget(wall(4000), arc_cameras(2), config, rasterizer())
    assert (
        counts == {"cubic": [(1537, 10), (630, 10), (500, 20)], "rounds": [(2000, 10), (1000, 10), (500, 20)]}[schedule]
    )
    assert len(left) == 500


# --- that it holds


def test_training_ends_with_exactly_as_many_as_asked_for_with_what_is_added():
    posed, depths, _ = scene()
    config = replace(limited(max_gaussians=LIMIT), steps=12)
    first = len(Trainer(posed, depths, config, rasterizer()).parameters)
    result = train(posed, depths, config, rasterizer())
    born, gone = (sum(result.account[key].values()) for key in ("born", "pruned"))
    assert len(result.splats) == LIMIT == first + born - gone
    assert result.account["pruned"]["budget"] > 500
    assert born > 0


def test_those_left_recover():
    truth, cameras = wall(), arc_cameras(3)
    config = limited(max_gaussians=400).budget
    dropped = within_budget(truth, cameras, replace(config, recovery=0), rasterizer())
    fitted = within_budget(truth, cameras, config, rasterizer())
    alone, after = (novel_psnr(splats, truth) for splats in (dropped, fitted))
    assert len(dropped) == len(fitted) == 400
    assert after > alone + 1, (alone, after)


def test_a_target_in_megabytes_is_weighed():
    budget = BudgetConfig(target_mb=0.035, recovery=4, views=2, side=32)
    left = within_budget(wall(4000), arc_cameras(2), budget, rasterizer(), weigh)
    assert 0.96 * 35_000 < weigh(left) <= 35_000
    both = within_budget(wall(4000), arc_cameras(2), replace(budget, max_gaussians=200), rasterizer(), weigh)
    assert len(both) == 200
    with pytest.raises(InputError, match=r"No splats fit into 0.001 MB"):
        within_budget(wall(4000), arc_cameras(2), replace(budget, target_mb=0.001), rasterizer(), weigh)


def test_limits_that_make_no_sense_are_refused():
    posed, depths, _ = scene()
    with pytest.raises(InputError, match="max_gaussians must be more than 0, got 0"):
        train(posed, depths, limited(max_gaussians=0), rasterizer())
    with pytest.raises(InputError, match="needs a way to weigh"):
        train(posed, depths, limited(target_mb=1.0), rasterizer())


def test_a_limit_that_is_never_met_changes_nothing():
    splats = wall(200)
    for budget in (BudgetConfig(), BudgetConfig(max_gaussians=200, views=2, side=32)):
        left = within_budget(splats, arc_cameras(2), budget, rasterizer())
        assert all(torch.equal(value, left.tensors()[name]) for name, value in splats.tensors().items())
