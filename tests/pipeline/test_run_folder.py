"""Completion records, the lock, and the refusal to overwrite what is not ours."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recon.errors import InputError, ResourceError
from recon.runfolder import RunFolder, StageRecord, fingerprint, open_run


def make_record(key: str) -> StageRecord:
    return StageRecord("train", key, 1.0, 2.0, 3, outputs={}, details={"gaussians": 5})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.prepare(0)
    return folder


def test_a_finished_stage_is_found_by_its_fingerprint(folder: RunFolder) -> None:
    folder.splats.write_bytes(b"12345")
    folder.finish(make_record("abc"), [folder.splats])
    found = folder.finished("train", "abc")
    assert found is not None
    assert found.details == {"gaussians": 5}
    assert found.outputs == {"splats.ply": 5}
    assert folder.finished("train", "other") is None


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_stage_whose_file_is_gone_or_cut_is_not_finished(folder: RunFolder, damage: str) -> None:
    folder.splats.write_bytes(b"12345")
    folder.finish(make_record("abc"), [folder.splats])
    if damage == "missing":
        folder.splats.unlink()
    else:
        folder.splats.write_bytes(b"123")
    assert folder.finished("train", "abc") is None


def test_an_unreadable_record_means_not_finished(folder: RunFolder) -> None:
    (folder.stages / "train.json").write_text("{ not json")
    assert folder.record("train") is None


def test_what_a_stage_no_longer_writes_is_deleted_unless_it_was_changed(folder: RunFolder, tmp_path: Path) -> None:
    kept, gone, edited = (folder.root / name for name in ("kept.bin", "gone.bin", "edited.bin"))
    for path in (kept, gone, edited):
        path.write_bytes(b"12345")
    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"12345")
    record = folder.finish(make_record("abc"), [kept, gone, edited])
    edited.write_bytes(b"mine, now")
    foreign = replace(record, outputs=record.outputs | {"../outside.bin": 5, "missing.bin": 5})
    folder.remove_outputs(foreign, keep={"kept.bin"})
    assert [path.exists() for path in (kept, gone, edited, outside)] == [True, False, True, True]


def test_fingerprints_ignore_the_order_of_keys_and_see_values() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint("train", {}) != fingerprint("dense", {})


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "cameras.json").write_text("mine")
    with pytest.raises(InputError, match=r"cameras\.json"):
        RunFolder(tmp_path).prepare(0)
    assert (tmp_path / "cameras.json").read_text() == "mine"
    assert not (tmp_path / "stages").exists()


def test_a_folder_with_other_files_is_fine(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder(tmp_path).prepare(0)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "stages").is_dir()


@pytest.mark.parametrize("existed", [False, True])
def test_a_run_that_made_nothing_leaves_nothing_behind(tmp_path: Path, existed: bool) -> None:
    folder = RunFolder(tmp_path / "run")
    if existed:
        folder.root.mkdir()
    folder.prepare(0)
    with folder.lock():
        folder.log.write_text("stopped")
        folder.finish(StageRecord("images", "abc", 1.0, 2.0, 3, outputs={}), [])
        folder.discard_if_nothing_was_made()
    assert folder.root.exists() == existed
    assert not existed or not list(folder.root.iterdir())


def test_a_run_that_made_something_keeps_it(folder: RunFolder) -> None:
    folder.log.write_text("stopped")
    (folder.stages / "poses.safetensors").write_bytes(b"12345")
    with folder.lock():
        folder.discard_if_nothing_was_made()
    assert folder.log.is_file()
    assert (folder.stages / "poses.safetensors").is_file()


def test_a_file_in_the_place_of_the_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="is a file"):
        RunFolder(tmp_path / "run").prepare(0)


def test_too_little_space_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"free.*--out"):
        RunFolder(tmp_path / "run").prepare(10**18)


def test_an_unwritable_folder_is_a_resource_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root writes anywhere: let the system call say what it says to others

        def refuse(path: Path, *args: object, **options: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ResourceError, match=r"Permission denied.*--out"):
        RunFolder(locked / "run").prepare(0)


HOLD_LOCK = """
import sys, time
from recon.runfolder import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_kept_out_and_a_killed_one_leaves_no_lock(folder: RunFolder) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLD_LOCK, str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "locked"
        with pytest.raises(ResourceError, match=str(holder.pid)), folder.lock():
            pass
        holder.kill()
    with folder.lock():
        pass


def test_leftovers_of_a_killed_run_are_removed(folder: RunFolder) -> None:
    leftover = folder.root / ".splats.0a1b2c3d.part.ply"
    leftover.write_bytes(b"half")
    folder.splats.write_bytes(b"whole")
    folder.clean_leftovers()
    assert not leftover.exists()
    assert folder.splats.exists()


def test_open_run_names_the_command_that_is_missing(tmp_path: Path, folder: RunFolder) -> None:
    with pytest.raises(InputError, match="recon run --images"):
        open_run(tmp_path / "nowhere")
    folder.config.write_text("{}")
    with pytest.raises(InputError, match="recon train"):
        open_run(folder.root, need={"splats": "recon train RUN"})
    folder.splats.write_bytes(b"x")
    assert open_run(folder.root, need={"splats": "recon train RUN"}).root == folder.root


def test_the_photo_folder_stands_for_the_run_in_it(tmp_path: Path) -> None:
    inner = RunFolder(tmp_path / "recon")
    inner.prepare(0)
    inner.config.write_text("{}")
    assert open_run(tmp_path).root == inner.root
