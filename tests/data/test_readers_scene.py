"""What a `Scene` hands out: photos at the size of a protocol, lightings, masks, depth; nothing before it is asked."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene_files
import torch
from PIL import Image
from scene_files import HEIGHT, RAMP, WIDTH

from recon.data.depth_files import read_depth, read_exr, read_mask
from recon.data.formats import open_scene
from recon.data.formats.spare import photo_name
from recon.errors import InputError, MissingDependencyError

MINI = Path(__file__).parents[2] / "datasets" / "mini"


def root_of(tmp_path: Path) -> Path:
    return tmp_path / "sets" / "scene"


# --- views


def test_names_are_those_of_submissions():
    assert photo_name("cam", 0) == "cam_001_3_0000.png"
    assert photo_name("cam", 13, 6) == "cam_014_6_0000.png"
    assert photo_name("rect", 13) == "rect_014_3_r5000.png"
    assert photo_name("rect", 49) == "rect_050_3_r7000.png"


def test_spare_keeps_cameras_of_photos_that_are_kept_back(tmp_path: Path):
    root = root_of(tmp_path)
    truth = scene_files.write("spare", root)
    (root / "cam_002_3_0000.png").unlink()
    (root.parent / "synth_calibration" / "pos_003.txt").unlink()
    scene = open_scene(root)
    assert scene.indices == (0, 1, 3, 4)
    assert scene.image_paths[1] is None
    assert scene.names[1] == "cam_002_3_0000.png"
    torch.testing.assert_close(scene.at([4, 1]).cameras.Ks, truth.Ks[[4, 1]], atol=1e-9, rtol=0)
    assert scene.at([4, 1]).names == ("cam_005_3_0000.png", "cam_002_3_0000.png")
    with pytest.raises(InputError, match=r"cam_002_3_0000\.png is not there"):
        scene.image(1)
    with pytest.raises(InputError, match="no views 2, 9"):
        scene.at([2, 9])


def test_a_scene_with_its_own_matrices_and_one_set_for_all(tmp_path: Path):
    """The scene's own come first."""
    root = root_of(tmp_path)
    truth = scene_files.write("spare", root)
    for file in (root.parent / "synth_calibration").iterdir():
        (root / file.name).write_text(file.read_text())
        file.write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n")
    torch.testing.assert_close(open_scene(root).cameras.Ks, truth.Ks, atol=1e-6, rtol=0)
    (root / "pos_001.txt").write_text("broken")
    with pytest.raises(InputError, match=r"pos_001\.txt holds something other"):
        open_scene(root)


def test_lightings(tmp_path: Path):
    root = root_of(tmp_path)
    root.mkdir(parents=True)
    scene_files.write_spare(root, scene_files.cameras(), lightings=(0, 3, 6))
    scene_files.photo(root / "cam_002_0_0000.png", 7)
    scene = open_scene(root)
    assert list(scene.lightings) == [0, 3, 6]
    assert scene.relit(0).image(1)[0, 0, 2] == 140 / 255
    assert scene.image(1)[0, 0, 2] == 20 / 255
    assert scene.at([1]).relit(0).image(0)[0, 0, 2] == 140 / 255
    with pytest.raises(InputError, match="lighting 5"):
        scene.relit(5)
    for file in root.glob("cam_*_3_0000.png"):
        file.unlink()
    with pytest.raises(InputError, match="none in lighting 3"):
        open_scene(root)


def test_photos_of_two_sets_or_sizes_are_refused(tmp_path: Path):
    root = root_of(tmp_path)
    scene_files.write("spare", root)
    scene_files.photo(root / "cam_002_3_0000.png", 1, size=(40, 30))
    with pytest.raises(InputError, match="share a size"):
        open_scene(root)
    scene_files.photo(root / "rect_001_3_r5000.png", 1)
    with pytest.raises(InputError, match="mixes"):
        open_scene(root)


# --- sizes


@pytest.mark.parametrize("layout", ["spare", "llff", "blender", "colmap"])
def test_evaluation_size(layout: str, tmp_path: Path):
    """Exact sizes, K scaled about the corner of the first pixel, photos averaged over areas."""
    truth = scene_files.write(layout, root_of(tmp_path))
    scene = open_scene(root_of(tmp_path)).sized(20, 15)
    torch.testing.assert_close(scene.cameras.Ks, scene_files.scaled(truth, 20, 15).Ks, atol=1e-6, rtol=0)
    assert (set(scene.cameras.width.tolist()), set(scene.cameras.height.tolist())) == ({20}, {15})
    image = scene.image(len(scene) - 1)
    assert image.shape == (15, 20, 3)
    # The last column is opaque in Blender's photos too: rows and columns average four by four.
    expected = RAMP[:, -4:].astype(float).reshape(15, 4, 4, 2).mean((1, 2)) / 255
    torch.testing.assert_close(image[:, -1, :2], torch.from_numpy(expected).float(), atol=1e-6, rtol=0)


def test_sizes_of_another_shape_or_larger_are_refused(tmp_path: Path):
    scene_files.write("spare", root_of(tmp_path))
    scene = open_scene(root_of(tmp_path))
    with pytest.raises(InputError, match="another shape"):
        scene.sized(20, 18)
    with pytest.raises(InputError, match="smaller than"):
        scene.sized(160, 120)


@pytest.mark.parametrize("layout", ["llff", "colmap"])
def test_shipped_copies_are_taken_where_they_have_the_size(layout: str, tmp_path: Path):
    root = root_of(tmp_path)
    truth = scene_files.write(layout, root)
    for i in range(len(truth)):
        scene_files.photo(root / "images_4" / f"image{i:03d}.png", 9, size=(20, 15))
    scene = open_scene(root)
    assert scene.sized(20, 15).image(0)[0, 0, 2] == 180 / 255, "the copy"
    assert scene.sized(40, 30).image(1)[0, 0, 2] == 20 / 255, "shrunk from the photo"
    (root / "images").rename(root / "elsewhere")
    small = open_scene(root)
    torch.testing.assert_close(small.cameras.Ks, scene_files.scaled(truth, 20, 15).Ks, atol=1e-6, rtol=0)
    (root / "images_4" / "image000.png").unlink()
    with pytest.raises(InputError):
        open_scene(root)


def test_the_shipped_scene_reads_its_depth():
    """`datasets/mini`, path-traced by Blender: z in metres in `.npz` files, 0 where nothing is."""
    scene = open_scene(MINI / "truth" / "stones")
    k = scene.indices.index(27)
    depth, mask = scene.depth(k), scene.mask(k)
    assert depth is not None
    assert mask is not None
    with np.load(MINI / "truth" / "stones" / "depth_028.npz") as file:
        torch.testing.assert_close(depth, torch.from_numpy(file["depth"]))
    target = scene.cameras.cam_from_world[k] @ torch.tensor([0.0, 0.0, 0.05, 1.0], dtype=torch.float64)
    assert abs(float(depth[mask > 0.5].median()) - float(target[2])) < 0.1, "not metres along the axis"
    assert scene.depth(scene.indices.index(0)) is None, "this view was not rendered"


# --- pictures


@pytest.mark.parametrize("layout", list(scene_files.WRITERS))
def test_opening_reads_no_picture(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scene_files.write(layout, root_of(tmp_path))

    def refuse(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("recon.data.formats.base.decode_photo", refuse)
    scene = open_scene(root_of(tmp_path))
    with pytest.raises(AssertionError, match="decoded"):
        scene.image(0)


def test_transparent_photos_lie_on_white_and_are_masks(tmp_path: Path):
    scene_files.write("blender", root_of(tmp_path))
    scene = open_scene(root_of(tmp_path))
    image, mask = scene.image(0), scene.mask(0)
    assert mask is not None
    assert image[:, : WIDTH // 2].min() == 1
    assert (mask[:, : WIDTH // 2].max(), mask[:, WIDTH // 2 :].min()) == (0, 1)
    torch.testing.assert_close(image[:, -1, 0], torch.full((HEIGHT,), RAMP[0, -1, 0] / 255))


def test_masks_and_depth_of_nerfstudio(tmp_path: Path):
    scene_files.write("nerfstudio", root_of(tmp_path))
    scene = open_scene(root_of(tmp_path))
    mask, depth = scene.mask(2), scene.depth(2)
    assert mask is not None
    assert depth is not None
    torch.testing.assert_close(mask, torch.from_numpy((RAMP[..., 0] > 120).astype(np.float32)))
    torch.testing.assert_close(depth, torch.from_numpy(RAMP[..., 0].astype(np.float32) * 0.01))
    small = scene.sized(20, 15).depth(2)
    assert small is not None
    assert set(small.unique().tolist()) <= set(depth.unique().tolist()), "depth is picked, not averaged over edges"
    (root_of(tmp_path) / "masks" / "3.png").unlink()
    with pytest.raises(InputError, match=r"3\.png, which is not there"):
        open_scene(root_of(tmp_path))


def test_masks_of_dtu_count_from_zero_and_others_from_one(tmp_path: Path):
    root = root_of(tmp_path)
    scene_files.write("dtu", root)
    assert open_scene(root).mask_paths is None
    assert open_scene(root).mask(0) is None
    for view in (0, 2):
        folder = root.parent.parent / "idrmasks" / "scene"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (255,) * 3 if view == 2 else (0,) * 3).save(folder / f"{view:03d}.png")
    scene = open_scene(root)
    assert [None if mask is None else float(mask.mean()) for mask in map(scene.mask, range(4))] == [0, None, 1, None]
    (root / "mask").mkdir()
    Image.new("L", (WIDTH, HEIGHT), 255).save(root / "mask" / "003.png")
    own = open_scene(root).mask(3)
    assert own is not None
    assert float(own.mean()) == 1
    Image.new("L", (WIDTH, HEIGHT), 255).save(root / "mask_001.png")
    np.savez(root / "depth_001.npz", depth=np.full((HEIGHT, WIDTH), 2.5, np.float32))
    scene = open_scene(root)
    mask, depth = scene.mask(0), scene.depth(0)
    assert mask is not None
    assert depth is not None
    assert (float(mask.mean()), float(depth.mean()), scene.depth(1)) == (1, 2.5, None)


def test_bent_photos_are_straightened(tmp_path: Path):
    """A scene that states distortion hands out what its pinhole camera would have taken."""
    root = root_of(tmp_path)
    scene_files.write("nerfstudio", root)
    plain = open_scene(root).image(0)
    meta = json.loads((root / "transforms.json").read_text())
    meta["frames"][0]["k1"] = 0.1
    (root / "transforms.json").write_text(json.dumps(meta))
    scene = open_scene(root)
    assert not torch.equal(scene.image(0), plain)
    torch.testing.assert_close(scene.image(1), open_scene(root).image(1))
    K = scene.cameras.Ks[0]
    # At 20 pixels right of the principal point the bent photo was sampled k1 r^3 further out: red rises by 3 a pixel.
    x, y = float(K[0, 2]) + 20, float(K[1, 2])
    shift = 0.1 * (20 / float(K[0, 0])) ** 3 * float(K[0, 0])
    change = (scene.image(0) - plain)[int(y), int(x), 0] * 255 / 3
    assert float(change) == pytest.approx(shift, abs=0.15)


# --- depth and mask files


def write_exr(path: Path, **channels: np.ndarray) -> None:
    exr = pytest.importorskip("OpenEXR", reason="OpenEXR is an extra")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with exr.File(header, channels) as file:
        file.write(str(path))


def test_exr_depth_and_mask(tmp_path: Path):
    values = np.array([[0.5, 1e10, np.inf], [2.5, -1, np.nan]], np.float32)
    write_exr(tmp_path / "depth.exr", Z=values, A=np.zeros_like(values))
    assert read_depth(tmp_path / "depth.exr").tolist() == [[0.5, 0, 0], [2.5, 0, 0]]
    four = np.dstack([np.array([[0.0, 1.0], [0.25, 1.0]], np.float32)] * 3 + [np.ones((2, 2), np.float32)])
    write_exr(tmp_path / "mask.exr", RGBA=np.ascontiguousarray(four))
    assert read_mask(tmp_path / "mask.exr").tolist() == [[0, 1], [0.25, 1]]
    data = (tmp_path / "depth.exr").read_bytes()
    for n in (0, 3, 40, len(data) - 9):
        (tmp_path / "cut.exr").write_bytes(data[:n])
        with pytest.raises(InputError, match="not a readable OpenEXR file"):
            read_exr(tmp_path / "cut.exr")


def test_exr_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "OpenEXR":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match="pip install OpenEXR"):
        read_depth(tmp_path / "a.exr")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.png", "mask"])
def test_damaged_depth_files(tmp_path: Path, name: str):
    path = tmp_path / name
    read = read_mask if name == "mask" else read_depth
    for data in (b"", b"junk", b"\x93NUMPY\x01\x00", b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(InputError):
            read(path)
    with pytest.raises(InputError):
        read(tmp_path / "gone.npy")


def test_depth_of_wrong_shape_or_kind(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 2), np.float32))
    np.savez(tmp_path / "a.npz", other=np.zeros((3, 4), np.float32))
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    for name in ("a.npy", "a.npz", "a.png"):
        with pytest.raises(InputError):
            read_depth(tmp_path / name)
