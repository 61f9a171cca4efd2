"""Whatever is wrong with a download, the answer is one plain sentence: InputError, never another exception."""

import json
import random
import shutil
from pathlib import Path

import pytest
import scene_files
from scene_files import WRITERS

from recon.data.formats import FORMATS, detect_format, open_scene
from recon.errors import InputError

CAMERA_SUFFIXES = {".txt", ".npy", ".json", ".bin", ".camera", ".P"}
N_DAMAGES = 20


def try_to_open(root: Path, format: str) -> bool:
    """Whether the scene opens; anything but success and InputError is a failure of the test."""
    detect_format(root)
    try:
        scene = open_scene(root, format)
    except InputError:
        return False
    assert len(scene) > 0
    return True


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut off, overwritten, with a piece missing, or with a word exchanged."""
    kind = rng.randrange(4)
    at = rng.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.randbytes(8) + data[at + 8 :]
    if kind == 2:
        return data[:at] + data[at + rng.randrange(1, 30) :]
    words = data.split(b" ")
    words[rng.randrange(len(words))] = rng.choice([b"nan", b"x", b"0", b"-1", b"1e400", b"1e30", b""])
    return b" ".join(words)


@pytest.mark.parametrize("layout", WRITERS)
def test_damaged_camera_files(layout: str, tmp_path: Path):
    root = tmp_path / "sets" / "scene"
    scene_files.write(layout, root)
    files = sorted(path for path in tmp_path.rglob("*") if path.suffix in CAMERA_SUFFIXES)
    rng = random.Random(layout)
    refused = 0
    for _ in range(N_DAMAGES):
        file = rng.choice(files)
        original = file.read_bytes()
        file.write_bytes(damaged(original, rng))
        refused += not try_to_open(root, WRITERS[layout][0])
        file.write_bytes(original)
    assert refused > 0, "none of the damages was noticed"
    assert try_to_open(root, WRITERS[layout][0])


@pytest.mark.parametrize("layout", WRITERS)
def test_missing_empty_and_replaced_files(layout: str, tmp_path: Path):
    root = tmp_path / "sets" / "scene"
    scene_files.write(layout, root)
    for file in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        original = file.read_bytes()
        file.unlink()
        try_to_open(root, WRITERS[layout][0])
        file.write_bytes(b"")
        try_to_open(root, WRITERS[layout][0])
        file.unlink()
        file.mkdir()
        try_to_open(root, WRITERS[layout][0])
        file.rmdir()
        file.write_bytes(original)
    assert try_to_open(root, WRITERS[layout][0])


@pytest.mark.parametrize("format", FORMATS)
def test_folders_of_something_else(format: str, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(InputError):
        open_scene(tmp_path, format)
    with pytest.raises(InputError, match="There is no folder"):
        open_scene(tmp_path / "gone", format)
    assert detect_format(tmp_path) is None
    with pytest.raises(InputError, match="no scene in a format"):
        open_scene(tmp_path)
    with pytest.raises(InputError, match="no format 'x'"):
        open_scene(tmp_path, "x")


def test_photos_of_another_shape_than_their_camera(tmp_path: Path):
    for layout in ("llff", "nerfstudio", "colmap", "strecha"):
        root = tmp_path / layout / "scene"
        scene_files.write(layout, root)
        photo = sorted((root / "images").iterdir())[0]
        scene_files.photo(photo, 0, size=(60, 80))
        with pytest.raises(InputError, match="60 x 80 pixels, but its camera is for 80 x 60"):
            open_scene(root)


@pytest.mark.parametrize(
    ("layout", "file", "old", "new", "message"),
    [
        ("middlebury", "temple_par.txt", "5\n", "7\n", "announces '7' photos and lists 5"),
        ("strecha", "gt_dense_cameras/0001.png.camera", "0 0 0\n", "0.1 0 0\n", "distortion"),
        ("strecha", "gt_dense_cameras/0001.png.camera", "80 60", "80", "holds 25 numbers; 26"),
        ("nerfstudio", "transforms.json", '"fl_x": 9', '"fl_x": -9', "both must be positive"),
    ],
)
def test_what_is_wrong_is_said(layout: str, file: str, old: str, new: str, message: str, tmp_path: Path):
    root = tmp_path / "sets" / "scene"
    scene_files.write(layout, root)
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        open_scene(root)


def test_a_frame_without_a_camera_is_left_out(tmp_path: Path):
    root = tmp_path / "sets" / "scene"
    scene_files.write("nerfstudio", root)
    meta = json.loads((root / "transforms.json").read_text())
    lost = meta["frames"].pop(1)
    meta["unregistered_frames"] = [{key: value for key, value in lost.items() if key != "transform_matrix"}]
    (root / "transforms.json").write_text(json.dumps(meta))
    scene = open_scene(root)
    assert [name[-5] for name in scene.names] == ["0", "2", "3", "4"]
    shutil.rmtree(root / "images")
    with pytest.raises(InputError, match="which is not there"):
        open_scene(root)
