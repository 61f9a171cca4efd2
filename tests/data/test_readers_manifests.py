"""Manifests: each is whole, and a downloaded folder is compared with it. No network, folders of our own making."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import scene_files
import yaml

from recon.cli.dataset import check, explain, list_datasets
from recon.data import manifests
from recon.data.formats import open_scene
from recon.data.manifests import (
    Archive,
    Manifest,
    Splits,
    check_archives,
    check_dataset,
    evaluation_size,
    find_manifest,
    manifest_names,
    read_manifest,
    split_names,
)
from recon.data.split_files import Split, committed_splits, write_splits
from recon.errors import InputError

NAMES = ["blender", "dtu", "llff", "middlebury", "mipnerf360", "spare", "strecha"]


def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, **changes: object) -> Manifest:
    """The manifest `name` for scenes of five views of 80 x 60, with a split of views 0 2 | 1 3."""
    splits = tmp_path / "splits"
    write_splits(splits / "own.json", {scene: Split((0, 2), (1, 3), "own") for scene in ("a", "b")})
    monkeypatch.setattr(manifests, "committed_splits", lambda split: splits / f"{split}.json")
    facts = {"scenes": {"a": 5, "b": 5}, "evaluate": {"factor": 4}, "splits": Splits(published=("own",))}
    return replace(read_manifest(name), **(facts | changes))


def statuses(manifest: Manifest, folder: Path) -> dict[str, str]:
    return {item.scene: item.status for item in check_dataset(manifest, folder)}


def test_every_manifest_is_whole():
    assert manifest_names() == NAMES
    for name in NAMES:
        manifest = read_manifest(name)
        assert manifest.source.startswith("http"), name
        assert manifest.licence.name, name
        assert manifest.citation, name
        assert manifest.fetch, name
        assert manifest.layout, name
        assert min(manifest.scenes.values()) >= 8, name
        for archive in manifest.archives:
            assert archive.url.startswith("http"), archive.name
            assert archive.sha256 is None or len(bytes.fromhex(archive.sha256)) == 32, archive.name
            assert bool(archive.sha256) or bool(archive.unknown), f"{archive.name}: no checksum, and no reason"
        for split in split_names(manifest):
            assert committed_splits(split).is_file(), split


def test_sizes_of_the_protocols(tmp_path: Path):
    scene_files.write("llff", tmp_path / "a" / "scene")
    scene = open_scene(tmp_path / "a" / "scene")
    sizes = {name: evaluation_size(read_manifest(name), scene) for name in NAMES}
    assert sizes["dtu"] == (400, 300)
    assert sizes["llff"] == (504, 378)
    assert sizes["spare"] == (1600, 1200)
    assert sizes["blender"] == (400, 400)
    assert sizes["mipnerf360"] == (10, 8), "an eighth of 80 x 60"
    for i in range(5):
        scene_files.photo(tmp_path / "a" / "scene" / "images_8" / f"{i}.png", i, size=(10, 7))
    scene = open_scene(tmp_path / "a" / "scene")
    assert evaluation_size(read_manifest("mipnerf360"), scene) == (10, 7), "as the data set itself rounds"


def test_a_whole_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    manifest = small(monkeypatch, tmp_path, "llff")
    for scene in ("a", "b"):
        scene_files.write("llff", tmp_path / "llff" / scene)
    checks = check_dataset(manifest, tmp_path / "llff")
    assert [item.status for item in checks] == ["ok", "ok"]
    assert checks[0].message == "5 views, 5 photos, measured at 20 x 15; own"
    assert check(tmp_path / "llff", manifest).exit_code == 0


def test_what_is_missing_and_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    manifest = small(monkeypatch, tmp_path, "llff")
    folder = tmp_path / "llff"
    scene_files.write("llff", folder / "a")
    assert statuses(manifest, folder) == {"a": "ok", "b": "missing"}
    assert check(folder, manifest).exit_code == 0, "one scene is enough to start"
    (folder / "a" / "images" / "IMG_9.png").unlink()
    assert statuses(manifest, folder) == {"a": "wrong", "b": "missing"}
    assert check(folder, manifest).exit_code == 2
    more = replace(manifest, scenes={"a": 9})
    scene_files.write("llff", tmp_path / "other" / "a")
    assert check_dataset(more, tmp_path / "other")[0].message.startswith("It has 5 views; 9 are needed")
    unsized = replace(manifest, scenes={"a": 5}, evaluate={"width": 504, "height": 378})
    assert "smaller than the 504 x 378" in check_dataset(unsized, tmp_path / "other")[0].message


def test_photos_that_are_kept_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """SpaRe gives out input photos only; DTU all of them."""
    folder = tmp_path / "sets"
    scene_files.write("spare", folder / "a")
    (folder / "a" / "cam_002_3_0000.png").unlink()
    hidden = small(monkeypatch, tmp_path, "spare", scenes={"a": 5})
    given = replace(hidden, photos="given")
    assert statuses(hidden, folder) == {"a": "ok", "b": "missing"}, "the split knows of b"
    (found, _) = check_dataset(given, folder)
    assert found.status == "wrong"
    assert "own needs the photos of views 1" in found.message
    (folder / "a" / "cam_003_3_0000.png").unlink()
    (found, _) = check_dataset(hidden, folder)
    assert "own needs the photos of views 2" in found.message


def test_a_downloads_own_split_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    manifest = small(monkeypatch, tmp_path, "spare", scenes={"a": 5})
    scene_files.write("spare", tmp_path / "sets" / "a")
    scene_files.write_spare(tmp_path / "sets" / "new", scene_files.cameras())
    write_splits(tmp_path / "sets" / "own.json", {"new": Split((0,), (4,), "Synthetic"), "a": Split((0,), (7,), "x")})
    checks = {item.scene: item for item in check_dataset(manifest, tmp_path / "sets")}
    assert checks["new"].status == "ok"
    assert "names views that the scene lacks: 7" in checks["a"].message


def test_the_folder_tells_the_data_set(tmp_path: Path):
    scene_files.write("strecha", tmp_path / "copy" / "fountain-P11")
    assert find_manifest(tmp_path / "copy").name == "strecha"
    with pytest.raises(InputError, match="no scene of a known data set"):
        find_manifest(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        check_dataset(read_manifest("dtu"), tmp_path / "gone")


def test_checksums(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"data")
    right = Archive("a.zip", "http://x", sha256=hashlib.sha256(b"data").hexdigest())
    archives = (right, replace(right, sha256="0" * 64), replace(right, name="gone.zip"), Archive("a.zip", "http://x"))
    found = check_archives(replace(read_manifest("spare"), archives=archives), tmp_path)
    assert [item.status for item in found] == ["ok", "wrong"]


def test_list_and_explain():
    found = list_datasets().data["datasets"]
    assert [item["name"] for item in found] == NAMES
    lines = [str(line) for line in explain(read_manifest("spare")).lines]
    assert any("94d19330e11b8bbf" in line for line in lines)
    assert any("WoodenMannequin" in line for line in lines), "says what of the published splits is not here"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, "calls itself 'other'"),
        ({"format": "jpeg"}, "in format 'jpeg'"),
        ({"splits": {"rule": "dice"}}, "rule 'dice'"),
        ({"splits": {"rule": 3}}, "is '3', which is not"),
        ({"scenes": {"a": "many"}}, "is 'many'"),
        ({"surprise": 1}, "unknown keys: surprise"),
        ({"licence": None}, "licence must hold keys"),
        ({"archives": [{"name": "a.zip"}]}, "incomplete"),
    ],
)
def test_damaged_manifests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, object], message: str):
    folder = committed_splits("dtu_3").parent.parent / "manifests"
    values = yaml.safe_load((folder / "dtu.yaml").read_text(encoding="utf-8")) | change
    (tmp_path / "dtu.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(manifests, "_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=message):
        read_manifest("dtu")
    with pytest.raises(InputError, match="There is no data set 'llff'"):
        read_manifest("llff")
    (tmp_path / "dtu.yaml").write_text("a: [")
    with pytest.raises(InputError, match="Could not read"):
        read_manifest("dtu")
