"""What a focal length estimated from few photos hangs on: exact keypoints, enough matches, a converged adjustment."""

import math
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
import torch
from pose_scenes import NAMES, door

from recon.poses import PosesConfig
from recon.poses.consistency import measure_support
from recon.poses.correspond import WEAK_PAIR, strengthen
from recon.poses.diagnose import OPEN_FOCAL, is_supported
from recon.poses.features import Features, at_work_size, shrink, work_factor
from recon.poses.learned import AlikedMatcher
from recon.poses.matches import Model, Tracks, Verified, work_scale
from recon.sfm.database import make_camera
from recon.sfm.mapping import polish

TRUE_FACTOR = 1.8
"""Longest sides: a long lens, 31 degrees wide."""
SIZE = np.array([400, 300])


def narrow_scene() -> tuple[np.ndarray, list[np.ndarray]]:
    """Made-up truth with noise: poses [3, 4, 4] 9 and 14 degrees apart, and where 200 points of a unit ball appear."""
    rng = np.random.default_rng(3)
    xyz = rng.normal(size=(200, 3))
    xyz *= (rng.random(200) ** (1 / 3) / np.linalg.norm(xyz, axis=1))[:, None]
    poses = np.tile(np.eye(4), (3, 1, 1))
    for pose, angle, height in zip(poses, np.radians([0, 9, 14]), (0.0, 0.05, 0.0)):
        c, s = math.cos(angle), math.sin(angle)
        pose[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        pose[1:3, 3] = height, 5.0
    return poses, [project(pose, xyz) + rng.normal(0, 0.15, (200, 2)) for pose in poses]


def project(pose: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    local = xyz @ pose[:3, :3].T + pose[:3, 3]
    return local[:, :2] / local[:, 2:] * TRUE_FACTOR * SIZE.max() + SIZE / 2


def model_at(poses: np.ndarray, keypoints: list[np.ndarray], factor: float) -> pycolmap.Reconstruction:
    """The scene as a mapper with another lens sees it: cameras nearer by as much, points where their rays meet."""
    focal = factor * SIZE.max()
    poses = poses.copy()
    poses[:, 2, 3] *= factor / TRUE_FACTOR
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(make_camera(SIZE, focal))
    for v, (pose, uv) in enumerate(zip(poses, keypoints)):
        image = pycolmap.Image(name=str(v), keypoints=uv, camera_id=1, image_id=v + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
    for p in range(len(keypoints[0])):
        rows = []
        for pose, uv in zip(poses, keypoints):
            x, y = (uv[p] - SIZE / 2) / focal
            rows += [x * pose[2] - pose[0], y * pose[2] - pose[1]]
        point = np.linalg.svd(np.array(rows))[2][-1]
        track = pycolmap.Track([pycolmap.TrackElement(v + 1, p) for v in range(3)])
        model.add_point3D(point[:3] / point[3], track)
    return model


def test_polishing_walks_to_the_end_of_the_valley() -> None:
    """Three narrow views hardly tell a short lens from a long one: the way from one to the other is long and flat."""
    poses, keypoints = narrow_scene()
    found = []
    for factor in (0.3 * TRUE_FACTOR, TRUE_FACTOR):
        model = model_at(poses, keypoints, factor)
        polish(model, refine_focal=True)
        found.append(model.camera(1).mean_focal_length() / SIZE.max())
    assert found[0] == pytest.approx(found[1], rel=0.02), "where it ends does not depend on where it began"
    assert found[0] == pytest.approx(TRUE_FACTOR, rel=0.2)


@pytest.mark.parametrize(
    ("longest", "factor"), [(300, 2.0), (512, 2.0), (640, 1.6), (700, 1.0), (1024, 1.0), (4096, 0.25)]
)
def test_photos_come_to_the_working_size(longest: int, factor: float) -> None:
    photo = torch.rand(longest // 4, longest, 3)
    assert work_factor(longest, 1024) == factor
    assert at_work_size(photo, 1024).shape == (round(longest // 4 * factor), round(longest * factor), 3)


def test_small_photos_are_enlarged_for_more_matches() -> None:
    photos = door(NAMES[:2], 320)
    assert work_scale(photos, PosesConfig()).tolist() == [2.0, 2.0]
    counts = []
    for enlarge in (False, True):
        aliked = AlikedMatcher(1024, enlarge=enlarge)
        features = aliked.extract(photos.images)
        counts.append(len(aliked.nearest(*features)))
        for found, photo in zip(features, photos.images):
            assert (found.keypoints <= torch.tensor([photo.shape[1], photo.shape[0]])).all(), "in pixels of the photo"
    assert counts[1] > 1.4 * counts[0]
    assert shrink(photos.images[0], 1024) is photos.images[0]


def test_strong_pairs_are_matched_again_where_asked() -> None:
    """With made-up features and a matcher that finds everything."""

    class All(AlikedMatcher):
        def match(self, a: Features, b: Features) -> torch.Tensor:
            return torch.arange(len(a))[:, None].expand(-1, 2)

    features = [Features(torch.zeros(600, 2), torch.zeros(600, 8), (10, 10))] * 2
    matches = {(0, 1): np.zeros((WEAK_PAIR + 50, 2), np.int64)}
    assert len(strengthen(All(10), features, matches)[0, 1]) == WEAK_PAIR + 50
    assert len(strengthen(All(10), features, matches, weak_below=math.inf)[0, 1]) == 600


def test_an_open_focal_length_leaves_positions_in_doubt() -> None:
    poses, keypoints = narrow_scene()
    K = np.array([[720.0, 0, 200], [0, 720, 150], [0, 0, 1]])
    every = np.stack([np.arange(200)] * 2, axis=1)
    matches = dict.fromkeys(((0, 1), (0, 2), (1, 2)), every)
    observations = np.array([(p, v, p) for p in range(200) for v in range(3)])
    model = Model(poses, np.tile(K, (3, 1, 1)), np.zeros((200, 3)), np.zeros(200), observations)
    verified = Verified(matches, dict.fromkeys(matches, 3), dict.fromkeys(matches, np.full((3, 3), np.nan)))
    support = measure_support(model, Tracks(keypoints, matches, np.ones(3)), verified)
    for uncertainty, believed in ((0.05, True), (OPEN_FOCAL + 0.01, False), (math.inf, False)):
        assert is_supported(0, model, replace(support, focal_uncertainty=uncertainty)) == believed
