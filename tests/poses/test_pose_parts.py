"""The parts that poses are made of, against naive versions and made-up scenes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from recon.poses.candidates import score
from recon.poses.consistency import measure_support
from recon.poses.diagnose import describe_pairs, is_supported, judge
from recon.poses.features import Features, nearest_neighbours, shrink, turn_back
from recon.poses.gauge import normalise
from recon.poses.learned import ALIKED_LIGHTGLUE_WEIGHTS, AlikedMatcher
from recon.poses.matches import Model, Tracks, Verified, join_tracks
from recon.poses.process import JobError, run_job
from recon.poses.result import solved
from recon.poses.scene import make_scene
from recon.poses.turns import largest_group, turn_features
from recon.sfm.packing import pack, pack_pairs, unpack, unpack_pairs
from recon.types import Cameras, ImageSet, PointCloud, PoseResult, PoseStatus

SIZE = np.array([640.0, 480.0])


def yaw(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def arc(n: int, seed: int = 0, n_points: int = 200) -> tuple[Model, Tracks, Verified]:
    """Cameras on an arc around a cloud at the origin, every point seen by all, every pair matched."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-1, 1, (n_points, 3))
    poses = np.tile(np.eye(4), (n, 1, 1))
    for v in range(n):
        poses[v, :3, :3] = yaw(0.2 * v)
        poses[v, 2, 3] = 4.0
    K = np.array([[700, 0, 320], [0, 700, 240], [0, 0, 1.0]])
    keypoints = []
    for pose in poses:
        local = (xyz @ pose[:3, :3].T + pose[:3, 3]) @ K.T
        keypoints.append(local[:, :2] / local[:, 2:])
    every = np.stack([np.arange(n_points)] * 2, axis=1)
    matches = {(i, j): every.copy() for i in range(n) for j in range(i + 1, n)}
    observations = np.array([(p, v, p) for p in range(n_points) for v in range(n)])
    model = Model(poses, np.tile(K, (n, 1, 1)), xyz, np.zeros(n_points), observations)
    verified = Verified(matches, dict.fromkeys(matches, 3), dict.fromkeys(matches, np.full((3, 3), np.nan)))
    return model, Tracks(keypoints, matches, np.ones(n)), verified


def test_nearest_neighbours_against_loops() -> None:
    a = torch.nn.functional.normalize(torch.randn(40, 8), dim=1)
    b = torch.nn.functional.normalize(torch.cat([a[:25] + 0.15 * torch.randn(25, 8), torch.randn(20, 8)]), dim=1)
    expected = []
    for i in range(len(a)):
        angles = [math.acos(max(-1, min(1, float(a[i] @ d)))) for d in b]
        j = int(np.argmin(angles))
        back = [math.acos(max(-1, min(1, float(b[j] @ d)))) for d in a]
        second, second_back = sorted(angles)[1], sorted(back)[1]
        if int(np.argmin(back)) == i and angles[j] < 0.8 * second and angles[j] < 0.7 and back[i] < 0.8 * second_back:
            expected.append([i, j])
    found = nearest_neighbours(a, b, max_ratio=0.8, max_angle_rad=0.7)
    assert len(expected) > 10
    assert found.tolist() == expected


def test_too_few_features_match_nothing() -> None:
    none = torch.zeros(0, 128)
    assert nearest_neighbours(none, torch.rand(5, 128), max_ratio=0.8, max_angle_rad=1.0).shape == (0, 2)
    empty = Features(torch.zeros(0, 2), none, (10, 10))
    assert AlikedMatcher(100).match(empty, empty).shape == (0, 2)


@pytest.mark.parametrize("turns", range(4))
def test_turned_keypoints_come_back(turns: int) -> None:
    photo = torch.zeros(20, 30, 3)
    photo[7, 21] = 1
    y, x = torch.rot90(photo, turns, dims=(0, 1))[..., 0].nonzero()[0].tolist()
    seen = torch.tensor([[x + 0.5, y + 0.5]])
    assert turn_back(seen, (30, 20), turns).tolist() == [[21.5, 7.5]]
    keypoints, size = Features(torch.tensor([[21.5, 7.5]]), torch.zeros(1, 4), (30, 20), turns).as_seen()
    assert keypoints.tolist() == seen.tolist()
    assert size == ((30, 20) if turns % 2 == 0 else (20, 30))


def test_shrink_keeps_small_photos_and_the_mean() -> None:
    photo = torch.rand(64, 96, 3)
    assert shrink(photo, 96) is photo
    small = shrink(photo, 48)
    assert small.shape == (32, 48, 3)
    assert torch.allclose(small.mean((0, 1)), photo.mean((0, 1)), atol=1e-5)


def test_groups_and_turns_of_lone_photos() -> None:
    assert largest_group(4, {(0, 1): 10, (1, 2): 80, (2, 3): 90, (0, 3): 5}) == {1, 2, 3}
    assert largest_group(3, {}) == {0}
    blank = [torch.full((64, 64, 3), 0.5)] * 2
    matcher = AlikedMatcher(64)
    features = matcher.extract(blank)
    assert [f.turns for f in turn_features(blank, matcher, features, {(0, 1): 0})] == [0, 0]


def test_right_cameras_agree_with_every_match_and_wrong_ones_do_not() -> None:
    model, tracks, verified = arc(4)
    right = measure_support(model, tracks, verified)
    assert right.share == 1.0
    assert right.links(0) == [200, 200, 200]
    assert abs(right.parallax_deg[0, 1] - math.degrees(0.2)) < 1.5
    poses = model.cam_from_world.copy()
    poses[3, :3, :3] = poses[3, :3, :3] @ np.array([[1, 0, 0], [0, 0.9, -0.436], [0, 0.436, 0.9]])
    wrong = measure_support(replace(model, cam_from_world=poses), tracks, verified)
    assert wrong.ratio(3, model.registered) < 0.3
    assert wrong.share < 0.75
    assert wrong.consistent[0, 1].all()
    assert score(solved(model, tracks, verified)) > score(
        solved(replace(model, cam_from_world=poses), tracks, verified)
    )


def test_points_behind_a_camera_do_not_agree() -> None:
    model, tracks, verified = arc(2)
    poses = model.cam_from_world.copy()
    relative = poses[1] @ np.linalg.inv(poses[0])
    relative[:3, 3] *= -1  # the same epipolar geometry, but everything behind
    poses[1] = relative @ poses[0]
    assert measure_support(replace(model, cam_from_world=poses), tracks, verified).share == 0.0


def test_verdicts_follow_the_evidence() -> None:
    model, tracks, verified = arc(4)
    names = tuple("abcd")

    def verdict_of(verified: Verified, model: Model = model) -> tuple[PoseStatus, str, float]:
        support = measure_support(model, tracks, verified)
        pairs = describe_pairs(tracks, verified, model, support, model.focal_px, np.tile(SIZE, (4, 1)))
        found = judge(3, names, model, support, pairs)
        assert (found.status is PoseStatus.OK) == is_supported(3, model, support)
        return found.status, found.reason, found.confidence

    ok, reason, high = verdict_of(verified)
    assert (ok, reason) == (PoseStatus.OK, "")
    one_link = {pair: m if pair == (2, 3) or 3 not in pair else m[:20] for pair, m in verified.inliers.items()}
    low, reason, lower = verdict_of(replace(verified, inliers=one_link))
    assert low is PoseStatus.LOW
    assert "one other photo" in reason
    assert lower < high
    gone = replace(model, cam_from_world=np.where(np.arange(4)[:, None, None] == 3, np.nan, model.cam_from_world))
    nothing = {pair: m[:0] if 3 in pair else m for pair, m in verified.inliers.items()}
    unregistered, reason, none = verdict_of(replace(verified, inliers=nothing), gone)
    assert unregistered is PoseStatus.UNREGISTERED
    assert "no overlap" in reason
    assert none == 0.0


def test_a_turn_on_the_spot_and_a_flat_wall_are_told_apart() -> None:
    model, tracks, verified = arc(2)
    K = model.Ks[0]
    turned = K @ yaw(0.2) @ np.linalg.inv(K)
    wall = K @ (yaw(0.2) + np.outer([0.4, 0, 0.1], [0, 0, 1])) @ np.linalg.inv(K)
    for H, expected in ((turned, "rotation"), (wall, "plane"), (np.eye(3), "rotation")):
        flat = Verified(verified.inliers, {(0, 1): 6}, {(0, 1): H})
        pairs = describe_pairs(tracks, flat, None, None, np.full(2, 700.0), np.tile(SIZE, (2, 1)))
        assert pairs[0].kind == expected


def test_the_gauge_undoes_any_similarity() -> None:
    model, _, _ = arc(5)
    seen = model.observations[:, :2]
    first = normalise(model.cam_from_world, model.xyz, seen)
    R = yaw(0.7) @ np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    moved_xyz = 3.0 * model.xyz @ R.T + [1.0, 2, 3]
    moved = model.cam_from_world.copy()
    moved[:, :3, :3] = moved[:, :3, :3] @ R.T
    moved[:, :3, 3] = 3.0 * model.cam_from_world[:, :3, 3] - moved[:, :3, :3] @ np.array([1.0, 2, 3])
    second = normalise(moved, moved_xyz, seen)
    assert np.allclose(first.points(model.xyz), second.points(moved_xyz), atol=1e-9)
    assert np.allclose(first.cameras(model.cam_from_world), second.cameras(moved), atol=1e-9)
    cameras = first.cameras(model.cam_from_world)
    depth = first.points(model.xyz) @ cameras[:, 2, :3].T + cameras[:, 2, 3]
    assert abs(np.median(depth) - 1) < 1e-9
    assert np.allclose(cameras[:, 1, :3], [0, 1, 0], atol=1e-9)  # level cameras: their down is the world's


def test_joined_tracks_keep_both_kinds() -> None:
    _, a, _ = arc(3, 0, 20)
    _, b, _ = arc(3, 1, 30)
    both = join_tracks(a, b)
    assert [len(k) for k in both.keypoints] == [50] * 3
    assert len(both.matches[0, 2]) == 50
    i, j = both.matches[0, 2][45]
    assert np.array_equal(both.keypoints[0][i], b.keypoints[0][25])
    assert np.array_equal(both.keypoints[2][j], b.keypoints[2][25])


def test_packed_lists_come_back() -> None:
    parts = [np.arange(6.0).reshape(3, 2), np.zeros((0, 2)), np.ones((1, 2))]
    for given, found in zip(parts, unpack("x", pack("x", parts, 2, np.float64))):
        assert np.array_equal(given, found)
    assert unpack("x", pack("x", [], 2, np.float64)) == []
    pairs = {(0, 2): np.array([[1, 2]]), (1, 2): np.zeros((0, 2), np.int64)}
    back = unpack_pairs("m", pack_pairs("m", pairs))
    assert list(back) == list(pairs)
    assert back[0, 2].tolist() == [[1, 2]]


def test_a_failing_job_says_how_it_ended() -> None:
    with pytest.raises(JobError, match=r"exit code 1.*KeyError"):
        run_job("no such job", {}, seed=0, time_limit_s=60)
    with pytest.raises(JobError, match="stopped after"):
        run_job("map", {}, seed=0, time_limit_s=0.01)


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from recon.poses import BACKENDS

    assert BACKENDS["auto"].available() == (True, "")
    monkeypatch.setattr("recon.assets.weight_folders", lambda: ())
    ready, why = BACKENDS["auto"].available()
    assert not ready
    assert "aliked" in why
    assert ALIKED_LIGHTGLUE_WEIGHTS.endswith(".safetensors")


def test_scenes_hold_the_placed_photos_at_their_new_size() -> None:
    photos = ImageSet(
        ("a", "b", "c"),
        tuple(torch.rand(60, 90, 3) for _ in range(3)),
        torch.full((3,), math.nan),
        torch.zeros(3, dtype=torch.int64),
        masks=tuple(torch.ones(60, 90) for _ in range(3)),
    )
    K = torch.tensor([[100.0, 0, 45], [0, 100, 30], [0, 0, 1]])
    cameras = Cameras.create(torch.eye(4).repeat(3, 1, 1), K.repeat(3, 1, 1), 90, 60)
    cameras = replace(cameras, registered=torch.tensor([True, False, True]))
    points = PointCloud(torch.rand(4, 3), torch.rand(4, 3), torch.ones(4))
    result = PoseResult(
        cameras,
        points,
        (PoseStatus.OK, PoseStatus.UNREGISTERED, PoseStatus.OK),
        ("", "lost", ""),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(3),
    )
    scene = make_scene(photos, result, 45)
    assert scene.names == ("a", "c")
    assert scene.images[0].shape == (30, 45, 3)
    assert scene.masks is not None
    assert scene.masks[1].shape == (30, 45)
    assert torch.allclose(scene.cameras.Ks[0], torch.tensor([[50.0, 0, 22.5], [0, 50, 15], [0, 0, 1]]))
    assert torch.allclose(scene.images[0][0, 0], photos.images[0][:2, :2].mean((0, 1)), atol=1e-6)
    assert make_scene(photos, result, 4000).images[0].shape == (60, 90, 3)
