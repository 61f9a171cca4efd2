"""Cameras given with `--poses`, up to where the stages take them over."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon import config as configuration
from recon import data, pipeline
from recon.config import RunConfig
from recon.errors import InputError
from recon.events import Event, Warned
from recon.pipeline.stages import read_photos
from recon.runfolder import RunFolder, StageRecord
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


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("sparse/0", "."),
        ("sparse/0", "sparse"),
        ("sparse/0", "sparse/0"),
        ("colmap/sparse/0", "."),
        ("0", "0/images.txt"),
    ],
)
def test_a_changed_colmap_model_changes_the_plan(
    run: tuple[pipeline.Run, list[Event]], tmp_path: Path, model: str, given: str
) -> None:
    current, _ = run
    folder = tmp_path / "model" / model
    folder.mkdir(parents=True)
    (tmp_path / "model" / "notes.md").write_text("beside it")
    for name in ("cameras.txt", "images.txt"):
        shutil.copy(CAMERAS, folder / name)
    current.config = replace(current.config, known_poses=tmp_path / "model" / given)
    before = current.plan()
    assert current.plan() == before
    with (folder / "cameras.txt").open("a") as stream:
        stream.write("# edited\n")
    assert current.plan()["images"] != before["images"]


def test_cameras_in_the_results_folder_are_refused(run: tuple[pipeline.Run, list[Event]]) -> None:
    current, _ = run
    mine = current.config.out_dir / "cameras.json"
    mine.parent.mkdir()
    mine.write_text("{}")
    for path in (mine, mine.parent):
        current.config = replace(current.config, known_poses=path)
        with pytest.raises(InputError, match="written over"):
            current.plan()


def test_a_folder_whose_cameras_are_newer_than_its_splats_is_not_taken_for_finished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.prepare(0)
    folder.config.write_text(configuration.dump(RunConfig(tmp_path, folder.root)))

    def record(stage: str, key: str, after: str) -> None:
        folder.finish(StageRecord(stage, key, 0, 0, 0, {}, after=after), [])

    for stage, key, after in (("images", "a", ""), ("poses", "b", "a"), ("dense", "c", "b"), ("train", "e", "d")):
        record(stage, key, after)
    record("placing", "d", "c")
    assert list(pipeline.open_finished(folder).records) == ["images", "poses", "dense", "placing", "train"]
    record("poses", "b2", "a")
    with pytest.raises(InputError, match=r"poses was done anew, dense is from before.*recon train"):
        pipeline.open_finished(folder)
