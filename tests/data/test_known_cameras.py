"""Given cameras of every layout, and their match with photos."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from camera_sets import NAMES, three_cameras
from PIL import Image

from recon.data import KnownCameras, apply_known, load_images, load_posed, match, own_cameras, save_images
from recon.data.colmap import write_model
from recon.data.known_cameras import match_indices, undistort
from recon.data.projections import decompose
from recon.data.transforms_json import write_transforms
from recon.errors import InputError
from recon.types import Cameras, ImageSet, PointCloud


def images_of(names: tuple[str, ...], width: int = 320, height: int = 240) -> ImageSet:
    picture = torch.rand(height, width, 3)
    n = len(names)
    return ImageSet(names, (picture,) * n, torch.full((n,), torch.nan), torch.zeros(n, dtype=torch.int64))


def assert_same_cameras(found: Cameras, truth: Cameras) -> None:
    torch.testing.assert_close(found.cam_from_world, truth.cam_from_world, atol=2e-6, rtol=0)
    torch.testing.assert_close(found.Ks, truth.Ks, atol=1e-3, rtol=1e-6)
    assert found.width.tolist() == truth.width.tolist()
    assert found.height.tolist() == truth.height.tolist()


def blank_photos(folder: Path, names: tuple[str, ...], size: tuple[int, int] = (640, 480)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("L", size).save(folder / name)


# --- layouts


def test_transforms_and_cameras_json(tmp_path: Path):
    for name in ("transforms.json", "cameras.json"):
        write_transforms(tmp_path / name[0] / name, NAMES, three_cameras())
        for path in (tmp_path / name[0], tmp_path / name[0] / name):
            assert_same_cameras(load_posed(path).cameras, three_cameras())


def test_colmap_folder(tmp_path: Path):
    write_model(tmp_path / "sparse" / "0", NAMES, three_cameras(), PointCloud(*torch.zeros(2, 1, 3), torch.ones(1)))
    for path in (tmp_path, tmp_path / "sparse", tmp_path / "sparse/0", tmp_path / "sparse/0/images.bin"):
        known = load_posed(path)
        assert_same_cameras(known.cameras[[known.names.index(name) for name in NAMES]], three_cameras())


def test_projection_matrices(tmp_path: Path):
    """SpaRe and DTU: `pos_XXX.txt` beside `cam_XXX_3_0000.png`, up to any scale, several lightings a view."""
    cameras = three_cameras()
    P = cameras.Ks.double() @ cameras.cam_from_world[:, :3].double()
    names = ("cam_001_3_0000.png", "cam_002_3_0000.png", "cam_010_3_0000.png")
    blank_photos(tmp_path, (*names, "cam_010_4_0000.png"))
    for number, matrix, scale in zip((1, 2, 10), P, (1.0, -3.0, 0.01)):
        text = "\n".join(" ".join(f"{value:.17g}" for value in row) for row in (matrix * scale).tolist())
        (tmp_path / f"pos_{number:03d}.txt").write_text(text + "\n")
    known = load_posed(tmp_path)
    assert known.names == (*names, "cam_010_4_0000.png")
    assert_same_cameras(known.cameras[[0, 1, 2]], cameras)
    torch.testing.assert_close(known.cameras.cam_from_world[3], known.cameras.cam_from_world[2])
    (tmp_path / "elsewhere").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "elsewhere" / path.name)
    with pytest.raises(InputError, match="Found no photos beside"):
        load_posed(tmp_path)
    assert load_posed(tmp_path / "pos_001.txt", tmp_path / "elsewhere").names == known.names


def test_llff(tmp_path: Path):
    cameras = three_cameras()
    cameras = replace(cameras, Ks=torch.tensor([[800.0, 0, 320], [0, 800, 240], [0, 0, 1]]).repeat(3, 1, 1))
    right, down, forward, center = cameras.world_from_cam[:, :3].unbind(2)
    hwf = torch.tensor([480.0, 640, 800]).expand(3, 3)
    matrices = torch.stack([down, right, -forward, center, hwf], dim=2)
    rows = torch.cat([matrices.reshape(3, 15), torch.tensor([[1.0, 9.0]]).expand(3, 2)], dim=1)
    np.save(tmp_path / "poses_bounds.npy", rows.double().numpy())
    blank_photos(tmp_path / "images", ("IMG_1.png", "IMG_2.png", "IMG_10.png"), (64, 48))
    known = load_posed(tmp_path)
    assert known.names == ("IMG_1.png", "IMG_10.png", "IMG_2.png"), "as text, as the script that made the file sorts"
    assert_same_cameras(known.cameras, cameras)
    blank_photos(tmp_path / "few", ("IMG_1.png", "IMG_10.png"), (64, 48))
    assert load_posed(tmp_path, tmp_path / "few").names == known.names, "the order is that of the photos beside it"
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert load_posed(tmp_path, tmp_path / "elsewhere").names == known.names
    (tmp_path / "elsewhere" / "IMG_2.png").unlink()
    with pytest.raises(InputError, match="3 photos, but there are 2"):
        load_posed(tmp_path, tmp_path / "elsewhere")


@pytest.mark.parametrize("data", [b"", b"junk", b"\x93NUMPY\x01\x00"])
def test_damaged_llff(tmp_path: Path, data: bytes):
    (tmp_path / "poses_bounds.npy").write_bytes(data)
    with pytest.raises(InputError, match="Could not read"):
        load_posed(tmp_path)


def test_llff_of_wrong_contents(tmp_path: Path):
    blank_photos(tmp_path / "images", ("a.png", "b.png"))
    for array in (np.zeros((2, 15)), np.zeros(17), np.full((2, 17), np.nan), np.zeros((2, 17)), np.array([["x"] * 17])):
        np.save(tmp_path / "poses_bounds.npy", array)
        with pytest.raises(InputError):
            load_posed(tmp_path)


@pytest.mark.parametrize("text", ["", "1 2 3", "1 2 3 4\n5 6 7 8\n9 10 11 twelve", "0 " * 12, "nan " * 12, "1 " * 12])
def test_damaged_projection(tmp_path: Path, text: str):
    blank_photos(tmp_path, ("cam_001.png",))
    (tmp_path / "pos_001.txt").write_text(text)
    with pytest.raises(InputError):
        load_posed(tmp_path)


def test_nothing_there(tmp_path: Path):
    with pytest.raises(InputError, match="There are no cameras at"):
        load_posed(tmp_path / "gone")
    with pytest.raises(InputError, match="holds no cameras"):
        load_posed(tmp_path)
    (tmp_path / "cameras.xml").write_text("<x/>")
    with pytest.raises(InputError, match="not a camera file"):
        load_posed(tmp_path / "cameras.xml")


# --- decomposition


def test_decompose_refuses_skew():
    K = torch.tensor([[500.0, 20, 320], [0, 500, 240], [0, 0, 1]])
    with pytest.raises(InputError, match="skew"):
        decompose(K @ three_cameras().cam_from_world[0, :3])


def test_decompose_recovers_random_cameras():
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        Q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        R = Q * torch.linalg.det(Q).sign()
        t = torch.randn(3, generator=generator, dtype=torch.float64)
        f, g, cx, cy = (torch.rand(4, generator=generator, dtype=torch.float64) * 900 + 100).tolist()
        K = torch.tensor([[f, 0, cx], [0, g, cy], [0, 0, 1]], dtype=torch.float64)
        scale = float(torch.randn(1, generator=generator)) * 10
        found_K, found = decompose(scale * K @ torch.cat([R, t[:, None]], dim=1))
        torch.testing.assert_close(found_K, K, atol=1e-6, rtol=1e-8)
        torch.testing.assert_close(found[:3, :3], R, atol=1e-9, rtol=0)
        torch.testing.assert_close(found[:3, 3], t, atol=1e-8, rtol=1e-8)


# --- matching


def known_as(*names: str) -> KnownCameras:
    return KnownCameras(names, three_cameras())


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        tuple(f"images/{name}" for name in NAMES),
        ("./a/IMG_1", "IMG_2.JPG.png", "x\\IMG_10.heic")[:1] + NAMES[1:],
    ],
)
def test_match_by_name_folder_or_stem(names: tuple[str, ...]):
    known = known_as(*names)
    cameras = match(known, images_of(("IMG_10.png", "IMG_1.jpg")))
    torch.testing.assert_close(cameras.cam_from_world, three_cameras().cam_from_world[[2, 0]])
    torch.testing.assert_close(cameras.Ks[0], torch.tensor([[350.0, 0, 160.5], [0, 402.5, 119.5], [0, 0, 1]]))
    assert cameras.width.tolist() == [320, 320]


def test_match_after_a_change_of_format():
    assert len(match(known_as(*NAMES), images_of(("IMG_2.heic",)))) == 1


def test_match_errors():
    with pytest.raises(InputError, match=r"No given camera for other\.jpg \(cameras given: IMG_1\.jpg"):
        match(known_as(*NAMES), images_of(("IMG_1.jpg", "other.jpg")))
    with pytest.raises(InputError, match=r"fits several given cameras \(left/a\.jpg, right/a\.jpg"):
        match(known_as("left/a.jpg", "right/a.jpg", "c.jpg"), images_of(("a.jpg",)))
    with pytest.raises(InputError, match="640 x 480 pixels, but the photo has the shape 240 x 320"):
        match(known_as(*NAMES), images_of(NAMES, 240, 320))


def test_two_photos_never_share_a_camera():
    """`a.jpg` and `a.png` are two photos: the stem alone does not say whose camera `a.jpg` is."""
    with pytest.raises(InputError, match=r"a\.jpg and a\.png both fit the given camera images/a\.jpg"):
        match(known_as("images/a.jpg", "b.jpg", "c.jpg"), images_of(("a.jpg", "a.png")))
    assert match_indices(known_as("a.png", "b.jpg", "a.jpg"), ("a.jpg", "a.png")) == [2, 0], "each has its own"
    with pytest.raises(InputError, match=r"a\.heic fits several"):
        match_indices(known_as("a.png", "b.jpg", "a.jpg"), ("a.jpg", "a.heic"))


def test_own_cameras_go_to_the_best_name():
    known = known_as("images/a.jpg", "b.jpg", "c.jpg")
    assert own_cameras(known, ("a.png", "b.png", "a.jpg", "d.jpg")) == {"b.png": 1, "a.jpg": 0}
    assert own_cameras(known, ("a.png", "a.heic")) == {}
    assert own_cameras(known_as("l/a.jpg", "r/a.jpg", "c.jpg"), ("a.jpg", "c.jpg")) == {"c.jpg": 2}
    unplaced = replace(known.cameras, registered=torch.tensor([True, False, True]))
    assert own_cameras(replace(known, cameras=unplaced), ("a.jpg", "b.jpg")) == {"a.jpg": 0}


def test_our_own_cameras_are_read_back_for_twins(tmp_path: Path):
    """`a.jpg` and `a.png` are saved as `a.jpg.jpg` and `a.png.jpg`: the cameras fit the photos, and those copies."""
    photos = ("a.jpg", "a.png", "b.heic")
    files = tuple(save_images(images_of(photos), tmp_path / "images"))
    assert files == ("a.jpg.jpg", "a.png.jpg", "b.jpg")
    extra = [{"photo": name} for name in photos]
    cameras = replace(three_cameras(), registered=torch.tensor([True, False, True]))  # the order in the file is another
    write_transforms(tmp_path / "cameras.json", files, cameras, images="images", extra=extra)
    known = load_posed(tmp_path / "cameras.json")
    for names in (photos, files):
        found = match(known, images_of(names))
        assert found.registered.tolist() == [True, False, True]
        torch.testing.assert_close(found.Ks[2, 0, 0], torch.tensor(350.0))


# --- photos that EXIF turns


def turned_photos(folder: Path, turns: dict[str, int], size: tuple[int, int] = (64, 48)) -> None:
    """Photos stored at `size`, to be turned by EXIF."""
    folder.mkdir()
    for name, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = turn
        pixels = torch.randint(256, (size[1], size[0], 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / name, exif=exif)


TURNED = {"IMG_1.jpg": 3, "IMG_2.jpg": 6, "IMG_10.png": 1}


def test_a_quarter_turn_by_exif_is_named(tmp_path: Path):
    turned_photos(tmp_path / "photos", TURNED)
    write_transforms(tmp_path / "cameras.json", NAMES, three_cameras())
    known = load_posed(tmp_path / "cameras.json", tmp_path / "photos")
    with pytest.raises(
        InputError, match=r"camera of IMG_2\.jpg is for 640 x 480 .* shape 48 x 64\. .*EXIF orientation 6"
    ):
        match(known, load_images(tmp_path / "photos"))
    with pytest.raises(InputError, match="neither cropped nor rotated"):  # it was not EXIF that cut this one
        match(known, images_of(("IMG_2.jpg",), 80, 30))
    with pytest.raises(InputError, match="neither cropped nor rotated"):  # nor half a turn that put it on its side
        match(known, images_of(("IMG_1.jpg",), 48, 64))


def test_turns_that_keep_the_shape_are_warned_of(tmp_path: Path):
    turned_photos(tmp_path / "photos", TURNED)
    turned_photos(tmp_path / "square", dict.fromkeys(NAMES, 8), (48, 48))
    write_transforms(tmp_path / "cameras.json", NAMES, three_cameras())
    (warning,) = load_posed(tmp_path / "cameras.json", tmp_path / "photos").warnings
    assert "IMG_1.jpg (EXIF orientation 3)" in warning
    assert "IMG_2" not in warning, "a quarter turn is an error where the camera does not fit, and right where it does"
    assert load_posed(tmp_path / "cameras.json").warnings == ()
    square = replace(three_cameras(), width=torch.full((3,), 480))
    write_transforms(tmp_path / "square.json", NAMES, square)
    (warning,) = load_posed(tmp_path / "square.json", tmp_path / "square").warnings
    assert all(name in warning for name in NAMES)


def test_our_own_cameras_are_for_upright_photos(tmp_path: Path):
    turned_photos(tmp_path / "photos", TURNED)
    write_transforms(tmp_path / "cameras.json", NAMES, three_cameras(), extra=[{"photo": name} for name in NAMES])
    assert load_posed(tmp_path / "cameras.json", tmp_path / "photos").warnings == ()


# --- distortion


def test_apply_known_leaves_straight_photos_alone():
    images = images_of(NAMES)
    same, cameras = apply_known(known_as(*NAMES), images)
    assert same is images
    assert len(cameras) == 3


def test_undistort_puts_points_where_a_pinhole_camera_sees_them():
    """Draw dots where a distorting lens images them; after straightening they lie at their pinhole projections."""
    K = np.array([[300.0, 0, 160.0], [0, 300.0, 120.0], [0, 0, 1]])
    bend = np.array([-0.2, 0.05, 0.003, -0.002, 0.01, 0, 0, 0])
    rays = np.array([[x, y, 1.0] for x in (-0.4, -0.1, 0.3) for y in (-0.3, 0.05, 0.25)])
    bent = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, bend)[0][:, 0]
    straight = rays[:, :2] * 300 + [160, 120]
    assert np.abs(bent - straight).max() > 3, "the lens bends enough to matter"
    centers = np.stack(np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5), axis=-1)

    def dots(at: np.ndarray) -> torch.Tensor:
        distance2 = ((centers[:, :, None] - at) ** 2).sum(-1)
        return torch.from_numpy(np.exp(-distance2 / 8).max(-1)).float()[..., None].repeat(1, 1, 3)

    images = ImageSet(("a",), (dots(bent),), torch.tensor([torch.nan]), torch.tensor([0]), (torch.ones(240, 320),))
    cameras = Cameras.create(torch.eye(4)[None], torch.tensor(K, dtype=torch.float32)[None], 320, 240)
    found = undistort(images, cameras, torch.tensor(bend, dtype=torch.float32)[None]).images[0].numpy()
    for x, y in straight:
        window = (np.abs(centers - [x, y]) < 6).all(-1)
        weight = found[..., 0] * window
        centroid = (weight[..., None] * centers).sum((0, 1)) / weight.sum()
        assert np.abs(centroid - [x, y]).max() < 0.1
    assert float((undistort(images, cameras, torch.zeros(1, 8)).images[0] - images.images[0]).abs().max()) == 0


def test_apply_known_straightens_in_the_photos_order():
    bend = torch.zeros(3, 8)
    bend[2, 0] = -0.2
    known = replace(known_as(*NAMES), distortion=bend)
    images = images_of(("IMG_10.png", "IMG_1.jpg"))
    straight, _ = apply_known(known, images)
    assert not torch.equal(straight.images[0], images.images[0])
    assert torch.equal(straight.images[1], images.images[1])
