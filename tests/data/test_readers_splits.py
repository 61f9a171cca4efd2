"""Splits: the published format, what is refused, and that the committed files are what the rules give."""

import json
from pathlib import Path

import pytest

from recon.data.manifests import make_splits, manifest_names, read_manifest, split_names
from recon.data.split_files import Split, committed_splits, read_splits, write_splits
from recon.data.splits import RULES
from recon.errors import InputError

RULED = [(name, count) for name in manifest_names() for count in read_manifest(name).splits.inputs]
COMMITTED = [split for name in manifest_names() for split in split_names(read_manifest(name))]


@pytest.mark.parametrize(("name", "count"), RULED)
def test_rules_reproduce_the_committed_files(name: str, count: int):
    manifest = read_manifest(name)
    committed = read_splits(committed_splits(f"{name}_{count}"))
    assert committed == make_splits(manifest, count)
    assert all(len(split.input_views) == count for split in committed.values())
    for scene, split in committed.items():
        split.check(scene, range(manifest.scenes[scene]))


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_files_have_the_published_format(name: str):
    values = json.loads(committed_splits(name).read_text(encoding="utf-8"))
    for scene, value in values.items():
        assert list(value) == ["input_views", "test_views", "dataset"], scene
        assert not set(value["input_views"]) & set(value["test_views"])


def test_spare_facts():
    """3 and 9 inputs, 10 tests, of 0 to 48; the 3 are among the 9; DTU's scans and synthetic scenes."""
    for phase in ("development", "test"):
        few = read_splits(committed_splits(f"spare/Track1_split_{phase}"))
        many = read_splits(committed_splits(f"spare/Track2_split_{phase}"))
        for splits, count in ((few, 3), (many, 9)):
            for scene, split in splits.items():
                split.check(scene, range(49))
                assert (len(split.input_views), len(split.test_views)) == (count, 10)
                assert split.dataset == ("DTU" if scene.startswith("scan") else "Synthetic")
        for scene in set(few) & set(many):
            assert set(few[scene].input_views) <= set(many[scene].input_views)
    amplifier = read_splits(committed_splits("spare/Track1_split_development"))["Amplifier"]
    assert amplifier == Split((0, 6, 30), (1, 3, 9, 13, 14, 15, 26, 32, 36, 43), "Synthetic")


def test_rules_of_the_papers():
    dtu = read_splits(committed_splits("dtu_6"))["scan114"]
    assert dtu.input_views == (25, 22, 28, 40, 44, 48)
    assert len(dtu.test_views) == 25
    assert not set(dtu.test_views) & {0, 8, 13, *range(3, 8), *range(16, 22), *range(36, 40)}
    assert len(read_splits(committed_splits("dtu_3"))) == 15
    assert read_splits(committed_splits("llff_3"))["fern"] == Split((1, 10, 19), (0, 8, 16), "LLFF")
    blender = read_splits(committed_splits("blender_8"))["lego"]
    assert blender.input_views == (26, 86, 2, 55, 75, 93, 16, 73)
    assert blender.test_views == tuple(200 + 8 * k for k in range(25))
    garden = read_splits(committed_splits("mipnerf360_24"))["garden"]
    assert len(garden.input_views) == 24
    assert garden.test_views == tuple(range(0, 185, 8))
    fountain = read_splits(committed_splits("strecha_3"))["fountain-P11"]
    assert fountain == Split((0, 5, 10), (1, 2, 3, 4, 6, 7, 8, 9), "Strecha")
    assert "Herz-Jesus-P8" not in read_splits(committed_splits("strecha_9")), "nothing would be left to test"


@pytest.mark.parametrize("rule", RULES)
def test_rules_refuse_more_views_than_there_are(rule: str):
    with pytest.raises(InputError, match="Cannot choose"):
        RULES[rule](12, 40)


def test_published_splits_are_not_made():
    with pytest.raises(InputError, match="published"):
        make_splits(read_manifest("spare"), 3)


def test_round_trip(tmp_path: Path):
    splits = {"scan8": Split((2, 0), (1,), "DTU"), 'odd "name"': Split((5,), (7, 6), "Synthetic")}
    write_splits(tmp_path / "s.json", splits)
    assert read_splits(tmp_path / "s.json") == splits
    assert len((tmp_path / "s.json").read_text().splitlines()) == 4, "a line for each scene"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"input_views": [0, 1], "test_views": [1, 2], "dataset": "DTU"}, "gives away: 1"),
        ({"input_views": [0, 0], "test_views": [2], "dataset": "DTU"}, "twice"),
        ({"input_views": [0], "test_views": [2, 2], "dataset": "DTU"}, "twice"),
        ({"input_views": [-1], "test_views": [2], "dataset": "DTU"}, "view -1"),
        ({"input_views": [], "test_views": [2], "dataset": "DTU"}, "empty"),
        ({"input_views": [0], "test_views": None, "dataset": "DTU"}, "whole numbers"),
        ({"input_views": [0.5], "test_views": [2], "dataset": "DTU"}, "whole numbers"),
        ({"input_views": [True], "test_views": [2], "dataset": "DTU"}, "whole numbers"),
        ({"input_views": [0], "dataset": "DTU"}, "needs input_views, test_views"),
        ([1, 2], "needs input_views"),
    ],
)
def test_senseless_splits_are_refused(tmp_path: Path, value: object, message: str):
    (tmp_path / "s.json").write_text(json.dumps({"scan8": value}))
    with pytest.raises(InputError, match=message):
        read_splits(tmp_path / "s.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", "\xff", "[" * 100_000])
def test_files_of_something_else_are_refused(tmp_path: Path, text: str):
    (tmp_path / "s.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError):
        read_splits(tmp_path / "s.json")
    with pytest.raises(InputError, match="Could not read"):
        read_splits(tmp_path / "gone.json")


def test_views_that_the_scene_lacks():
    with pytest.raises(InputError, match="lacks: 4, 9"):
        Split((0, 9), (4,), "DTU").check("scan8", range(4))
