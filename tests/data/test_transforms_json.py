"""transforms.json: conventions pinned by hand-made cameras, round trips, and an error for each possible mistake."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from camera_sets import NAMES, three_cameras
from PIL import Image

from recon.data.transforms_json import read_transforms, write_transforms
from recon.errors import InputError
from recon.geometry import project
from recon.plyio import write_points
from recon.types import PointCloud

IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
SHARED = {"w": 640, "h": 480, "fl_x": 500, "fl_y": 510, "cx": 322, "cy": 238}


def write(tmp_path: Path, meta: dict[str, Any]) -> Path:
    (tmp_path / "transforms.json").write_text(json.dumps(meta))
    return tmp_path


def one_frame(**values: Any) -> dict[str, Any]:
    return {**SHARED, "frames": [{"file_path": "images/a.jpg", "transform_matrix": IDENTITY, **values}]}


def test_opengl_camera_looks_down_minus_z_with_y_up(tmp_path: Path):
    """At identity, a point up and right in front lies right and above the centre of the picture."""
    known = read_transforms(write(tmp_path, one_frame()))
    uv, z = project(torch.tensor([[1.0, 2.0, -10.0]]), known.cameras.cam_from_world[0], known.cameras.Ks[0])
    torch.testing.assert_close(uv, torch.tensor([[322.0 + 50, 238.0 - 102]]))
    assert z.item() == pytest.approx(10)
    assert known.names == ("images/a.jpg",)


def test_camera_position_is_the_last_column(tmp_path: Path):
    moved = [[0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]]
    known = read_transforms(write(tmp_path, one_frame(transform_matrix=moved)))
    torch.testing.assert_close(known.cameras.centers, torch.tensor([[3.0, 4, 5]]))


def test_round_trip(tmp_path: Path):
    cameras = three_cameras()
    write_transforms(tmp_path / "transforms.json", NAMES, cameras)
    known = read_transforms(tmp_path)
    assert known.names == NAMES
    torch.testing.assert_close(known.cameras.cam_from_world, cameras.cam_from_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(known.cameras.Ks, cameras.Ks)
    assert known.cameras.width.tolist() == [640, 640, 640]
    assert known.points is None
    assert known.distortion is None


def test_what_nerfstudio_needs_is_there(tmp_path: Path):
    """Its parser takes per-frame intrinsics as floats, sizes as integers, paths relative to the file."""
    path = tmp_path / "run" / "cameras.json"
    extra = [{"label": name} for name in NAMES]
    images = tmp_path / "scene"
    write_transforms(path, NAMES, three_cameras(), images=images, points=tmp_path / "run" / "points.ply", extra=extra)
    meta = json.loads(path.read_text())
    assert meta["camera_model"] == "OPENCV"
    assert meta["ply_file_path"] == "points.ply"
    frame = meta["frames"][0]
    assert frame["file_path"] == "../scene/IMG_1.jpg"
    assert {key: type(frame[key]) for key in ("w", "h", "fl_x", "fl_y", "cx", "cy")} == {
        "w": int,
        "h": int,
        "fl_x": float,
        "fl_y": float,
        "cx": float,
        "cy": float,
    }
    assert len(frame["transform_matrix"]) == 4
    assert frame["registered"] is True
    assert frame["label"] == "IMG_1.jpg"


def test_photos_that_were_not_placed_stay_out_of_frames(tmp_path: Path):
    cameras = three_cameras()
    cameras = replace(cameras, registered=torch.tensor([True, False, True]), confidence=torch.tensor([1.0, 0.0, 0.25]))
    write_transforms(tmp_path / "cameras.json", NAMES, cameras)
    meta = json.loads((tmp_path / "cameras.json").read_text())
    assert [frame["file_path"] for frame in meta["frames"]] == ["IMG_1.jpg", "IMG_10.png"]
    known = read_transforms(tmp_path / "cameras.json")
    by_name = {name: i for i, name in enumerate(known.names)}
    order = [by_name[name] for name in NAMES]
    assert known.cameras.registered[order].tolist() == [True, False, True]
    torch.testing.assert_close(known.cameras.confidence[order], cameras.confidence)
    torch.testing.assert_close(known.cameras.cam_from_world[order[1]], torch.eye(4))


def test_points_come_along(tmp_path: Path):
    cloud = PointCloud(torch.randn(5, 3), torch.rand(5, 3), torch.ones(5))
    write_points(tmp_path / "sparse_pc.ply", cloud)
    known = read_transforms(write(tmp_path, {**one_frame(), "ply_file_path": "sparse_pc.ply"}))
    assert known.points is not None
    torch.testing.assert_close(known.points.xyz, cloud.xyz)


def test_points_that_are_gone_are_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    known = read_transforms(write(tmp_path, {**one_frame(), "ply_file_path": "gone.ply"}))
    assert known.points is None
    assert len(known.cameras) == 1
    assert "gone.ply" in caplog.text
    (tmp_path / "gone.ply").write_bytes(b"junk")
    with pytest.raises(InputError, match="not a PLY file"):
        read_transforms(tmp_path)


def test_the_photo_that_a_frame_is_of(tmp_path: Path):
    extra = [{"photo": "a.heic"}, {}, {"photo": 3}]
    write_transforms(tmp_path / "transforms.json", NAMES, three_cameras(), extra=extra)
    known = read_transforms(tmp_path)
    assert known.names == NAMES
    assert known.photos == ("a.heic", None, None)


def test_blender_layout(tmp_path: Path):
    """camera_angle_x, no sizes, no suffix: all of it comes from the photo."""
    (tmp_path / "train").mkdir()
    Image.new("RGBA", (80, 60)).save(tmp_path / "train" / "r_0.png")
    angle = 2 * math.atan(0.5 * 80 / 100)
    meta = {"camera_angle_x": angle, "frames": [{"file_path": "./train/r_0", "transform_matrix": IDENTITY}]}
    known = read_transforms(write(tmp_path, meta))
    assert (known.cameras.width.item(), known.cameras.height.item()) == (80, 60)
    torch.testing.assert_close(known.cameras.Ks[0], torch.tensor([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]]))


def test_own_intrinsics_beat_shared_ones(tmp_path: Path):
    known = read_transforms(write(tmp_path, one_frame(fl_x=900)))
    assert known.cameras.Ks[0, 0, 0].item() == 900
    assert known.cameras.Ks[0, 1, 1].item() == 510


def test_scaled_rotation_is_normalised(tmp_path: Path):
    scaled = [[2, 0, 0, 1], [0, 2, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]]
    known = read_transforms(write(tmp_path, one_frame(transform_matrix=scaled)))
    torch.testing.assert_close(known.cameras.centers, torch.tensor([[1.0, 2, 3]]))
    R = known.cameras.cam_from_world[0, :3, :3]
    torch.testing.assert_close(R @ R.T, torch.eye(3))


def test_distortion_masks_and_warning(tmp_path: Path):
    known = read_transforms(write(tmp_path, one_frame(k1=-0.1, p2=0.01, k3=0.5, mask_path="masks/a.png")))
    assert known.distortion is not None
    torch.testing.assert_close(known.distortion[0], torch.tensor([-0.1, 0, 0, 0.01, 0.5, 0, 0, 0]))
    assert known.masks == ("masks/a.png",)
    assert "distortion" in known.warnings[0]


MIRRORED = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]
SHEARED = [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ([1, 2], "holds a list"),
        ({}, "no list of `frames`"),
        ({"frames": []}, "no list of `frames`"),
        ({"frames": ["a.jpg"]}, "no list of `frames`"),
        (one_frame(file_path=7), "frame 0 has no file_path"),
        (one_frame(file_path=""), "frame 0 has no file_path"),
        ({**SHARED, "frames": [{"file_path": "a.jpg"}]}, r"\(a.jpg\) has no transform_matrix"),
        (one_frame(transform_matrix="nonsense"), "not a 4 x 4"),
        (one_frame(transform_matrix=[[1, 2], [3]]), "not a 4 x 4"),
        (one_frame(transform_matrix=[[1, 2], [3, 4]]), r"got \[2, 2\]"),
        (one_frame(transform_matrix=MIRRORED), "mirrored or singular"),
        (one_frame(transform_matrix=[[0] * 4] * 4), "mirrored or singular"),
        (one_frame(transform_matrix=SHEARED), "sheared"),
        (one_frame(fl_x="wide"), "fl_x is 'wide'"),
        (one_frame(fl_x=None), "fl_x is None"),
        (one_frame(fl_x=-3), "must be positive"),
        (one_frame(w=0), "need 1 to"),
        (one_frame(w=10**30), "need 1 to"),
        (one_frame(k4=0.1), "k4 is not supported"),
        (one_frame(camera_model="OPENCV_FISHEYE"), "OPENCV_FISHEYE is not supported"),
        ({"w": 6, "h": 4, "frames": one_frame()["frames"]}, "neither fl_x nor camera_angle_x"),
        ({"fl_x": 6, "frames": one_frame()["frames"]}, "states no w and h, and there is no photo"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, meta: Any, says: str):
    write(tmp_path, meta)
    with pytest.raises(InputError, match=says):
        read_transforms(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "\0\1", '{"frames": [{"transform_matrix": [[NaN]]}]}', "[" * 100_000])
def test_broken_json(tmp_path: Path, text: str):
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(InputError):
        read_transforms(tmp_path)


def test_not_utf8_and_missing(tmp_path: Path):
    with pytest.raises(InputError, match="Could not read"):
        read_transforms(tmp_path)
    (tmp_path / "transforms.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="not valid JSON"):
        read_transforms(tmp_path)


def test_unreadable_photo_when_its_size_is_needed(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"junk")
    meta = {"fl_x": 6, "frames": [{"file_path": "a.jpg", "transform_matrix": IDENTITY}]}
    with pytest.raises(InputError, match="its photo cannot be read"):
        read_transforms(write(tmp_path, meta))
