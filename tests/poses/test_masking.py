"""Object, background, and what stands still, on made-up points seen by made-up cameras."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon.poses.masking import Region, choose_region, drop_still, inside, split_tracks
from recon.poses.matches import Tracks

SIZE = (640, 480)
FOCAL = 700.0
OBJECT = slice(0, 120)
"""Keypoints of `scene` that lie on the object; the rest lie behind it."""


def turn(degrees: float) -> np.ndarray:
    """About the vertical axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def scene(objects: list[float], rooms: list[tuple[float, float, float]], noise: float = 0.3, seed: int = 0) -> Tracks:
    """All points matched in all pairs.

    Args:
        objects: per photo, degrees by which the object is turned relative to the camera.
        rooms: per photo, shift of the room behind relative to the camera.
    """
    rng = np.random.default_rng(seed)
    near = rng.normal(size=(120, 3)) * 0.5
    far = rng.uniform((-4, -3, 3), (4, 3, 9), size=(200, 3))
    keypoints = []
    for degrees, shift in zip(objects, rooms):
        xyz = np.concatenate([near @ turn(degrees).T, far + shift]) + np.array([0, 0, 4])
        uv = FOCAL * xyz[:, :2] / xyz[:, 2:] + np.array(SIZE) / 2
        keypoints.append(uv + rng.normal(size=uv.shape) * noise)
    every = np.stack([np.arange(320)] * 2, axis=1)
    pairs = [(i, j) for i in range(len(objects)) for j in range(i + 1, len(objects))]
    return Tracks(keypoints, dict.fromkeys(pairs, every), np.ones(len(objects)))


def regions(tracks: Tracks) -> dict[Region, Tracks]:
    """What `split_tracks` would make of masks that know every keypoint of the object."""
    order = np.arange(320)
    on_object = {pair: m[order[m[:, 0]] < OBJECT.stop] for pair, m in tracks.matches.items()}
    behind = {pair: m[order[m[:, 0]] >= OBJECT.stop] for pair, m in tracks.matches.items()}
    return {
        Region.ALL: tracks,
        Region.OBJECT: replace(tracks, matches=on_object),
        Region.BACKGROUND: replace(tracks, matches=behind),
    }


STOOD = [(0.0, 0.0, 0.0)] * 3
WALKED = [(0.0, 0.0, 0.0), (0.4, 0.1, 0.1), (0.9, -0.1, 0.3)]


def test_the_room_behind_a_turntable_is_dropped():
    tracks = scene([0, 12, 25], STOOD)
    left, dropped = drop_still(tracks)
    for matches in left.matches.values():
        assert (matches[:, 0] < OBJECT.stop).all(), "matches of the room are left"
        assert len(matches) > 90, "matches of the object went with the room"
    assert dropped >= 600


def test_the_room_is_dropped_even_where_no_match_of_the_object_was_found():
    tracks = regions(scene([0, 90, 180], STOOD))[Region.BACKGROUND]
    left, dropped = drop_still(tracks)
    assert dropped == 600
    assert not any(len(matches) for matches in left.matches.values())


@pytest.mark.parametrize("step", [0.01, 0.1], ids=["slowly", "clearly"])
def test_an_ordinary_scene_loses_nothing(step):
    """Also one that moved by a pixel or two only: what is slow there is not heaped up at zero."""
    tracks = scene([0, 20 * step, 40 * step], [(0, 0, 0), (step, 0, 0), (2 * step, step, 0)], noise=0.5)
    left, dropped = drop_still(tracks)
    assert dropped == 0
    assert left is tracks


def test_two_photos_from_one_tripod_lose_nothing_when_a_third_moved():
    """The room stands still between the first two, and someone walks about before it."""
    tracks = scene([0, 10, 5], [(0, 0, 0), (0, 0, 0), (0.5, 0.1, 0.2)])
    assert drop_still(tracks)[1] == 0


def test_matches_are_split_by_masks_widened_a_little():
    mask = torch.zeros(100, 200)
    mask[20:60, 50:100] = 1
    working = np.array([[30.0, 20.0], [51.0, 20.0], [53.5, 20.0], [5.0, 5.0]])  # half of the photo's pixels
    tracks = Tracks([working, working], {(0, 1): np.array([[0, 0], [1, 1], [2, 2], [3, 3], [0, 3]])}, np.full(2, 0.5))
    split = split_tracks(tracks, [mask, mask], edge_px=2.0)
    assert split[Region.ALL].matches[0, 1].tolist() == tracks.matches[0, 1].tolist()
    assert split[Region.OBJECT].matches[0, 1].tolist() == [[0, 0], [1, 1]]
    assert split[Region.BACKGROUND].matches[0, 1].tolist() == [[2, 2], [3, 3]], "a match with one end on the object"


def test_an_empty_mask_holds_nothing_and_positions_on_the_border_are_legal():
    uv = np.array([[0.0, 0.0], [200.0, 100.0]])
    assert inside(torch.zeros(100, 200), uv, 5.0).tolist() == [False, False]
    assert inside(torch.ones(100, 200), uv, 0.0).tolist() == [True, True]


def test_someone_walking_round_an_object_uses_both():
    rng = np.random.default_rng(1)
    xyz = rng.uniform((-2, -1.5, 3), (2, 1.5, 9), size=(320, 3))
    shifts = [(0, 0, 0), (0.5, 0, 0.1), (1.0, 0.2, 0.2)]
    keypoints = [FOCAL * (xyz + s)[:, :2] / (xyz + s)[:, 2:] + rng.normal(size=(320, 2)) * 0.3 for s in shifts]
    choice = choose_region(regions(replace(scene([0, 0, 0], STOOD), keypoints=keypoints)))
    assert choice.region is Region.ALL


def test_object_and_room_that_move_apart_leave_the_object():
    """A turntable, photographed from three places."""
    choice = choose_region(regions(scene([0, 15, 30], WALKED)))
    assert choice.region is Region.OBJECT
    assert "apart" in choice.reason


def test_an_empty_background_leaves_the_object():
    split = regions(scene([0, 15, 30], STOOD))
    empty = {pair: matches[:0] for pair, matches in split[Region.BACKGROUND].matches.items()}
    split |= {Region.BACKGROUND: replace(split[Region.BACKGROUND], matches=empty), Region.ALL: split[Region.OBJECT]}
    assert choose_region(split).region is Region.OBJECT


def test_the_background_carries_where_the_object_cannot_place_all_photos():
    """Someone walks through the picture, and is not there in the third photo."""
    split = regions(scene([0, 15, 30], WALKED))
    seldom = {pair: m if pair == (0, 1) else m[:0] for pair, m in split[Region.OBJECT].matches.items()}
    split[Region.OBJECT] = replace(split[Region.OBJECT], matches=seldom)
    both = {pair: np.concatenate([seldom[pair], m]) for pair, m in split[Region.BACKGROUND].matches.items()}
    split[Region.ALL] = replace(split[Region.ALL], matches=both)
    assert choose_region(split).region is Region.BACKGROUND
