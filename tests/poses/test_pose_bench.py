"""The poses benchmark on a made-up data folder: the demo photos with their reference cameras."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pose_scenes import DEMO, NAMES, door_truth

from recon.benchmark import poses as bench
from recon.benchmark.pose_subsets import choose, committed_path, even, near, read_subsets, wide, widest_gap_deg
from recon.errors import InputError
from recon.metrics import pose_errors
from recon.types import Cameras, PointCloud, PoseResult, PoseStatus


def write_scene(root: Path) -> None:
    """`root/dev/door` in nerfstudio's layout: OpenGL axes, camera to world."""
    (root / "dev/door/images").mkdir(parents=True)
    truth = door_truth()
    frames = []
    for v, name in enumerate(NAMES):
        shutil.copy(DEMO / name, root / "dev/door/images" / name)
        pose = truth.world_from_cam[v].clone()
        pose[:, 1:3] *= -1
        focal = float(truth.Ks[v, 0, 0])
        size = {"w": int(truth.width[v]), "h": int(truth.height[v])}
        center = {"cx": size["w"] / 2, "cy": size["h"] / 2}
        frames.append(
            {"file_path": f"images/{name}", "transform_matrix": pose.tolist(), "fl_x": focal, "fl_y": focal}
            | size
            | center
        )
    (root / "dev/door/transforms.json").write_text(json.dumps({"frames": frames}))


def turned(degrees: list[float]) -> Cameras:
    """Cameras that look along directions in one plane."""
    poses = torch.eye(4).repeat(len(degrees), 1, 1)
    for v, angle in enumerate(map(math.radians, degrees)):
        poses[v, 0, 0] = poses[v, 2, 2] = math.cos(angle)
        poses[v, 0, 2], poses[v, 2, 0] = -math.sin(angle), math.sin(angle)
        poses[v, 2, 3] = 2.0
    return Cameras.create(poses, torch.eye(3).repeat(len(degrees), 1, 1), 10, 10)


def test_subset_rules() -> None:
    degrees = [0.0, 3.0, 10.0, 21.0, 45.0, 80.0, 170.0]
    angles = np.abs(np.subtract.outer(degrees, degrees))
    assert sorted(near(angles, 3)) == [0, 2, 3]
    assert even(7, 3) == [0, 3, 6]
    assert sorted(wide(angles, 3)) == [0, 5, 6]  # 170 to 80 is exactly within reach, then back to 0
    chosen = choose(turned(degrees), tuple("abcdefg"))
    assert set(chosen) == {f"{kind}{n}" for kind in ("near", "even", "wide") for n in (3, 6)}
    assert chosen["near3"] == ["a", "c", "d"]


def test_committed_subsets_are_whole() -> None:
    for scene, subsets in read_subsets(committed_path()).items():
        for subset, names in subsets.items():
            assert len(set(names)) == len(names) == int(subset[-1]), (scene, subset)


def test_a_case_is_run_and_judged(tmp_path: Path) -> None:
    write_scene(tmp_path)
    case = bench.Case("dev/door", "even3", NAMES[::2])
    images, truth = bench.load_case(tmp_path, case)
    assert images.names == NAMES[::2]
    assert images.focal_px.isnan().all()
    assert torch.allclose(truth.cam_from_world, door_truth(NAMES[::2]).cam_from_world, atol=1e-4)
    outcome = bench.run_case(tmp_path, case, "colmap")
    assert outcome.solved
    assert outcome.ok == outcome.right == outcome.registered == (True,) * 3
    assert outcome.cpu_seconds > 0.5
    row = bench.summary_table([outcome]).records()[0]
    assert row["solved"] == "1/1"
    assert row["RRA@5"] == row["registered"] == row["right and ok"] == 1.0
    assert row["wrong but ok"] == 0.0
    assert bench.case_table([outcome]).records()[0]["photos"] == "ooo"


def test_a_wrong_photo_is_told_from_the_right_ones() -> None:
    truth = door_truth()
    wrong = truth.cam_from_world.clone()
    wrong[4] = wrong[4] @ torch.diag(torch.tensor([-1.0, 1, -1, 1]))
    cameras = replace(truth, cam_from_world=wrong, registered=torch.tensor([True] * 5 + [False]))
    empty = torch.zeros(0, 3)
    status = (PoseStatus.OK,) * 5 + (PoseStatus.UNREGISTERED,)
    points = PointCloud(empty, empty, torch.zeros(0))
    result = PoseResult(cameras, points, status, ("",) * 6, torch.zeros(6, dtype=torch.int64), torch.zeros(6))
    right = bench.right_photos(pose_errors(cameras, truth), result)
    assert right == (True, True, True, True, False, False)


def test_without_data_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RECON_DATA", raising=False)
    with pytest.raises(InputError, match="Set RECON_DATA"):
        bench.data_root()
    with pytest.raises(InputError, match="none of the benchmark's scenes"):
        bench.find_cases(tmp_path, quick=True)


def test_the_widest_gap_is_what_any_chain_of_photos_must_bridge():
    directions = np.array([0.0, 10, 15, 70, 75])
    angles = np.abs(directions[:, None] - directions)
    assert widest_gap_deg(angles) == pytest.approx(55.0)
    assert widest_gap_deg(np.zeros((3, 3))) == pytest.approx(0.0, abs=1e-6)
