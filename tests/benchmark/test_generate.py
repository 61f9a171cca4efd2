"""The scene generator: its rig, its files, and the small set that ships. The path tracer itself is optional here."""

import json
import os
import stat
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from recon.benchmark.generate import (
    GenerateConfig,
    cap_positions,
    choose_scenes,
    choose_views,
    find_blender,
    generate,
    load_scene,
    rig,
    scene_names,
)
from recon.benchmark.generate.cap import RADIUS_M, TARGET_M
from recon.benchmark.generate.layout import blender_cameras, image_name, write_positions
from recon.data.formats import open_scene
from recon.data.projections import decompose, read_projection
from recon.data.split_files import read_splits
from recon.errors import InputError, MissingDependencyError, ResourceError
from recon.events import Progress
from recon.geometry import project, unproject_depth
from recon.geometry.epipolar import epipolar_distance, fundamental_from_cameras

ROOT = Path(__file__).parents[2]
MINI = ROOT / "datasets" / "mini"
MINI_SCENES = tuple(read_splits(MINI / "inputs" / "Track2_split.json"))
KINDS = {"matte", "glossy", "thin", "textureless", "plant", "glass", "several", "repeated"}


def has_blender() -> bool:
    try:
        find_blender()
    except MissingDependencyError:
        return False
    return True


# The rig.


@pytest.mark.parametrize("count", [49, 64])
def test_rig_stands_on_the_cap_and_looks_at_the_object(count):
    centers = cap_positions(count)
    target = torch.tensor(TARGET_M, dtype=torch.float64)
    distance = (centers - target).norm(dim=1)
    assert len(centers) == count
    torch.testing.assert_close(distance[:49], torch.full((49,), RADIUS_M, dtype=torch.float64))
    assert bool((distance[49:] > RADIUS_M).all())
    assert bool((centers[:, 2] > 0.2).all()), "below or on the platform"
    assert bool((centers[:, 1] < 0).all()), "behind the object"
    assert float(torch.pdist(centers).min()) > 0.05

    cameras = rig(count, 1600, 1200)
    uv, z = project(target[None], cameras.cam_from_world, cameras.Ks)
    torch.testing.assert_close(uv[:, 0], torch.tensor([[800.0, 600.0]], dtype=torch.float64).expand(count, 2))
    torch.testing.assert_close(z[:, 0], distance)
    above, _ = project(target[None] + torch.tensor([[0.0, 0.0, 0.05]]).double(), cameras.cam_from_world, cameras.Ks)
    assert bool((above[:, 0, 1] < 600).all()), "z is not up in the pictures"


def test_first_cameras_are_the_same_in_both_rigs():
    torch.testing.assert_close(cap_positions(64)[:49], cap_positions(49))


def test_projection_matrices_come_back(tmp_path):
    cameras = rig(49, 400, 300)
    write_positions(tmp_path, cameras)
    files = sorted(tmp_path.glob("pos_*.txt"))
    assert [file.name for file in files[:2]] == ["pos_001.txt", "pos_002.txt"]
    assert len(files) == 49
    for view, file in enumerate(files):
        K, cam_from_world = decompose(read_projection(file))
        torch.testing.assert_close(K, cameras.Ks[view])
        torch.testing.assert_close(cam_from_world, cameras.cam_from_world[view])
    # As RegNeRF reads them: OpenCV's decomposition gives the camera's centre in homogeneous coordinates.
    P = np.loadtxt(files[7])
    K, _, center = cv2.decomposeProjectionMatrix(P)[:3]
    np.testing.assert_allclose(center[:3, 0] / center[3, 0], cameras.centers[7].numpy(), atol=1e-9)
    np.testing.assert_allclose(K / K[2, 2], cameras.Ks[7].numpy(), atol=1e-6)


def test_blender_cameras_project_alike():
    """By Blender's own rules: millimetres on a sensor, looking along -z, y up, the picture's middle at 0."""
    cameras = rig(49, 800, 600)
    told = blender_cameras(cameras)
    point = np.array([0.03, -0.02, 0.1, 1.0])
    for view in (0, 20, 48):
        x, y, z, _ = np.linalg.inv(np.array(told["matrix_world"][f"{view + 1:03d}"])) @ point
        mm_to_px = told["resolution"][0] / told["sensor_width_mm"]
        expected = [400 + told["lens_mm"] * x / -z * mm_to_px, 300 - told["lens_mm"] * y / -z * mm_to_px]
        uv, _ = project(torch.from_numpy(point[None, :3]), cameras.cam_from_world[view], cameras.Ks[view])
        np.testing.assert_allclose(uv[0].numpy(), expected, atol=1e-6)


# Views and scenes.


def test_views_of_both_tracks():
    centers = cap_positions(49)
    split = choose_views(centers, "vase", seed=0)
    one, two = split.of_track(1), split.of_track(2)
    assert (len(one.input_views), len(two.input_views), len(one.test_views)) == (3, 9, 10)
    assert set(one.input_views) < set(two.input_views)
    assert one.test_views == two.test_views
    one.check("track 1", range(49))
    two.check("track 2", range(49))
    assert split == choose_views(centers, "vase", seed=0)
    assert split != choose_views(centers, "stones", seed=0)
    assert split != choose_views(centers, "vase", seed=1)


@pytest.mark.parametrize("scene", ["vase", "stones", "a", "b", "c"])
def test_three_views_overlap_but_differ(scene):
    centers = cap_positions(49)
    views = list(choose_views(centers, scene, seed=3).of_track(1).input_views)
    rays = torch.nn.functional.normalize(centers[views] - torch.tensor(TARGET_M).double(), dim=1)
    angles = (rays @ rays.T).clamp(-1, 1).arccos().rad2deg()[[0, 0, 1], [1, 2, 2]]
    assert float(angles.min()) >= 12
    assert float(angles.max()) <= 45


def test_more_views_than_cameras_are_refused():
    with pytest.raises(InputError, match="41 test views"):
        choose_views(cap_positions(49), "vase", seed=0, n_tests=41)


def test_committed_scenes_cover_every_kind():
    specs = [load_scene(name) for name in scene_names()]
    assert len(specs) >= 12
    assert {spec.kind for spec in specs} == KINDS
    assert {spec.platform for spec in specs} == {"white", "mat"}
    assert len([spec for spec in specs if not spec.models]) >= 12, "so many need no downloads"
    for spec in specs:
        assert spec.about
        assert spec.licence in ("CC0 1.0", "CC BY 4.0"), f"{spec.name} may not be passed on"


def test_all_means_what_can_be_made_here(tmp_path):
    without = {spec.name for spec in choose_scenes(["all"], None)}
    assert "vase" in without
    assert "helmet" not in without
    (tmp_path / "FlightHelmet").mkdir()
    (tmp_path / "FlightHelmet" / "FlightHelmet.gltf").touch()
    assert {spec.name for spec in choose_scenes(["all"], tmp_path)} == without | {"helmet"}


def test_wrong_scene_files_are_refused(tmp_path):
    file = tmp_path / "odd.yaml"
    for text, message in (
        ("objects: []", "no list of `objects`"),
        ("objects: [{shape: spere}]", "shape"),
        ("objects: [{shape: sphere, hight_m: 1}]", "height_m"),
        ("objects: [{height_m: 0.1}]", "either a `shape` or a `model`"),
        ("kind: nice\nobjects: [{shape: sphere}]", "kind"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            load_scene(str(file))
    with pytest.raises(InputError, match="no scene 'vaze'"):
        load_scene("vaze")
    with pytest.raises(InputError, match=r"FlightHelmet\.gltf"):
        choose_scenes(["helmet"], tmp_path)


# The files of a set, by a stand-in for the path tracer: it writes each shot's number into the files it is told to.

STAND_IN = """
import json, sys
from pathlib import Path
if sys.argv[1] == "-c":
    sys.exit(0)
job = json.loads(Path(sys.argv[2]).read_text())
for number, shot in enumerate(job["shots"]):
    if number == int(Path(__file__).with_name("fail_at").read_text()):
        sys.exit("the lamp blew")
    for kind in ("image", "mask", "depth"):
        Path(shot[kind]).parent.mkdir(parents=True, exist_ok=True)
        Path(shot[kind]).write_text(f"{shot['view']} {shot['light']}")
    print("SHOT", number, flush=True)
"""


@pytest.fixture
def stand_in(tmp_path):
    """A program that takes the place of Blender's Python."""
    script, program = tmp_path / "stand_in.py", tmp_path / "python"
    script.write_text(STAND_IN)
    (tmp_path / "fail_at").write_text("-1")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def small_set(tmp_path: Path, python: Path, **changes) -> GenerateConfig:
    settings = {"scenes": ("vase", "stones"), "test_views": 2, "size": (40, 30), "samples": 1, "lights": (3, 0)}
    return GenerateConfig(tmp_path / "set", blender_python=python, **settings | changes)


def test_inputs_and_truth_are_kept_apart(tmp_path, stand_in):
    events: list[Progress] = []
    done = generate(small_set(tmp_path, stand_in), events.append)
    assert (done.rendered, done.kept) == (2 * 11 * 2, 0)
    assert [event.done for event in events][-1] == events[-1].total == 44
    inputs, truth = tmp_path / "set" / "inputs", tmp_path / "set" / "truth"
    for track in (1, 2):
        splits = read_splits(inputs / f"Track{track}_split.json")
        assert set(splits) == {"vase", "stones"}
        given = {image_name(view, light) for view in splits["vase"].input_views for light in (3, 0)}
        asked = {image_name(view, light) for view in splits["vase"].test_views for light in (3, 0)}
        assert given <= {file.name for file in (inputs / "vase").iterdir()}
        assert {file.name for file in (truth / "vase").glob("cam_*")} == asked
    assert {file.name for file in (inputs / "vase").iterdir()} == given | {"transforms.json"}
    assert len(list((truth / "vase").glob("mask_*.png"))) == len(list((truth / "vase").glob("depth_*.npz"))) == 11
    assert len(list((inputs / "synth_calibration").glob("pos_*.txt"))) == 49
    about = json.loads((inputs / "scenes.json").read_text())
    assert about["settings"]["samples"] == 1
    assert about["scenes"]["vase"]["licence"] == "CC0 1.0"


def test_a_stopped_call_goes_on(tmp_path, stand_in):
    config = small_set(tmp_path, stand_in)
    (tmp_path / "fail_at").write_text("5")
    with pytest.raises(ResourceError, match=r"after 5 of 22 pictures(.|\n)*the lamp blew"):
        generate(config)
    (tmp_path / "fail_at").write_text("-1")
    done = generate(config)
    assert (done.rendered, done.kept) == (39, 5)
    stand_in.unlink()  # nothing is left to do: no path tracer is needed
    assert generate(config).kept == 44
    first = next((tmp_path / "set" / "inputs" / "vase").glob("cam_*_3_*"))
    first.unlink()
    with pytest.raises(MissingDependencyError):
        generate(config)


def test_other_settings_do_not_mix(tmp_path, stand_in):
    generate(small_set(tmp_path, stand_in, scenes=("vase",)))
    with pytest.raises(InputError, match="begun with other settings"):
        generate(small_set(tmp_path, stand_in, scenes=("stones",), samples=2))
    generate(small_set(tmp_path, stand_in, scenes=("stones",)))
    assert set(read_splits(tmp_path / "set" / "inputs" / "Track1_split.json")) == {"vase", "stones"}


@pytest.mark.parametrize("wrong", [{"size": (0, 10)}, {"lights": (7,)}, {"lights": ()}, {"samples": 0}, {"seed": -1}])
def test_impossible_settings_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match=f"--{next(iter(wrong))}"):
        generate(small_set(tmp_path, Path("unused"), **wrong))
    assert not (tmp_path / "set").exists()


def test_without_blender_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"pip install \"bpy==4\.5\.\*\"(.|\n)*--blender-python"):
        find_blender(tmp_path / "no_such_python")


# The set that ships.


def mini_scenes() -> dict:
    return read_splits(MINI / "inputs" / "Track2_split.json")


def mini_view(scene: str, view: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth [H,W] (float64) and mask [H,W] (bool) of a view."""
    with np.load(MINI / "truth" / scene / f"depth_{view + 1:03d}.npz") as file:
        depth = torch.from_numpy(file["depth"]).double()
    mask = cv2.imread(str(MINI / "truth" / scene / f"mask_{view + 1:03d}.png"), cv2.IMREAD_UNCHANGED)
    return depth, torch.from_numpy(mask == 255)


def mini_image(scene: str, view: int) -> np.ndarray:
    name = image_name(view, 3)
    path = next(p for part in ("inputs", "truth") if (p := MINI / part / scene / name).is_file())
    return cv2.imread(str(path))


@pytest.mark.parametrize("part", ["inputs", "truth"])
@pytest.mark.parametrize("name", MINI_SCENES)
def test_mini_set_is_read_as_spare(name, part):
    scene, split = open_scene(MINI / part / name), mini_scenes()[name]
    assert scene.format == "spare"
    here = {index for index, path in zip(scene.indices, scene.image_paths) if path is not None}
    assert here == set(split.input_views if part == "inputs" else split.test_views)
    exact = rig(49, 400, 300)
    torch.testing.assert_close(scene.cameras.cam_from_world, exact.cam_from_world)
    torch.testing.assert_close(scene.cameras.Ks, exact.Ks)


@pytest.mark.parametrize("name", MINI_SCENES)
def test_mini_set_depth_agrees_between_views(name):
    """A point seen in one view is where the other view's depth says, or is hidden there by something nearer."""
    cameras, split = rig(49, 400, 300), mini_scenes()[name]
    a, b = split.input_views[0], split.input_views[4]
    (depth_a, mask_a), (depth_b, mask_b) = mini_view(name, a), mini_view(name, b)
    assert bool((depth_a[mask_a] > 0).all()), "an object without depth"
    points = unproject_depth(depth_a, cameras.Ks[a], cameras.cam_from_world[a])[depth_a > 0]
    uv, z = project(points, cameras.cam_from_world[b], cameras.Ks[b])
    column, row = uv.floor().long().unbind(1)
    inside = (column >= 0) & (column < 400) & (row >= 0) & (row < 300) & (z > 0)
    seen = depth_b[row[inside], column[inside]]
    off = z[inside] - seen
    assert float(off.quantile(0.05)) > -0.003, "points float in front of what the other view sees"
    assert float((off.abs() < 0.003).double().mean()) > 0.6
    on_object = mask_a[depth_a > 0][inside] & (off.abs() < 0.003)
    assert int(on_object.sum()) > 1000
    landed = mask_b[row[inside], column[inside]][on_object]
    assert float(landed.double().mean()) > 0.97, "the masks disagree"


@pytest.mark.parametrize("name", MINI_SCENES)
def test_mini_set_photos_obey_their_cameras(name):
    """Matched features lie on each other's epipolar lines: the pictures were made with the cameras that are stated."""
    cameras, views = rig(49, 400, 300), list(mini_scenes()[name].input_views)
    angles = torch.cdist(cameras.centers[views], cameras.centers[views])
    i, j = divmod(int((angles + 9 * torch.eye(len(views)).double()).argmin()), len(views))
    sift = cv2.SIFT_create(2000)
    (pa, da), (pb, db) = (sift.detectAndCompute(mini_image(name, views[k]), None) for k in (i, j))
    pairs = [m for m, n in cv2.BFMatcher().knnMatch(da, db, k=2) if m.distance < 0.7 * n.distance]
    assert len(pairs) > 80
    xa = torch.tensor([pa[m.queryIdx].pt for m in pairs], dtype=torch.float64) + 0.5
    xb = torch.tensor([pb[m.trainIdx].pt for m in pairs], dtype=torch.float64) + 0.5
    a, b = views[i], views[j]
    F = fundamental_from_cameras(cameras.cam_from_world[a], cameras.Ks[a], cameras.cam_from_world[b], cameras.Ks[b])
    assert float(epipolar_distance(F, xa, xb).abs().median()) < 0.5


@pytest.mark.parametrize("name", MINI_SCENES)
def test_mini_set_looks_as_it_should(name):
    """Well exposed, and the object fills a fair part of the frame without leaving it."""
    for view in mini_scenes()[name].test_views:
        picture, (_, mask) = mini_image(name, view), mini_view(name, view)
        assert picture.shape == (300, 400, 3)
        rows = torch.where(mask)[0]
        assert 0.4 < float(rows.max() - rows.min()) / 300 < 0.9
        assert not bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()), "cut off"
        assert 40 < picture[mask.numpy()].mean() < 210
        assert (picture == 255).mean() < 0.05, "overexposed"


# The path tracer itself.


@pytest.mark.skipif(not has_blender(), reason="no Blender module: set RECON_BLENDER_PYTHON to a Python that has it")
def test_a_tiny_real_render(tmp_path):
    made = []
    for folder in ("a", "b"):
        config = GenerateConfig(tmp_path / folder, ("vase",), test_views=1, size=(32, 24), samples=1)
        generate(config)
        files = sorted((tmp_path / folder / "inputs" / "vase").glob("cam_*.png"))
        made.append([cv2.imread(str(file)) for file in files])
    assert len(made[0]) == 9
    for first, second in zip(*made):
        assert first.shape == (24, 32, 3)
        assert first.std() > 20, "an empty picture"
        np.testing.assert_array_equal(first, second)
    assert os.environ.get("RECON_BLENDER_PYTHON") or "bpy" not in sys.modules, "loaded into this process"
