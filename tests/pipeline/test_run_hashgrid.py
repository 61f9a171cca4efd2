"""`--representation hashgrid`: a field in the place of splats, from cameras and points that are there already."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference.field_scenes import SMALL, photos_of_the_ball

from recon import pipeline
from recon.cli.options import Run, parse
from recon.cli.run_command import photos_config
from recon.compress import read_ply
from recon.config import RunConfig
from recon.errors import InputError
from recon.fields import FieldSplats, FieldTrainConfig, FieldTrainer, render_field
from recon.optimize.budget.config import BudgetConfig
from recon.pipeline import summary
from recon.pipeline.fields import CHECKPOINT, FILE, remove_stale
from recon.pipeline.pictures import render_view
from recon.pipeline.stages import Dense, Photos, TrainStage
from recon.runfolder import StageRecord
from recon.types import DepthMaps, ImageSet, PointCloud, PoseResult, PoseStatus

TURNS = [0.0, 0.7, 1.4, 2.1, 2.8, 3.5]


@pytest.fixture
def run(tmp_path: Path) -> pipeline.Run:
    """After the dense stage."""
    scene = photos_of_the_ball(TURNS)
    n = len(scene)
    steps = FieldTrainConfig(size=SMALL, steps=60, samples=2048, samples_across=48, occupancy=16)
    config = RunConfig(tmp_path, tmp_path / "recon", representation="hashgrid", hashgrid=steps)
    current = pipeline.Run(config, pipeline.STAGES)
    surface = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=1) / 2
    points = PointCloud(surface, surface + 0.5, torch.ones(500))
    names = tuple(f"{i}.png" for i in range(n))
    images = ImageSet(names, scene.images, torch.full((n,), 36.0), torch.zeros(n, dtype=torch.int64), scene.masks)
    errors, seen = torch.zeros(n), torch.full((n,), 500)
    current.keep("images", Photos(images))
    current.keep("poses", PoseResult(scene.cameras, points, (PoseStatus.OK,) * n, ("",) * n, seen, errors))
    unknown = tuple(torch.zeros(image.shape[:2]) for image in scene.images)
    current.keep("dense", Dense(DepthMaps(unknown, unknown), points))
    current.folder.prepare(1)
    return current


def test_a_field_is_trained_saved_and_shown(run: pipeline.Run) -> None:
    outcome = TrainStage().compute(run)
    trained = TrainStage().load(run)
    assert isinstance(trained.splats, FieldSplats)
    assert {path.name for path in outcome.outputs} >= {"field.npz", "splats.ply", "cameras.json"}
    assert all(path.is_file() for path in outcome.outputs)
    assert outcome.details["field_parameters"] == trained.splats.field.n_parameters
    camera = trained.cameras[0]
    shown = render_view(trained.splats.to("cpu"), camera, run.rasterizer)
    assert torch.equal(shown.rgb, render_field(trained.splats.field, trained.splats.occupancy, camera).rgb)
    laid_on_it = render_view(read_ply(run.folder.splats), camera, run.rasterizer)
    assert float((laid_on_it.alpha - shown.alpha).abs().mean()) < 0.15


def test_a_damaged_field_is_an_error_that_names_it(run: pipeline.Run) -> None:
    outcome = TrainStage().compute(run)
    field = next(path for path in outcome.outputs if path.name == "field.npz")
    field.write_bytes(field.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"field\.npz"):
        TrainStage().load(run)


def test_what_the_other_representation_left_goes(run: pipeline.Run, caplog: pytest.LogCaptureFixture) -> None:
    small, checkpoint = run.folder.root / "splats_web.sog", run.folder.checkpoints / "train.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    for stale in (small, checkpoint):
        stale.write_bytes(b"of splats")
    with caplog.at_level("INFO"):
        TrainStage().compute(run)
    assert not small.exists()
    assert not checkpoint.exists()
    assert "splats_web.sog, which belongs to another representation" in caplog.text
    remove_stale(run.folder, CHECKPOINT, FILE)
    assert not (run.folder.root / "field.npz").exists()
    assert not (run.folder.checkpoints / "field.pt").exists()


def test_a_field_goes_on_from_its_checkpoint(run: pipeline.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after 30 of 60 steps: only the others are done again, and with other settings all."""
    calls: list[int] = []
    whole = FieldTrainer.step

    def step(trainer: FieldTrainer) -> float:
        calls.append(trainer.step_index)
        if len(calls) == 31:
            raise KeyboardInterrupt
        return whole(trainer)

    monkeypatch.setattr(FieldTrainer, "step", step)
    monkeypatch.setattr("recon.pipeline.fields.EVERY_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        TrainStage().compute(run)
    assert TrainStage().compute(run).details["steps"] == 60
    assert calls[31:] == list(range(30, 60))
    assert not (run.folder.checkpoints / "field.pt").exists(), "done"


def test_the_verdict_speaks_of_a_field(run: pipeline.Run) -> None:
    outcome = TrainStage().compute(run)
    record = StageRecord("train", "", 1.0, 1.0, 1, {}, outcome.details)
    run.records["train"] = record
    measured = summary.metrics(run)
    assert measured["representation"] == "hashgrid"
    size = (run.folder.root / "field.npz").stat().st_size / 1e6
    said = summary.verdict(measured)
    assert f"{summary.thousands(outcome.details['field_parameters'])} numbers, {size:.1f} MB" in said
    assert "Gaussians" not in said


def test_splats_depend_on_nothing_of_the_field(run: pipeline.Run) -> None:
    splats = replace(run.config, representation="splats")
    other = replace(splats, hashgrid=FieldTrainConfig(steps=7))
    plans = [TrainStage().settings(pipeline.Run(config, pipeline.STAGES)) for config in (splats, other, run.config)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_what_only_splats_can_do_is_refused(run: pipeline.Run, demo_images: Path) -> None:
    limited = replace(run.config.train, budget=BudgetConfig(max_gaussians=1000))
    with pytest.raises(InputError, match="--max-gaussians"):
        pipeline.run(replace(run.config, images_dir=demo_images, train=limited))
    options = parse(["run", "--images", str(demo_images), "--representation", "hashgrid"])
    assert isinstance(options, Run)
    assert photos_config(options).representation == "hashgrid"
