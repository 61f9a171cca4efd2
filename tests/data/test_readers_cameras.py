"""Every format, written as documented from known cameras and read back: K, R, t, and where known points appear."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scene_files
import torch
from reference import format_cameras
from scene_files import HEIGHT, WIDTH, WRITERS

from recon.data.formats import FORMATS, detect_format, open_scene
from recon.errors import InputError
from recon.geometry import project


@pytest.mark.parametrize("layout", WRITERS)
def test_cameras_come_back_exactly(layout: str, tmp_path: Path):
    root = tmp_path / "sets" / "scene"
    truth = scene_files.write(layout, root)
    scene = open_scene(root)
    assert scene.format == detect_format(root) == WRITERS[layout][0]
    assert scene.name == "scene"
    assert scene.indices == tuple(range(len(truth)))
    found = scene.cameras
    assert found.cam_from_world.dtype == found.Ks.dtype == torch.float64
    torch.testing.assert_close(found.cam_from_world[:, :3, :3], truth.cam_from_world[:, :3, :3], atol=1e-9, rtol=0)
    torch.testing.assert_close(found.cam_from_world[:, :3, 3], truth.cam_from_world[:, :3, 3], atol=1e-6, rtol=0)
    torch.testing.assert_close(found.Ks, truth.Ks, atol=1e-6, rtol=0)
    assert (found.width.tolist(), found.height.tolist()) == ([WIDTH] * len(truth), [HEIGHT] * len(truth))
    blues = [round(float(scene.image(i)[0, -1, 2]) * 255) for i in range(len(scene))]
    assert blues == [20 * i for i in range(len(scene))], "each camera has its own photo"


def spare_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    P = np.loadtxt(root.parent / "synth_calibration" / f"pos_{view + 1:03d}.txt").tolist()
    return lambda X: format_cameras.by_projection(P, X)


def dtu_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    P = np.loadtxt(root.parent.parent / "Calibration" / "cal18" / f"pos_{view + 1:03d}.txt").tolist()
    return lambda X: format_cameras.by_projection(P, X)


def llff_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    row = np.load(root / "poses_bounds.npy")[view].tolist()
    return lambda X: format_cameras.by_poses_bounds(row, X)


def blender_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    parts = [json.loads((root / f"transforms_{part}.json").read_text()) for part in ("train", "val", "test")]
    matrix = [frame["transform_matrix"] for part in parts for frame in part["frames"]][view]
    angle = parts[0]["camera_angle_x"]
    return lambda X: format_cameras.by_field_of_view(matrix, angle, (WIDTH, HEIGHT), X)


def nerfstudio_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    frame = json.loads((root / "transforms.json").read_text())["frames"][view]
    focal, center = (frame["fl_x"], frame["fl_y"]), (frame["cx"], frame["cy"])
    return lambda X: format_cameras.by_opengl(frame["transform_matrix"], focal, center, X)


def colmap_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    images = (root / "sparse/0/images.txt").read_text().splitlines()[1::2]
    _, *pose = map(float, images[view].split()[:8])
    lens = [float(word) for word in (root / "sparse/0/cameras.txt").read_text().splitlines()[1 + view].split()[4:]]
    return lambda X: format_cameras.by_quaternion(pose[:4], pose[4:], lens[:2], lens[2:], X)


def middlebury_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    line = (root / "temple_par.txt").read_text().splitlines()[1 + view]
    numbers = [float(word) for word in line.split()[1:]]
    return lambda X: format_cameras.by_middlebury(numbers, X)


def strecha_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    numbers = [float(w) for w in (root / "gt_dense_cameras" / f"{view:04d}.png.camera").read_text().split()]
    return lambda X: format_cameras.by_strecha(numbers, X)


def strecha_P_file(root: Path, view: int) -> Callable[[list[float]], tuple[float, float]]:
    P = np.loadtxt(root / f"{view:04d}.png.P").tolist()
    return lambda X: format_cameras.by_projection(P, X)


@pytest.mark.parametrize(
    ("layout", "of_file"),
    [
        ("spare", spare_file),
        ("dtu", dtu_file),
        ("llff", llff_file),
        ("blender", blender_file),
        ("nerfstudio", nerfstudio_file),
        ("colmap text", colmap_file),
        ("middlebury", middlebury_file),
        ("strecha", strecha_file),
        ("strecha P", strecha_P_file),
    ],
)
def test_points_appear_where_the_file_says(
    layout: str, of_file: Callable[[Path, int], Callable[[list[float]], tuple[float, float]]], tmp_path: Path
):
    """The files' own numbers, by the formulas of their documents, against our camera of the same view."""
    root = tmp_path / "sets" / "scene"
    scene_files.write(layout, root)
    scene, points = open_scene(root), scene_files.points()
    for view in range(len(scene)):
        uv, depth = project(points, scene.cameras.cam_from_world[view], scene.cameras.Ks[view])
        where = of_file(root, view)
        expected = torch.tensor([where(point) for point in points.tolist()], dtype=torch.float64)
        torch.testing.assert_close(uv, expected, atol=1e-6, rtol=0)
        assert bool((depth > 0).all()), "what the photos show is in front of the camera"


@pytest.mark.parametrize("layout", ["llff", "blender"])
def test_the_axis_meets_the_middle_of_the_picture(layout: str, tmp_path: Path):
    """Formats without a principal point: with the first pixel's centre at (0.5, 0.5) it is half the size."""
    root = tmp_path / "sets" / "scene"
    scene_files.write(layout, root)
    scene = open_scene(root)
    ahead = scene.cameras.centers[0] + scene.cameras.cam_from_world[0, 2, :3] * 10
    uv, _ = project(ahead[None], scene.cameras.cam_from_world[0], scene.cameras.Ks[0])
    torch.testing.assert_close(uv[0], torch.tensor([WIDTH / 2, HEIGHT / 2], dtype=torch.float64), atol=1e-9, rtol=0)


def test_llff_bounds_and_order(tmp_path: Path):
    scene_files.write("llff", tmp_path / "a" / "scene")
    scene = open_scene(tmp_path / "a" / "scene")
    assert scene.names == ("IMG_10.png", "IMG_11.png", "IMG_12.png", "IMG_8.png", "IMG_9.png")
    assert scene.bounds is not None
    torch.testing.assert_close(scene.bounds[3], torch.tensor([100.5, 900.25], dtype=torch.float64))


def test_blender_counts_train_val_test_in_one_row(tmp_path: Path):
    scene_files.write("blender", tmp_path / "a" / "lego")
    scene = open_scene(tmp_path / "a" / "lego")
    assert scene.names == ("train/r_0.png", "train/r_1.png", "val/r_0.png", "test/r_0.png", "test/r_1.png")


def test_colmap_carries_points_and_needs_its_photos(tmp_path: Path):
    root = tmp_path / "a" / "garden"
    scene_files.write("colmap", root)
    points = open_scene(root).points
    assert points is not None
    assert points.xyz.tolist() == [[1.5, 2.5, 3.5]]
    (root / "images" / "DSC00009.png").unlink()
    with pytest.raises(InputError, match=r"DSC00009\.png is not there"):
        open_scene(root)


def test_a_model_beside_poses_bounds_is_read_when_asked_for(tmp_path: Path):
    root = tmp_path / "a" / "scene"
    truth = scene_files.write("colmap", root)
    np.save(root / "poses_bounds.npy", scene_files.poses_bounds(scene_files.cameras(centered=True)))
    assert open_scene(root).format == "llff"
    by_model = open_scene(root, "colmap")
    torch.testing.assert_close(by_model.cameras.Ks, truth.Ks, atol=1e-9, rtol=0)


def test_rounded_rotations_are_polished(tmp_path: Path):
    """Real `.camera` files have six digits; what is read is a rotation nevertheless."""
    root = tmp_path / "a" / "fountain"
    scene_files.write("strecha", root)
    file = root / "gt_dense_cameras" / "0000.png.camera"
    words = [f"{float(word):.6g}" for word in file.read_text().split()]
    file.write_text(" ".join(words))
    R = open_scene(root).cameras.cam_from_world[0, :3, :3]
    torch.testing.assert_close(R @ R.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert math.isclose(float(torch.linalg.det(R)), 1.0, rel_tol=1e-12)


def test_formats_are_named_after_themselves():
    assert {name: module.name for name, module in FORMATS.items()} == {name: name for name in FORMATS}
