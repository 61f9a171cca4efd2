"""A small field learns a small scene, and what is taken out of one is counted."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from reference.field_scenes import BOX, SMALL, STEP, Ball, camera, photos_of_the_ball

from recon.fields import (
    Checkpoint,
    FieldTrainConfig,
    HollowConfig,
    HollowTrainer,
    Occupancy,
    RadianceField,
    render_field,
    run_trainer,
    surface_points,
    train_field,
)
from recon.fields.hollow import Criterion
from recon.metrics import psnr
from recon.sparse import HollowGrid

TURNS = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
FAST = FieldTrainConfig(size=SMALL, steps=120, samples=2048, samples_across=48, occupancy=16, look_every=8)


def held_out_psnr(field: RadianceField, occupancy: Occupancy) -> float:
    truth = render_field(Ball(SMALL, BOX), Occupancy(8, STEP), camera(0.5, 24))
    shown = render_field(field, occupancy, camera(0.5, 24))
    return float(psnr(shown.rgb, truth.rgb))


def test_a_field_learns_a_ball_from_six_photos() -> None:
    field, occupancy, history = train_field(photos_of_the_ball(TURNS), None, BOX, FAST)
    assert held_out_psnr(field, occupancy) > 21
    assert history[-1]["psnr"] > history[0]["psnr"]
    assert float(occupancy.cells.float().mean()) < 0.5


def test_the_same_seed_gives_the_same_field() -> None:
    scene, few = photos_of_the_ball(TURNS[:2], 8), FieldTrainConfig(size=SMALL, steps=5, samples=256, samples_across=48)
    first, second = (train_field(scene, None, BOX, few)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_fit_goes_on_where_it_was() -> None:
    """As if it had never stopped, past the first looks at what is empty."""
    scene, steps = photos_of_the_ball(TURNS[:2], 8), replace(FAST, steps=20, samples=256)
    states: list[dict[str, Any]] = []
    whole, occupancy, history = train_field(
        scene, None, BOX, steps, checkpoint=Checkpoint(lambda: None, lambda s: states.append(deepcopy(s)), 0.0)
    )
    assert [state["step"] for state in states] == list(range(1, 21))
    late: list[dict[str, Any]] = []
    rest = Checkpoint(lambda: states[11], late.append, 0.0)
    again, same, told = train_field(scene, None, BOX, steps, checkpoint=rest)
    assert len(late) == 8
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    assert torch.equal(occupancy.densities, same.densities)
    assert [reading["step"] for reading in told] == [reading["step"] for reading in history]


@pytest.mark.parametrize("criterion", ["fisher", "magnitude", "random"])
def test_a_hollow_field_has_as_many_numbers_as_it_was_given(criterion: Criterion) -> None:
    field = RadianceField(SMALL, BOX)
    before = field.n_parameters
    hollow = HollowConfig(parameters=round(0.4 * before), mask=6, mask_density=0.4, every=5, criterion=criterion)
    trainer = HollowTrainer(photos_of_the_ball(TURNS), field, FAST, hollow)
    run_trainer(trainer)
    small = trainer.finished()
    assert hollow.parameters - SMALL.grid.features < small.n_parameters <= hollow.parameters
    assert isinstance(small.encoding, HollowGrid)
    positions, looks = torch.rand(200, 3), field.look(torch.nn.functional.normalize(torch.randn(200, 3), dim=1))
    for pruned, masked in zip(small(positions, looks), trainer.field(positions, looks)):
        assert torch.allclose(pruned, masked, rtol=1e-4, atol=1e-6), "what is gone was zero"


def test_what_matters_is_left() -> None:
    found = {}
    for criterion in ("fisher", "random"):
        field = RadianceField(SMALL, BOX)
        budget = round(0.4 * field.n_parameters)
        hollow = HollowConfig(parameters=budget, mask=6, mask_density=0.7, every=5, criterion=criterion)
        trainer = HollowTrainer(photos_of_the_ball(TURNS), field, replace(FAST, steps=200), hollow)
        run_trainer(trainer)
        found[criterion] = held_out_psnr(trainer.finished(), trainer.occupancy)
    assert found["fisher"] > 21
    assert found["fisher"] > found["random"] + 2


def test_a_budget_that_holds_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match="networks"):
        HollowTrainer(photos_of_the_ball(TURNS[:2], 8), RadianceField(SMALL, BOX), FAST, HollowConfig(parameters=100))


def test_points_lie_on_the_surface() -> None:
    points = surface_points(Ball(SMALL, BOX), Occupancy(8, STEP), photos_of_the_ball(TURNS).cameras)
    radius = points.xyz.norm(dim=1)
    assert len(points) > 100
    assert float((radius - 0.45).abs().median()) < 0.05
    assert torch.allclose(points.rgb, BOX.unit(points.xyz), atol=0.1), "the ball is coloured by position"
