"""Early stopping: where the trial without a photo says, and not otherwise."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import rasterizer, scene

from recon.metrics import psnr
from recon.optimize import TrainConfig, Trainer, train
from recon.optimize.stopping import StoppingConfig, find_stop
from recon.render import render
from recon.types import Splats

SMALL = TrainConfig(steps=60, sh_degree=0, publish_every=20)
SMALL = replace(SMALL, init=replace(SMALL.init, max_gaussians=600), densify=replace(SMALL.densify, max_gaussians=700))


class Spoiled:
    """Stands in for a training that is best after `best` steps: colours come nearer to the truth, then leave it."""

    def __init__(self, truth: Splats, best: int) -> None:
        self.truth, self.best, self.step_index = truth, best, 0

    def step(self) -> None:
        self.step_index += 1

    def shown(self) -> Splats:
        return replace(self.truth, sh0=self.truth.sh0 + 0.02 * abs(self.step_index - self.best))


@pytest.mark.parametrize(("best", "patience", "looks"), [(30, 2, 5), (30, 1, 4), (60, 2, 6)])
def test_the_best_look_at_the_photo_left_out_says_when(best: int, patience: int, looks: int) -> None:
    posed, _, truth = scene()
    left = []

    def begin(indices: list[int]) -> Spoiled:
        left.append(sorted({0, 1, 2} - set(indices)))
        return Spoiled(truth, best)

    found = find_stop(posed, 60, begin, rasterizer(), StoppingConfig(every=10, patience=patience))
    assert found is not None
    assert (found.step, len(found.curve)) == (best, looks)
    assert left == [[1]]  # between the other two
    assert found.photo == posed.names[1]
    shown = render(Spoiled(truth, 10).shown(), posed.cameras[1], rasterizer()).rgb[0].clamp(0, 1)
    assert found.curve[best // 10 - 2][1] == pytest.approx(float(psnr(shown, posed.images[1])), abs=1e-3)


def test_training_ends_there_and_says_so(tmp_path) -> None:
    posed, depths, _ = scene()
    config = replace(SMALL, stopping=StoppingConfig(every=15, patience=9))
    trainer = Trainer(posed, depths, config, rasterizer())
    trainer.settle_end()
    assert trainer.stopping is not None
    trainer.stopping = replace(trainer.stopping, step=30)
    trainer.step()
    trainer.save(tmp_path / "c.pt")
    result = train(posed, depths, config, rasterizer(), checkpoint=tmp_path / "c.pt")  # takes the end from there
    assert result.steps == 30
    assert result.history[-1]["step"] == 30
    assert result.stopping == {**trainer.stopping.details(), "step": 30}
    assert [step for step, _ in result.stopping["curve"]] == [15, 30, 45, 60]


def test_the_trial_leaves_cameras_where_they_are_and_keeps_the_prior() -> None:
    posed, depths, _ = scene()
    trainer = Trainer(posed, None, replace(SMALL, refine_poses=True), rasterizer(), depths)
    trial = trainer._trial([0, 2])
    assert trial.targets.prior is not None
    assert [torch.equal(a, depths.depth[i]) for a, i in zip(trial.targets.prior.depth, (0, 2))] == [True, True]
    for _ in range(40):
        trial.step()
    assert torch.equal(trial.cameras.cameras().cam_from_world, posed.cameras.cam_from_world[[0, 2]])


def test_all_steps_are_taken_unless_asked_or_with_two_photos() -> None:
    posed, depths, _ = scene()
    plain = train(posed, depths, SMALL, rasterizer())
    assert (plain.steps, plain.stopping) == (60, None)
    two, _, _ = scene(2)
    few = Trainer(two, None, replace(SMALL, stopping=StoppingConfig(every=10)), rasterizer())
    few.settle_end()
    assert few.end == 60
    assert torch.isfinite(few.splats().means).all()
