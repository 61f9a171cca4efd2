"""Presets, files and assignments resolve to one typed configuration; mistakes are named."""

from dataclasses import replace
from pathlib import Path

import pytest

from recon import config as configuration
from recon.cli import run_command
from recon.cli.options import Photos, Run, Settings, Train
from recon.config import RunConfig
from recon.errors import InputError


@pytest.fixture
def base(tmp_path: Path) -> RunConfig:
    return RunConfig(images_dir=tmp_path / "photos", out_dir=tmp_path / "out")


@pytest.mark.parametrize("name", ["draft", "standard", "high"])
def test_every_preset_resolves(name: str, base: RunConfig) -> None:
    assert name in configuration.preset_names()
    resolved = configuration.resolve(base, quality=name)
    assert resolved.quality == name
    assert resolved.out_dir == base.out_dir


def test_presets_differ_in_effort(base: RunConfig) -> None:
    draft, standard, high = (configuration.resolve(base, quality=q) for q in ("draft", "standard", "high"))
    assert draft.train.steps < standard.train.steps < high.train.steps


@pytest.mark.parametrize("before", ["draft", "standard", "high"])
@pytest.mark.parametrize("after", ["draft", "standard", "high"])
def test_a_preset_over_another_is_all_of_it(base: RunConfig, before: str, after: str) -> None:
    changed = configuration.resolve(configuration.resolve(base, quality=before), quality=after)
    assert changed == configuration.resolve(base, quality=after)
    assert configuration.resolve(base, quality=before, config=after) == changed


def test_standard_is_what_the_code_says(base: RunConfig) -> None:
    assert configuration.resolve(base, quality="standard") == base


@pytest.fixture
def posed_run(tmp_path: Path) -> Path:
    """A run folder as `recon poses --quality draft --seed 4` leaves it, as far as settings go."""
    folder = tmp_path / "out"
    folder.mkdir()
    config = configuration.resolve(RunConfig(tmp_path / "photos", folder), quality="draft")
    (folder / "config.yaml").write_text(configuration.dump(configuration.with_seed(config, 4)))
    (folder / "stages").mkdir()
    (folder / "cameras.json").write_text("{}")
    return folder


def test_training_again_takes_another_preset_and_keeps_the_cameras(posed_run: Path) -> None:
    saved = configuration.load(posed_run / "config.yaml")
    config = run_command.train_config(Train(run=posed_run, quality="standard"))
    assert (config.train.steps, config.train.max_side, config.dense.scale) == (3000, 640, 1.0)
    assert (config.quality, config.seed, config.train.seed) == ("standard", 4, 4)
    assert config.poses == saved.poses
    seeded = run_command.train_config(Train(run=posed_run, settings=Settings(seed=0, device="auto")))
    assert (seeded.seed, seeded.train.seed, seeded.poses.seed, seeded.device) == (0, 0, 4, "auto")


@pytest.mark.parametrize(
    "assignment", ["holdout=1", "known_poses=elsewhere", "images_dir=elsewhere", "poses.seed=9", "images.masks=none"]
)
@pytest.mark.parametrize("quality", [None, "high"])
def test_training_again_refuses_other_photos_or_cameras(posed_run: Path, assignment: str, quality: str | None) -> None:
    with pytest.raises(InputError, match=assignment.split(".")[0].split("=")[0]):
        run_command.train_config(Train(run=posed_run, quality=quality, settings=Settings(set=(assignment,))))


def test_a_saved_configuration_reads_back_equal(base: RunConfig, tmp_path: Path) -> None:
    config = configuration.resolve(
        base, quality="draft", assignments=["train.loss.ssim=0.3", "images.masks=some/masks"]
    )
    path = tmp_path / "config.yaml"
    path.write_text(configuration.dump(config))
    assert configuration.load(path) == config
    assert config.images.masks == Path("some/masks")


@pytest.mark.parametrize("word", ["auto", "none"])
def test_words_for_masks_are_no_folders(word: str, tmp_path: Path) -> None:
    options = Run(photos=Photos(images=tmp_path, masks=Path(word)))
    config = run_command.photos_config(options)
    assert config.images.masks == Path(word)
    saved = tmp_path / "config.yaml"
    saved.write_text(configuration.dump(config))
    assert configuration.load(saved).images.masks == Path(word)
    folder = run_command.photos_config(Run(photos=Photos(images=tmp_path, masks=Path("some") / word)))
    assert folder.images.masks == Path("some").absolute() / word


def test_a_file_goes_over_the_preset_and_set_over_both(base: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  steps: 77\n  sh_degree: 2\n")
    config = configuration.resolve(base, quality="draft", config=path, assignments=["train.steps=78"])
    assert (config.train.steps, config.train.sh_degree) == (78, 2)
    assert config.quality == "draft"


def test_an_unknown_key_is_named_with_its_file_and_the_nearest_one(base: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  stepz: 77\n")
    with pytest.raises(InputError) as error:
        configuration.resolve(base, config=path)
    assert "train.stepz" in str(error.value)
    assert str(path) in str(error.value)
    assert "train.steps" in str(error.value)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("train.steps=many", ("train.steps", "whole number")),
        ("train.steps=1.5", ("train.steps", "whole number")),
        ("train.refine_poses=1", ("train.refine_poses", "true or false")),
        ("video.path=zigzag", ("video.path", "orbit")),
        ("device=tpu", ("device", "cuda")),
        ("train=3", ("train",)),
        ("nonsense", ("KEY=VALUE",)),
    ],
)
def test_wrong_values_are_refused(base: RunConfig, assignment: str, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        configuration.resolve(base, assignments=[assignment])
    assert all(word in str(error.value) for word in words)


def test_whole_numbers_serve_as_numbers(base: RunConfig) -> None:
    config = configuration.resolve(base, assignments=["train.loss.ssim=1"])
    assert config.train.loss.ssim == 1.0
    assert isinstance(config.train.loss.ssim, float)


def test_broken_yaml_and_missing_presets_are_input_errors(base: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("train: [unclosed")
    with pytest.raises(InputError, match="not valid YAML"):
        configuration.resolve(base, config=path)
    with pytest.raises(InputError, match=r"draft.*standard"):
        configuration.resolve(base, config="drafty")


def test_the_seed_reaches_every_stage(base: RunConfig) -> None:
    config = configuration.with_seed(base, 7)
    assert {config.seed, config.poses.seed, config.dense.seed, config.train.seed} == {7}
    assert replace(config, seed=0) != base
