"""Cameras given with `--poses`, up to where the stages take them over."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon import data, pipeline
from recon.config import RunConfig
from recon.events import Event, Warned
from recon.pipeline.stages import read_photos
from recon.types import Cameras

CAMERAS = Path(__file__)
"""Any file: its content is stood in for where it is read, and only hashed elsewhere."""


def cameras_of(photos: Path) -> data.KnownCameras:
    names = tuple(sorted(path.name for path in photos.glob("*.jpg")))
    K = torch.tensor([[800.0, 0, 214], [0, 800, 320], [0, 0, 1]])
    n = len(names)
    return data.KnownCameras(names, Cameras.create(torch.eye(4).repeat(n, 1, 1), K.repeat(n, 1, 1), 428, 640))


@pytest.fixture
def run(demo_images: Path, tmp_path: Path) -> tuple[pipeline.Run, list[Event]]:
    heard: list[Event] = []
    config = RunConfig(demo_images, tmp_path / "recon", known_poses=CAMERAS)
    return pipeline.Run(config, pipeline.STAGES, heard.append), heard


def test_the_camera_files_warnings_are_passed_on_once(
    run: tuple[pipeline.Run, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    current, heard = run
    known, asked = cameras_of(current.config.images_dir), []

    def load_posed(path: Path, photos: Path) -> data.KnownCameras:
        asked.append((path, photos))
        return replace(known, warnings=("One lens is unusual.",))

    monkeypatch.setattr(data, "load_posed", load_posed)
    photos = read_photos(current)
    assert asked == [(CAMERAS, current.config.images_dir)]
    assert [event.message for event in heard if isinstance(event, Warned)] == ["One lens is unusual."]
    assert current.warnings == ["One lens is unusual."]
    assert photos.known is not None
    assert set(photos.known) == set(photos.used.names)
    read_photos(current, quiet=True)
    assert len(current.warnings) == 1


def test_a_changed_colmap_model_changes_the_plan(run: tuple[pipeline.Run, list[Event]], tmp_path: Path) -> None:
    current, _ = run
    model = tmp_path / "model" / "sparse" / "0"
    model.mkdir(parents=True)
    shutil.copy(CAMERAS, model / "cameras.txt")
    current.config = replace(current.config, known_poses=tmp_path / "model")
    before = current.plan()
    assert current.plan() == before
    with (model / "cameras.txt").open("a") as stream:
        stream.write("# edited\n")
    assert current.plan()["images"] != before["images"]
