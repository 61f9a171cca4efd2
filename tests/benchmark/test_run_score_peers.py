"""Adapters of other programs, run on stand-ins that check what they are given and leave what the real ones would."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recon import plyio
from recon.benchmark.runs import isolate
from recon.benchmark.runs.methods import METHODS, Task, external
from recon.benchmark.runs.methods.external import shield_first
from recon.benchmark.runs.methods.nearest import nearest_camera
from recon.compress import write_ply
from recon.data import colmap
from recon.data.transforms_json import read_transforms, write_transforms
from recon.errors import ReconError
from recon.files import write_json
from recon.plyio import write_points
from recon.types import Cameras, PointCloud, Splats

STAND_IN = """#!{python}
import json, pathlib, shutil, sys
with open("said.txt", "a") as said:
    said.write(json.dumps(sys.argv[1:]) + "\\n")
arguments = dict(zip(sys.argv, sys.argv[1:]))
if "{kind}" != "export":
    folder = pathlib.Path("{project}")
    assert (folder / "sparse/0/points3D.bin").is_file() or "{project}" != "model"
    assert (folder / "points.ply").is_file()
    frames = json.loads((folder / "{cameras}").read_text())["frames"]
    assert all((folder / frame["file_path"]).is_file() for frame in frames)
{work}
"""
WORK = {
    "opensplat": 'shutil.copyfile("some.ply", arguments["-o"])',
    "ns-train": 'c = pathlib.Path("ns/job/splatfacto/one/config.yml"); c.parent.mkdir(parents=True); c.touch()',
    "ns-export": 'pathlib.Path(arguments["--load-config"]).read_text(); o = pathlib.Path(arguments["--output-dir"]); '
    'o.mkdir(); shutil.copyfile("some.ply", o / "splat.ply")',
    "simple_trainer.py": 'p = pathlib.Path(arguments["--result-dir"]) / "ply"; p.mkdir(parents=True); '
    'shutil.copyfile("some.ply", p / f"point_cloud_{int(arguments[\'--max-steps\']) - 1}.ply")',
}


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A job's folder after the cameras were found, which is what no stand-in can do."""
    folder = tmp_path / "job"
    names, cameras = ("a.png", "b.png", "c.png"), row_of_cameras(3)
    (folder / "inputs").mkdir(parents=True)
    (folder / "model" / "images").mkdir(parents=True)
    for name in names:
        (folder / "inputs" / name).write_bytes(b"a photo")
        (folder / "model" / "images" / name).write_bytes(f"the photo {name}".encode())
    points = PointCloud(torch.rand(5, 3) + 2, torch.rand(5, 3), torch.ones(5))
    write_transforms(folder / "model" / "cameras.json", names, cameras, images="images")
    colmap.write_model(folder / "model" / "sparse" / "0", names, cameras, points)
    write_points(folder / "model" / "points.ply", points)
    write_ply(folder / "some.ply", one_splat())
    write_transforms(folder / isolate.TEST_CAMERAS, ("t.png",), cameras[1], images="tests")
    write_json(folder / isolate.TASK, {"seed": 4, "poses": "given", "options": {"steps": "9"}, "cpus": 1})
    monkeypatch.setattr(external, "find_cameras", lambda task, backend: (list(names), cameras))
    return Task.open(folder)


def row_of_cameras(n: int) -> Cameras:
    poses = torch.eye(4).repeat(n, 1, 1)
    poses[:, 0, 3] = -torch.arange(n)
    return Cameras.create(poses, torch.tensor([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]]).repeat(n, 1, 1), 24, 16)


def one_splat() -> Splats:
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    return Splats(
        torch.tensor([[1.0, 0.0, 3.0]]),
        quats,
        torch.zeros(1, 3),
        torch.ones(1),
        torch.ones(1, 1, 3),
        torch.zeros(1, 0, 3),
    )


def stand_in(folder: Path, name: str) -> Path:
    kind = "export" if name == "ns-export" else "train"
    project, cameras = ("opensplat", "transforms.json") if name == "opensplat" else ("model", "cameras.json")
    path = folder / name
    path.write_text(
        STAND_IN.format(python=sys.executable, kind=kind, work=WORK[name], project=project, cameras=cameras)
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("method", "program", "flags"),
    [
        ("opensplat", "opensplat", ("--keep-crs", '"-n", "9"', '"--num-downscales", "0"')),
        ("splatfacto", "ns-train", ('"--orientation-method", "none"', '"--auto-scale-poses", "False"', '"9"', '"4"')),
        ("gsplat", "simple_trainer.py", ("--no-normalize-world-space", '"--max-steps", "9"', '"--data-factor", "1"')),
    ],
)
def test_a_program_gets_cameras_and_points_and_its_splats_are_shown(task, tmp_path, method, program, flags):
    path = stand_in(tmp_path, program)
    if program == "ns-train":
        stand_in(tmp_path, "ns-export")
    task.options["program"] = str(path)
    if method == "opensplat":
        task.options["flags"] = "--num-downscales 0"
    METHODS[method].check(task.options)
    METHODS[method].fit(task)
    METHODS[method].render(task)
    said = (task.folder / "said.txt").read_text()
    assert not [flag for flag in flags if flag not in said], said
    assert (task.folder / "renders" / "t.png").is_file()
    known = read_transforms(task.folder / isolate.CAMERAS)
    assert [Path(name).name for name in known.names] == ["a.png", "b.png", "c.png"]
    assert (task.folder / isolate.FITTED).read_text().count("model/splats.ply") == 1


def test_a_seed_changes_the_order_of_what_opensplat_reads_and_nothing_else(task, tmp_path):
    def project(seed: int) -> tuple[list[str], dict[str, list[list[float]]], np.ndarray]:
        folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        external.write_plain_project(task.model, folder, seed)
        frames = json.loads((folder / "transforms.json").read_text())["frames"]
        photos = [(folder / frame["file_path"]).read_text() for frame in frames]
        assert [frame["file_path"] for frame in frames] == ["0000.png", "0001.png", "0002.png"]
        vertices = plyio.read_vertices(folder / "points.ply")
        assert vertices.dtype.names == ("x", "y", "z", "red", "green", "blue")  # what it skips, it misreads
        return photos, dict(zip(photos, (frame["transform_matrix"] for frame in frames))), vertices

    given = read_transforms(task.model / "cameras.json")
    seen = {seed: project(seed) for seed in range(4)}
    assert project(2)[0] == seen[2][0]
    assert len({tuple(photos) for photos, _, _ in seen.values()}) > 1
    assert len({vertices.tobytes() for _, _, vertices in seen.values()}) > 1
    for _, poses, vertices in seen.values():
        assert poses == seen[0][1]
        assert set(poses) == {f"the photo {Path(name).name}" for name in given.names}
        assert (np.sort(vertices, order="x") == np.sort(seen[0][2], order="x")).all()


def test_a_program_that_fails_fails_the_step(task, tmp_path):
    path = tmp_path / "opensplat"
    path.write_text("#!/bin/sh\nexit 3\n")
    path.chmod(0o755)
    task.options["program"] = str(path)
    with pytest.raises(ReconError, match="opensplat ended with exit code 3"):
        METHODS["opensplat"].fit(task)


def test_gsplats_test_view_is_a_copy_of_the_first(task):
    shield_first(task.model)
    known = colmap.read_model(task.model)
    assert sorted(known.names)[0] == "!a.png"
    assert set(known.names) == {"!a.png", "a.png", "b.png", "c.png"}
    first, twin = (known.names.index(name) for name in ("a.png", "!a.png"))
    assert torch.equal(known.cameras.cam_from_world[first], known.cameras.cam_from_world[twin])
    assert (task.model / "images" / "!a.png").is_file()


def test_the_nearest_photo_is_near_and_looks_the_same_way():
    cameras = row_of_cameras(4)
    assert nearest_camera(cameras[2], cameras[[0, 1, 3]]) in (1, 2)
    turned = cameras.cam_from_world.clone()
    turned[1, [0, 2]] *= -1  # looks back
    away = Cameras.create(turned, cameras.Ks, 24, 16)
    assert nearest_camera(cameras[2], away[[0, 1, 3]]) == 2
