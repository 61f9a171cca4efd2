"""The splits of `recon bench views`: the committed files are what the rule gives, and the rule does what it says."""

import json
from pathlib import Path

import numpy as np
import pytest

from recon.data.split_files import Split, committed_splits, read_splits
from recon.data.splits import MAX_GAP_DEG, MAX_REACH_DEG, MAX_TESTS, STEP_DEG, every_nth, neighbours_split, views_split
from recon.errors import InputError

AXES = json.loads((Path(__file__).parent / "view_axes.json").read_text(encoding="utf-8"))
"""Viewing directions of all views of the scenes, in the order of their files."""
RENDERED = {"dev/synth_FlightHelmet", "bench/nerf_lego100"}


def directions(degrees: list[float]) -> np.ndarray:
    """Viewing directions in a plane."""
    radians = np.radians(degrees)
    return np.stack([np.sin(radians), 0 * radians, np.cos(radians)], axis=1)


def angle(a: list[float], b: list[float]) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(a, b), -1, 1))))


@pytest.mark.parametrize("count", [3, 6, 9])
def test_committed_files_are_what_the_rule_gives(count: int) -> None:
    committed = read_splits(committed_splits(f"views_{count}"))
    assert set(committed) == set(AXES)
    for scene, split in committed.items():
        inputs, tests = views_split(np.array(AXES[scene]), count)
        assert split == Split(tuple(inputs), tuple(tests), "rendered" if scene in RENDERED else "real"), scene
        split.check(scene, range(len(AXES[scene])))
        assert len(inputs) == count
        assert 1 <= len(tests) <= MAX_TESTS


@pytest.mark.parametrize("count", [3, 6, 9])
def test_no_view_is_asked_for_that_photos_cannot_tell(count: int) -> None:
    """Loops over all pairs: the inputs hang together, and each test view has an input not far away."""
    for scene, split in read_splits(committed_splits(f"views_{count}")).items():
        axes = AXES[scene]
        reached, left = {split.input_views[0]}, set(split.input_views[1:])
        while near := {v for v in left if min(angle(axes[v], axes[u]) for u in reached) <= MAX_GAP_DEG}:
            reached |= near
            left -= near
        assert not left, scene
        for test in split.test_views:
            limit = MAX_GAP_DEG if scene == "dev/synth_FlightHelmet" else MAX_REACH_DEG  # its views are 30 apart
            assert min(angle(axes[test], axes[v]) for v in split.input_views) <= limit, (scene, test)


def test_fern_has_the_split_of_the_papers() -> None:
    for count in (3, 6, 9):
        fern = read_splits(committed_splits(f"views_{count}"))["bench/llff_fern"]
        published = read_splits(committed_splits(f"llff_{count}"))["fern"]
        assert (fern.input_views, fern.test_views) == (published.input_views, published.test_views)


def test_llffs_split_is_kept_where_views_are_close_and_not_elsewhere() -> None:
    close = directions([2.0 * k for k in range(50)])
    inputs, tests = views_split(close[:20], 3)
    assert (inputs, tests) == ([1, 10, 19], [0, 8, 16])
    inputs, tests = views_split(close, 9)
    assert inputs == [every_nth(50)[0][k] for k in (0, 5, 10, 16, 21, 26, 32, 37, 42)]
    assert tests == [0, 16, 24, 32, 48]  # 5 of 0 8 16 24 32 40 48
    ring = directions([12.5 * k for k in range(28)])  # steps of 25 degrees are every other view
    inputs, tests = views_split(ring, 3)
    assert inputs == [0, 2, 4]
    assert tests == [1, 3]


def test_steps_grow_from_the_best_first_view_and_tests_are_seen_twice() -> None:
    degrees = [0.0, 100.0, 124.0, 111.0, 149.0, 137.0, 40.0]
    angles = np.abs(np.subtract.outer(degrees, degrees))
    inputs, tests = neighbours_split(angles, 3)
    assert inputs == [1, 2, 4]  # 100, 124, 149: off by 1 in all
    assert tests == [3, 5]  # 111 and 137 stand between two; 0 and 40 do not
    for view in tests:
        assert sorted(angles[view, inputs])[1] <= STEP_DEG
    few = [0.0, 25.0, 90.0, 100.0]
    inputs, tests = neighbours_split(np.abs(np.subtract.outer(few, few)), 2)
    assert (inputs, tests) == ([0, 1], [2, 3])  # nobody sees these twice: the closest two


def test_a_view_must_be_left() -> None:
    with pytest.raises(InputError, match="Ask for 1 to 3"):
        views_split(directions([0, 1, 2, 3]), 4)
