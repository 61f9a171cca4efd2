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
from recon.fields import FieldSplats, FieldTrainConfig, render_field
from recon.optimize.budget.config import BudgetConfig
from recon.pipeline.pictures import render_view
from recon.pipeline.stages import Dense, Photos, TrainStage
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
