"""COLMAP models: what we write, COLMAP itself reads; what COLMAP writes, we read; damaged files are plain errors.

pycolmap runs in a child process here: its native library and Pillow do not always live together.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from camera_sets import NAMES, three_cameras

from recon.data.colmap import Observations, read_model, write_model
from recon.data.colmap_files import ColmapCamera, ColmapImage, ColmapModel, read_files, write_files
from recon.errors import InputError
from recon.geometry import project
from recon.types import Cameras, PointCloud

READ_WITH_COLMAP = """
import json, sys, numpy as np, pycolmap
model = pycolmap.Reconstruction(sys.argv[1])
images = sorted(model.images.values(), key=lambda image: image.name)
print(json.dumps({
    "names": [image.name for image in images],
    "poses": [image.cam_from_world().matrix().tolist() for image in images],
    "K": [model.cameras[image.camera_id].calibration_matrix().tolist() for image in images],
    "sizes": [[model.cameras[i.camera_id].width, model.cameras[i.camera_id].height] for i in images],
    "n_cameras": len(model.cameras),
    "xyz": [model.points3D[k].xyz.tolist() for k in sorted(model.points3D)],
    "rgb": [model.points3D[k].color.tolist() for k in sorted(model.points3D)],
    "tracks": [model.points3D[k].track.length() for k in sorted(model.points3D)],
    "error": model.compute_mean_reprojection_error() if model.compute_num_observations() else 0.0,
}))
if len(sys.argv) > 2:
    model.write_text(sys.argv[2]); model.write_binary(sys.argv[3])
"""


def read_with_colmap(*folders: Path) -> dict:
    for folder in folders[1:]:
        folder.mkdir(parents=True)
    command = [sys.executable, "-c", READ_WITH_COLMAP, *map(str, folders)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1])


def cloud(n: int = 20) -> PointCloud:
    rgb = torch.randint(0, 256, (n, 3)) / 255
    return PointCloud(torch.randn(n, 3) * 0.5, rgb, torch.ones(n))


def sightings(cameras: Cameras, points: PointCloud) -> Observations:
    """Every camera sees every point, exactly."""
    uv = torch.cat([project(points.xyz, cameras.cam_from_world[i], cameras.Ks[i])[0] for i in range(len(cameras))])
    view = torch.arange(len(cameras)).repeat_interleave(len(points))
    return Observations(view, torch.arange(len(points)).repeat(len(cameras)), uv)


def test_colmap_reads_what_we_write_and_we_read_what_colmap_writes(tmp_path: Path):
    cameras, points = three_cameras(), cloud()
    write_model(tmp_path / "ours", NAMES, cameras, points, sightings(cameras, points))
    seen = read_with_colmap(tmp_path / "ours", tmp_path / "text", tmp_path / "binary")
    order = [NAMES.index(name) for name in seen["names"]]
    assert sorted(seen["names"]) == sorted(NAMES)
    poses = torch.tensor(seen["poses"], dtype=torch.float64)
    torch.testing.assert_close(poses, cameras.cam_from_world[order][:, :3].double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(seen["K"]), cameras.Ks[order])
    assert seen["sizes"] == [[640, 480]] * 3
    assert seen["n_cameras"] == 2, "equal intrinsics share a camera"
    torch.testing.assert_close(torch.tensor(seen["xyz"]), points.xyz)
    torch.testing.assert_close(torch.tensor(seen["rgb"]) / 255, points.rgb)
    assert seen["tracks"] == [3] * 20
    assert seen["error"] < 1e-3, "poses, intrinsics, pixels and tracks agree in COLMAP's own projection"

    for folder in ("ours", "text", "binary"):
        known = read_model(tmp_path / folder)
        index = [known.names.index(name) for name in NAMES]
        torch.testing.assert_close(
            known.cameras.cam_from_world[index], cameras.cam_from_world, atol=1e-6, rtol=0, msg=folder
        )
        torch.testing.assert_close(known.cameras.Ks[index], cameras.Ks)
        assert known.points is not None
        torch.testing.assert_close(known.points.xyz, points.xyz)
        torch.testing.assert_close(known.points.rgb, points.rgb)
        assert known.distortion is None
        model = read_files(tmp_path / folder)
        assert sorted(len(image.observations) for image in model.images.values()) == [20, 20, 20]


def test_without_tracks_and_with_unplaced_photos(tmp_path: Path):
    cameras = replace(three_cameras(), registered=torch.tensor([True, False, True]))
    write_model(tmp_path / "sparse" / "0", NAMES, cameras, cloud(4))
    seen = read_with_colmap(tmp_path / "sparse" / "0")
    assert sorted(seen["names"]) == ["IMG_1.jpg", "IMG_10.png"]
    assert seen["tracks"] == [0] * 4
    assert len(read_model(tmp_path).names) == 2, "found in sparse/0"


@pytest.mark.parametrize(
    ("model", "params", "K", "bend"),
    [
        ("SIMPLE_PINHOLE", (500, 320, 240), (500, 500, 320, 240), []),
        ("PINHOLE", (500, 510, 320, 240), (500, 510, 320, 240), []),
        ("SIMPLE_RADIAL", (500, 320, 240, 0.1), (500, 500, 320, 240), [0.1]),
        ("RADIAL", (500, 320, 240, 0.1, 0.2), (500, 500, 320, 240), [0.1, 0.2]),
        ("OPENCV", (500, 510, 320, 240, 1, 2, 3, 4), (500, 510, 320, 240), [1, 2, 3, 4]),
        ("FULL_OPENCV", (500, 510, 320, 240, 1, 2, 3, 4, 5, 6, 7, 8), (500, 510, 320, 240), [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_camera_models(tmp_path: Path, model: str, params: tuple, K: tuple, bend: list[float]):
    image = ColmapImage("a.jpg", 1, (1.0, 0, 0, 0), (0.0, 0, 0))
    write_files(tmp_path, ColmapModel({1: ColmapCamera(model, 640, 480, params)}, {1: image}, {}))
    known = read_model(tmp_path)
    found = known.cameras.Ks[0]
    assert [found[0, 0].item(), found[1, 1].item(), found[0, 2].item(), found[1, 2].item()] == list(K)
    assert known.points is None
    if not bend:
        assert known.distortion is None
    else:
        assert known.distortion is not None
        torch.testing.assert_close(known.distortion[0, : len(bend)], torch.tensor(bend, dtype=torch.float32))
        assert "distortion" in known.warnings[0]


def test_fisheye_is_refused_with_advice(tmp_path: Path):
    image = ColmapImage("a.jpg", 1, (1.0, 0, 0, 0), (0.0, 0, 0))
    camera = ColmapCamera("OPENCV_FISHEYE", 640, 480, (500,) * 8)
    write_files(tmp_path, ColmapModel({1: camera}, {1: image}, {}))
    with pytest.raises(InputError, match="image_undistorter"):
        read_model(tmp_path)


def test_text_with_comments_names_with_spaces_and_no_points(tmp_path: Path):
    (tmp_path / "cameras.txt").write_text("# Camera list\n1 PINHOLE 640 480 500 510 320 240\n")
    (tmp_path / "images.txt").write_text(
        "# Image list\n# two lines\n1 1 0 0 0 0.5 0 2 1 my photo.jpg\n\n2 1 0 0 0 0 0 0 1 b.jpg\n10 20 -1 30 40 7\n"
    )
    known = read_model(tmp_path)
    assert known.names == ("b.jpg", "my photo.jpg")
    torch.testing.assert_close(known.cameras.cam_from_world[1, :3, 3], torch.tensor([0.5, 0, 2]))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cameras.txt", "1 PINHOLE 640 480 500 510 320\n"),
        ("cameras.txt", "1 WARPED 640 480 500\n"),
        ("cameras.txt", "1 PINHOLE 640 480 -500 510 320 240\n"),
        ("cameras.txt", "2 PINHOLE 640 480 500 510 320 240\n"),
        ("cameras.txt", "hello\n"),
        ("images.txt", "1 1 0 0\n"),
        ("images.txt", "1 1 0 0 0 0 0 0 1 a.jpg\n1 2\n"),
        ("images.txt", "1 0 0 0 0 0 0 0 1 a.jpg\n\n"),
        ("images.txt", "1 nan 0 0 0 0 0 0 1 a.jpg\n\n"),
        ("images.txt", ""),
        ("points3D.txt", "1 0 0\n"),
        ("points3D.txt", "1 0 0 0 10 20 thirty 0.5\n"),
    ],
)
def test_damaged_text(tmp_path: Path, file: str, text: str):
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 500 510 320 240\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.jpg\n\n")
    (tmp_path / "points3D.txt").write_text("1 0 0 0 10 20 30 0.5 1 0\n")
    assert len(read_model(tmp_path).names) == 1
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError):
        read_model(tmp_path)


def test_damaged_binary(tmp_path: Path):
    """Cut anywhere, overwritten with one byte, or with an absurd count."""
    cameras, points = three_cameras(), cloud(3)
    write_model(tmp_path, NAMES, cameras, points, sightings(cameras, points))
    for kind in ("cameras", "images", "points3D"):
        path = tmp_path / f"{kind}.bin"
        data = path.read_bytes()
        for end in range(0, len(data), 7):
            path.write_bytes(data[:end])
            with pytest.raises(InputError):
                read_model(tmp_path)
        for value in (0x00, 0x7F, 0xFF):
            path.write_bytes(bytes([3, 0, 0, 0, 0, 0, 0, 0]) + bytes([value]) * len(data))
            with pytest.raises(InputError):
                read_model(tmp_path)
        path.write_bytes(b"\xff" * 8 + data[8:])
        with pytest.raises(InputError):
            read_model(tmp_path)
        path.write_bytes(data)
    assert len(read_model(tmp_path).names) == 3


def test_no_model_there(tmp_path: Path):
    with pytest.raises(InputError, match="holds no COLMAP model"):
        read_model(tmp_path)
