"""The second look at a model: do photos look into each other, what ties them together, what is determined at all."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from pose_scenes import NAMES, door, door_photo, door_truth, image_set, pairwise_rotation_errors
from test_pose_parts import arc, yaw

from recon.benchmark.poses import Case, Outcome, calibration_table
from recon.events import ignore
from recon.poses import PosesConfig, estimate
from recon.poses.auto import _Cascade
from recon.poses.candidates import differ, map_candidates, score
from recon.poses.consistency import Support, measure_support
from recon.poses.correspond import match_pairs
from recon.poses.degenerate import is_turn
from recon.poses.diagnose import focal_warning, is_supported, judge
from recon.poses.features import all_pairs
from recon.poses.learned import AlikedMatcher
from recon.poses.matches import (
    Model,
    Start,
    Tracks,
    Verified,
    build_tracks,
    without_pairs,
    without_photos,
    work_scale,
)
from recon.poses.normal_equations import CORRELATED, MIN_NOISE_PX
from recon.poses.photometric import DensePair, compare, scale_ratio
from recon.poses.result import Solved, cut_loose, examined, solved
from recon.poses.uncertainty import focal_uncertainty
from recon.poses.verify import find_ties, pairs_to_examine
from recon.poses.view_graph import (
    FALSE,
    SOUND,
    WEAK,
    components,
    contested,
    groups,
    is_fixed,
    kind_of,
    loose,
    main_component,
    strained,
    uncontradicted,
)
from recon.types import PoseStatus

CONFIG = PosesConfig()


def door_model(names: tuple[str, ...], side: int = 320) -> Model:
    """The demo's true cameras as a model without points."""
    truth = door_truth(names, side)
    return Model(
        truth.cam_from_world.double().numpy(),
        truth.Ks.double().numpy(),
        np.zeros((0, 3)),
        np.zeros(0),
        np.zeros((0, 3), np.int64),
    )


def test_photos_look_into_each_other_only_from_their_true_places() -> None:
    names = NAMES[1:4]
    photos, right = door(names, 320), door_model(names)
    seen = compare(photos, right, [(0, 1), (1, 2)])
    assert min(pair.share for pair in seen.values()) > 0.5
    assert abs(scale_ratio(seen[0, 1].depths[1], seen[1, 2].depths[0]) - 1) < 0.05
    assert find_ties(seen) == {((0, 1), (1, 2))}
    poses = right.cam_from_world.copy()
    poses[2] = np.block([[yaw(0.35), np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]) @ poses[2]
    wrong = compare(photos, replace(right, cam_from_world=poses), [(1, 2)])
    assert wrong[1, 2].share < 0.2
    poses[2] = right.cam_from_world[2]
    relative = poses[2] @ np.linalg.inv(poses[1])
    relative[:3, 3] *= 2  # the same epipolar geometry with the first photo only, at twice the distance
    poses[2] = relative @ poses[1]
    stretched = compare(photos, replace(right, cam_from_world=poses), [(0, 1), (1, 2)])
    assert stretched[1, 2].share > 0.5
    assert abs(scale_ratio(stretched[1, 2].depths[0], stretched[0, 1].depths[1]) - 2) < 0.1
    assert not find_ties(stretched)


def test_scales_need_common_pixels() -> None:
    depth = torch.ones(20, 20)
    assert scale_ratio(3 * depth, depth) == pytest.approx(3)
    half = torch.cat([depth[:10], 0 * depth[:10]])
    assert math.isnan(scale_ratio(half, depth - half))


def evidence(links: dict[tuple[int, int], tuple[int, int, float, float]]) -> Support:
    """A support from (agreeing matches, all matches, dense share, parallax) per pair."""
    return Support(
        {pair: np.arange(n) < agreeing for pair, (agreeing, n, _, _) in links.items()},
        {pair: parallax for pair, (*_, parallax) in links.items()},
        dense={pair: dense for pair, (_, _, dense, _) in links.items() if dense >= 0},
    )


def test_links_are_sound_weak_or_false() -> None:
    support = evidence(
        {
            (0, 1): (40, 44, 0.6, 10.0),  # its photos look into each other
            (0, 2): (40, 44, 0.1, 10.0),  # they should, and do not
            (0, 3): (40, 44, 0.1, 90.0),  # at this angle nobody would
            (1, 2): (300, 305, 0.1, 90.0),  # but that many matches do not lie
            (1, 3): (300, 400, 0.1, 90.0),  # unless a quarter of them contradicts
            (2, 3): (300, 305, -1, 20.0),  # not examined
            (0, 4): (9, 9, 0.6, 10.0),  # hardly anything
            (1, 4): (60, 200, 0.1, 10.0),  # the model itself does not believe this pair
        }
    )
    kinds = [kind_of(pair, support) for pair in support.consistent]
    assert kinds == [SOUND, FALSE, WEAK, SOUND, WEAK, SOUND, WEAK, WEAK]
    turned = replace(support, turns=frozenset({(0, 2)}))
    assert kind_of((0, 2), turned) == WEAK  # no parallax, so nothing to look into
    unexamined = replace(support, dense={})
    assert [kind_of(pair, unexamined) for pair in ((0, 1), (0, 2), (0, 4))] == [SOUND, SOUND, WEAK]


def two_groups(bridge: tuple[int, int, float, float]) -> Support:
    """Photos 0, 1, 2 and photos 3, 4, joined by one link."""
    sure = (500, 505, 0.7, 12.0)
    return evidence({(0, 1): sure, (1, 2): sure, (0, 2): sure, (3, 4): sure, (2, 3): bridge})


def test_groups_that_only_look_alikes_join_are_separated() -> None:
    placed = np.ones(5, bool)
    assert components(5, [(0, 1), (3, 4), (1, 2)]) == [{0, 1, 2}, {3, 4}]
    false = two_groups((60, 70, 0.1, 12.0))
    assert main_component(false, placed) == {0, 1, 2}
    assert loose(false, placed) == {3, 4}
    assert loose(two_groups((20, 25, 0.3, 12.0)), placed) == {3, 4}  # too few matches to hold anything
    assert loose(two_groups((60, 70, 0.3, 12.0)), placed) == set()  # doubtful, not refuted: it stays, as `low`
    assert loose(two_groups((60, 70, 0.6, 12.0)), placed) == set()
    assert main_component(two_groups((60, 70, 0.6, 12.0)), placed) == {0, 1, 2, 3, 4}
    assert loose(replace(false, dense={}), placed) == set()


def test_a_photo_on_one_link_needs_a_surface_that_others_see_as_deep() -> None:
    sure, none = (500, 505, 0.7, 12.0), (5, 6, 0.1, 30.0)
    support = evidence({(0, 1): sure, (1, 2): sure, (0, 2): none})
    assert not is_fixed(2, support)
    assert is_fixed(2, replace(support, ties=frozenset({((0, 1), (1, 2))})))
    assert is_fixed(2, evidence({(0, 1): sure, (1, 2): sure, (0, 2): (35, 40, 0.1, 90.0)}))


def test_a_cut_photo_takes_its_points_with_it_and_is_told_why() -> None:
    model, tracks, verified = arc(4)
    support = measure_support(model, tracks, verified)
    dense = {pair: 0.02 if 3 in pair else 0.8 for pair in verified.inliers}
    flags = {pair: f & (np.arange(len(f)) < 90) if 3 in pair else f for pair, f in support.consistent.items()}
    flags = {pair: f[:100] if 3 in pair else f for pair, f in flags.items()}
    doubtful = replace(support, consistent=flags, dense=dense)
    whole = Solved(model, doubtful, tracks, verified)
    best, cut = cut_loose(whole, tuple("abcd"))
    assert list(cut) == [3]
    assert cut[3].status is PoseStatus.UNREGISTERED
    assert "do not look into each other" in cut[3].reason
    assert "add a photo between it and" in cut[3].reason
    assert best.model.registered.tolist() == [True, True, True, False]
    assert not best.support.consistent[0, 3].any()
    assert set(best.model.observations[:, 1]) == {0, 1, 2}
    same, nothing = cut_loose(replace(whole, support=replace(support, dense=dict.fromkeys(dense, 0.8))), tuple("abcd"))
    assert nothing == {}
    assert same.model is model


def test_points_of_removed_photos_go_and_indices_follow() -> None:
    model, _, _ = arc(3, n_points=6)
    kept = model.observations[~((model.observations[:, 0] < 2) & (model.observations[:, 1] == 2))]
    model = replace(model, observations=kept)  # photo 2 does not see points 0 and 1
    left = without_photos(model, np.array([True, False, False]))
    assert len(left.xyz) == 4
    assert np.allclose(left.xyz, model.xyz[2:])
    assert sorted(map(tuple, left.observations)) == [(p - 2, v, p) for p in range(2, 6) for v in (1, 2)]
    assert np.isnan(left.Ks[0]).all()


def test_two_photos_alone_must_convince_by_their_pixels_and_their_lens() -> None:
    model, tracks, verified = arc(2)
    support = replace(measure_support(model, tracks, verified), dense={(0, 1): 0.7}, focal_uncertainty=0.02)
    assert is_supported(0, model, support)
    unsure = judge(0, ("a", "b"), model, replace(support, focal_uncertainty=0.5), [])
    assert unsure.status is PoseStatus.LOW
    assert "focal length" in unsure.reason
    blind = judge(0, ("a", "b"), model, replace(support, dense={(0, 1): 0.1}), [])
    assert blind.status is PoseStatus.LOW
    assert "do not look into each other" in blind.reason


def test_the_strongest_links_and_the_bridges_are_examined() -> None:
    strong, some, bridge = (300, 300, -1, 9.0), (200, 200, -1, 9.0), (20, 20, -1, 9.0)
    links = {
        (0, 1): strong,
        (0, 2): strong,
        (1, 2): strong,
        (0, 3): some,
        (3, 4): strong,
        (1, 4): bridge,
        (2, 4): bridge,
    }
    chosen = pairs_to_examine(evidence(links), 5)
    assert {(0, 1), (0, 2), (1, 2), (0, 3), (3, 4)} <= set(chosen)
    assert (2, 4) not in chosen
    assert pairs_to_examine(evidence({(0, 1): (5, 5, -1, 9.0)}), 2) == []


def test_focal_uncertainty_against_numeric_derivatives() -> None:
    model, tracks, _ = arc(3, n_points=12)
    rng = np.random.default_rng(4)
    poses = model.cam_from_world.copy()
    poses[2, :3, 3] += (0.3, 0.2, 0.1)
    model = replace(model, cam_from_world=poses)

    def pixels(change: np.ndarray) -> np.ndarray:
        out = []
        for v in range(3):
            w = change[6 * v : 6 * v + 6]
            R = cv2.Rodrigues(w[:3])[0]
            local = (model.xyz + change[19:].reshape(-1, 3)) @ poses[v, :3, :3].T + poses[v, :3, 3]
            local = local @ R.T + w[3:]
            f = model.focal_px[0] * math.exp(change[18])
            out.append(local[:, :2] / local[:, 2:] * f + model.Ks[v, :2, 2])
        return np.concatenate(out).ravel()

    n = 19 + 3 * 12
    J = np.stack([(pixels(1e-6 * e) - pixels(-1e-6 * e)) / 2e-6 for e in np.eye(n)], axis=1)
    # seven directions leave all pixels as they are; what is asked for does not depend on them
    expected = MIN_NOISE_PX * math.sqrt(np.linalg.pinv(J.T @ J, rcond=1e-9, hermitian=True)[18, 18])
    keypoints = [pixels(np.zeros(n)).reshape(3, 12, 2)[v] + rng.normal(0, 0.05, (12, 2)) for v in range(3)]
    found = focal_uncertainty(model, replace(tracks, keypoints=keypoints))
    assert found == pytest.approx([CORRELATED * expected] * 3, rel=0.02)


def test_uncertain_focal_lengths_are_said() -> None:
    assert focal_warning(1000.0, 1000.0, 0.03) is None
    assert "determined to 25%" in str(focal_warning(1000.0, 1000.0, 0.25))
    assert "not at all" in str(focal_warning(1000.0, 1000.0, math.inf))
    assert "unusual" in str(focal_warning(9000.0, 1000.0, 0.0))


def test_an_impossible_lens_loses_to_a_possible_one() -> None:
    model, tracks, verified = arc(3)
    right = solved(model, tracks, verified)
    Ks = model.Ks.copy()
    Ks[:, [0, 1], [0, 1]] *= 9
    mad = replace(right, model=replace(model, Ks=Ks))
    assert score(right) > score(mad)
    assert differ(right.model, mad.model)
    assert not differ(right.model, replace(model, xyz=model.xyz + 1))


def turn_of(photo: torch.Tensor, angle: float, focal: float) -> torch.Tensor:
    """The photo that a camera turned on the spot would take."""
    height, width = photo.shape[:2]
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    H = K @ yaw(angle) @ np.linalg.inv(K)
    turned = cv2.warpPerspective(photo.numpy(), H, (width, height))
    return torch.from_numpy(turned[height // 6 : -height // 6, width // 6 : -width // 6].copy())


def test_turns_on_the_spot_are_not_taken_for_a_flat_wall() -> None:
    photo = door_photo(NAMES[2], 360)
    spot = [turn_of(photo, angle, 1.27 * 360) for angle in (0.0, 0.12, -0.1)]
    result = estimate(image_set(spot))
    assert all(status is not PoseStatus.OK for status in result.status)
    assert all("step aside" in reason for reason in result.reasons)
    assert {pair.kind for pair in result.pairs} == {"rotation"}
    assert any("same spot" in warning for warning in result.warnings)


def test_a_homography_is_a_turn_for_some_lens_or_none() -> None:
    _, tracks, verified = arc(2)
    K = np.array([[900, 0, 320], [0, 900, 240], [0, 0, 1.0]])
    turned = K @ yaw(0.2) @ np.linalg.inv(K)
    wall = K @ (yaw(0.2) + np.outer([0.4, 0, 0.1], [0, 0, 1])) @ np.linalg.inv(K)
    sizes = np.tile([640.0, 480.0], (2, 1))

    def says(H: np.ndarray, kind: int, focal: float | None = None) -> bool:
        pair = Verified(verified.inliers, {(0, 1): kind}, {(0, 1): H})
        return is_turn((0, 1), tracks, pair, sizes, None if focal is None else np.full(2, focal))

    assert says(turned, 4)
    assert says(turned, 4, 900.0)
    assert not says(turned, 4, 450.0)
    assert not says(turned, 3)  # a general scene: its homography explains only part of the matches
    assert not says(wall, 4)


def test_contradicted_photos_do_not_vouch_for_others() -> None:
    sure, against = (300, 305, 0.7, 12.0), (0, 400, -1, float("nan"))
    support = evidence({(0, 1): sure, (1, 2): sure, (0, 2): sure, (2, 3): sure, (0, 3): against})
    placed = np.ones(4, bool)
    assert uncontradicted(support, placed).tolist() == [False, True, True, False]
    assert main_component(support, uncontradicted(support, placed)) == {1, 2}


def test_confidence_is_counted_against_the_truth() -> None:
    case = Case("dev/made_up", "near3", ("a", "b", "c"))
    flags = {"ok": (True, True, False), "right": (True, True, False), "registered": (True, True, True)}
    outcome = Outcome(case, "auto", 1.0, None, **flags, confidence=(0.96, 0.98, 0.3), spread=1.0)
    table = calibration_table([outcome])
    assert table.rows == (
        ("auto", "0.2 to 0.4", 1, pytest.approx(0.3), 0.0),
        ("auto", "0.95 to 1", 2, pytest.approx(0.97), 1.0),
    )
    assert f"auto {(0.04**2 + 0.02**2 + 0.3**2) / 3:.3f}" in table.note
    assert "no photo was placed" in calibration_table([]).note


def test_pairs_can_be_forgotten() -> None:
    _, tracks, _ = arc(3)
    left: Tracks = without_pairs(tracks, [(0, 2)])
    assert [len(m) for m in left.matches.values()] == [200, 0, 200]


def test_ties_need_a_common_photo() -> None:
    depth = torch.ones(20, 20)
    same = DensePair(0.5, (depth, depth))
    assert find_ties({(0, 1): same, (2, 3): same}) == frozenset()
    assert find_ties({(0, 1): same, (1, 3): same}) == {((0, 1), (1, 3))}


def test_a_link_that_many_matches_contradict_leaves_what_hangs_on_it_in_doubt() -> None:
    sure, bent = (500, 505, 0.7, 12.0), (730, 893, 0.6, 7.0)
    support = evidence(
        {(0, 1): sure, (1, 2): sure, (0, 2): sure, (2, 3): (22, 28, 0.5, 50.0), (3, 4): bent, (4, 5): sure}
    )
    placed = np.ones(6, bool)
    assert strained(support, placed) == [(3, 4)]
    assert main_component(support, uncontradicted(support, placed)) == {0, 1, 2}
    assert [is_supported(v, door_model(NAMES[:6]), support) for v in range(6)] == [True] * 3 + [False] * 3
    verdict = judge(3, tuple("abcdef"), door_model(NAMES[:6]), support, [])
    assert verdict.reason.endswith("163 of its 893 matches with e contradict where the two stand")
    verdict = judge(5, tuple("abcdef"), door_model(NAMES[:6]), support, [])
    assert "163 of the 893 matches that tie it and the photos it stands with" in verdict.reason
    inside = evidence({(0, 1): sure, (1, 2): sure, (0, 2): sure, (2, 3): sure, (1, 3): bent, (3, 4): sure})
    verdict = judge(4, tuple("abcde"), door_model(NAMES[:5]), inside, [])
    assert "photos whose matches contradict" in verdict.reason
    placed[4] = False
    assert strained(support, placed) == []  # a photo that is not placed contradicts nothing
    few = evidence({(0, 1): (60, 90, 0.6, 12.0)})
    assert strained(few, np.ones(2, bool)) == []  # may be chance


def test_blocks_whose_joints_are_contradicted_do_not_vouch_for_each_other() -> None:
    """The head of a Buddha all over in curls: two photos of its front stood behind it, 89 degrees off."""
    links = {
        (0, 1): (670, 671, 0.45, 40.0), (0, 2): (171, 171, 0.34, 67.0), (1, 2): (84, 97, 0.40, 42.0),
        (2, 3): (54, 69, 0.34, 12.0), (2, 4): (61, 82, 0.33, 27.0), (3, 4): (646, 650, 0.55, 35.0),
    }  # fmt: skip
    support, placed = evidence(links), np.ones(5, bool)
    assert contested(support, placed) == {(2, 3), (2, 4)}
    assert strained(support, placed) == []  # neither link alone is enough
    assert groups(support, placed) == [{0, 1, 2}, {3, 4}]
    assert [is_supported(v, door_model(NAMES[:5]), support) for v in range(5)] == [True] * 3 + [False] * 2
    verdict = judge(4, tuple("abcde"), door_model(NAMES[:5]), support, [])
    assert verdict.reason.endswith(
        "36 of the 151 matches that tie it and the photos it stands with to the others contradict their places"
    )
    right = evidence(links | {(2, 3): (66, 69, 0.34, 12.0), (2, 4): (78, 82, 0.33, 27.0)})
    assert contested(right, placed) == set()
    assert main_component(right, placed) == set(range(5))
    tied = evidence(links | {(1, 4): (190, 200, 0.4, 30.0)})
    assert contested(tied, placed) == set()  # one block: its own links are judged one by one


def test_a_bent_model_is_mapped_again_from_where_it_is_bent() -> None:
    names = NAMES[:3]
    photos, truth = door(names, 400), door_truth(names, 400)
    aliked = AlikedMatcher(CONFIG.max_side)
    features = aliked.extract(photos.images)
    matches = {pair: m[::4] for pair, m in match_pairs(aliked.nearest, features, all_pairs(3)).items()}  # faster
    tracks = build_tracks(features, matches, work_scale(photos, CONFIG))
    verified, candidates = map_candidates(tracks, photos, [Start()], CONFIG)
    right = candidates[0].model
    poses = right.cam_from_world.copy()
    roll = np.deg2rad(4.0)  # many matches still agree
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    poses[2, :2] = turn @ poses[2, :2]
    bent = examined(photos, solved(replace(right, cam_from_world=poses), tracks, verified))
    cascade = _Cascade(photos, CONFIG, ignore)
    assert bent.support.share > 0.5
    assert strained(bent.support, right.registered)
    straight = cascade._straightened(bent)
    assert not strained(straight.support, straight.model.registered)
    assert straight.support.share > bent.support.share
    found = torch.from_numpy(straight.model.cam_from_world)
    assert pairwise_rotation_errors(found, truth.cam_from_world.double()).max() < 0.5
    again = cascade._straightened(straight)
    assert again is straight
