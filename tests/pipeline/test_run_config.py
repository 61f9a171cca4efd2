"""Presets, files and assignments resolve to one typed configuration; mistakes are named."""

from dataclasses import replace
from pathlib import Path

import pytest

from recon import config as configuration
from recon.cli import run_command
from recon.cli.options import Photos, Run
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
