"""Simulated views: their geometry, and a pair that only they can match."""

import numpy as np
import torch

from recon.poses.learned import AlikedMatcher
from recon.poses.matches import Tracks, build_tracks
from recon.poses.tilts import Correspondences, View, draw_view, project, put, warped, widen
from tests.poses.pose_scenes import texture

SIDE = 400


def table_from(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """`picture_from_texture`: a square tabletop of SIDE units seen from a camera that circles it."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    backward = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    rotation = np.stack([right, np.cross(right, backward), -backward])
    K = np.array([[SIDE, 0, SIDE / 2], [0, SIDE, SIDE / 2], [0, 0, 1.0]])
    on_table = np.array([[1, 0, -SIDE / 2], [0, -1, SIDE / 2], [0, 0, 0.0]])  # texture y points down, the table's up
    in_camera = rotation @ on_table + np.outer(np.array([0, 0, 1.3 * SIDE]), [0, 0, 1])
    return K @ in_camera


def seen_from(azimuth_deg: float, seed: int = 3) -> tuple[torch.Tensor, np.ndarray]:
    """A photo of the tabletop, 35 degrees above it, and its homography."""
    H = table_from(azimuth_deg, 35.0)
    everything = np.array([[SIDE / 2, SIDE / 2]])
    return warped(texture(seed, SIDE, SIDE), H, (SIDE, SIDE), everything), H


def test_the_drawn_view_is_where_its_homography_says() -> None:
    photo = torch.zeros(60, 90, 3)
    spot = np.array([[31.5, 20.5]])
    photo[20, 31] = 1.0
    for view in (View(), View(90.0), View(180.0, 2.0), View(37.0, 1.5)):
        H, size = draw_view((90, 60), view, 90)
        drawn = warped(photo, H, size, spot)[..., 0].double().numpy()
        drawn[drawn < 0.01] = 0  # the mean colour around the photo
        ys, xs = np.mgrid[: size[1], : size[0]] + 0.5
        found = np.array([(xs * drawn).sum(), (ys * drawn).sum()]) / drawn.sum()
        assert drawn.shape == size[::-1]
        assert np.abs(found - project(H, spot)[0]).max() < 0.3, view


def test_a_view_holds_the_whole_photo() -> None:
    for view in (View(45.0, 2.0), View(270.0), View(10.0)):
        H, size = draw_view((800, 500), view, 640)
        corners = project(H, np.array([[0.0, 0], [800, 0], [0, 500], [800, 500]]))
        assert corners.min() > -1e-6
        assert (corners.max(axis=0) <= np.array(size) + 1e-6).all()


def test_put_shares_keypoints_and_matches_one_to_one() -> None:
    keypoints = [np.array([[10.0, 10], [50, 50]]), np.array([[20.0, 20]])]
    tracks = Tracks(keypoints, {(0, 1): np.array([[1, 0]])}, np.array([0.5, 1.0]))
    first = np.array([[20.0, 21], [20.0, 19], [160, 160]])  # photo 0 works at half size: two of these are keypoint 0
    second = np.array([[70.0, 70], [90, 90], [20.4, 20]])
    grown = put(tracks, (0, 1), Correspondences(first, second, 3))
    assert np.array_equal(grown.keypoints[0], [[10, 10], [50, 50], [80, 80]])
    assert np.array_equal(grown.keypoints[1][0], [20, 20])
    assert sorted(map(tuple, grown.matches[0, 1])) == [(0, 1), (2, 0)]
    both = put(tracks, (0, 1), Correspondences(first, second, 3), keep=True)
    assert sorted(map(tuple, both.matches[0, 1])) == [(0, 1), (1, 0)], "an old match comes before new partners"
    assert len(tracks.keypoints[0]) == 2, "the old tracks are as they were"


def test_a_table_seen_from_another_side_is_matched_only_through_views() -> None:
    (a, H_a), (b, H_b) = seen_from(0.0), seen_from(100.0)
    aliked = AlikedMatcher(SIDE, 512)
    features = aliked.extract([a, b])
    plain = build_tracks(features, {(0, 1): aliked.match(*features).numpy()}, np.ones(2))
    wide = widen(aliked, [a, b], plain, [(0, 1)])

    def correct(tracks: Tracks) -> tuple[int, int]:
        first, second = (tracks.keypoints[v][tracks.matches[0, 1][:, v]] for v in (0, 1))
        error = np.linalg.norm(project(H_b @ np.linalg.inv(H_a), first) - second, axis=1)
        return int((error < 3).sum()), len(error)

    n_plain, _ = correct(plain)
    n_wide, of = correct(wide)
    assert n_wide >= 100
    assert n_wide > 3 * n_plain
    assert n_wide > 0.8 * of


def test_photos_of_different_things_keep_their_matches() -> None:
    photos = [texture(1, 200, 200), texture(2, 200, 200)]
    aliked = AlikedMatcher(256, 256)
    features = aliked.extract(photos)
    tracks = build_tracks(features, {(0, 1): aliked.match(*features).numpy()}, np.ones(2))
    wide = widen(aliked, photos, tracks, [(0, 1)])
    assert np.array_equal(wide.matches[0, 1], tracks.matches[0, 1])
    assert [len(k) for k in wide.keypoints] == [len(k) for k in tracks.keypoints]
