"""Formats, colour modes, EXIF, masks: what a camera or an editor may have written."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from photo_folders import demo_photo, fill
from PIL import Image, ImageCms

from recon.data import ImagesConfig, fingerprint, load_images, resize, save_images, select
from recon.data.decode import decode_photo, photo_size
from recon.data.decode import orientation as turn_of
from recon.data.exif import focal_px, lens_key
from recon.errors import InputError
from recon.events import Event, Progress, Warned
from recon.types import ImageSet

UPRIGHT_TO_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image, dtype=np.float32)) / 255


def decode(path: Path, max_side: int = 1600):
    return decode_photo(path, max_side, 400)


def test_demo_photos_load_in_order(demo_images: Path):
    events: list[Event] = []
    images = load_images(demo_images, emit=events.append)
    assert images.names == ("door_01.jpg", "door_03.jpg", "door_05.jpg", "door_07.jpg", "door_09.jpg", "door_11.jpg")
    assert all(image.shape == (640, 428, 3) for image in images.images)
    assert images.masks is None
    assert images.warnings == ()
    assert images.camera_ids.tolist() == [0] * 6
    assert bool(images.focal_px.isnan().all())
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == 6
    with Image.open(demo_images / "door_05.jpg") as photo:
        torch.testing.assert_close(images.images[2], pixels(photo))


def test_natural_order(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 4)
    for i, name in enumerate(["IMG_10.png", "img_9.png", "IMG_2.png", "b.png"]):
        (tmp_path / f"a{i}.png").rename(tmp_path / name)
    assert load_images(tmp_path).names == ("b.png", "IMG_2.png", "img_9.png", "IMG_10.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "heic", "heif", "JPG"])
def test_every_format_shows_the_same_picture(tmp_path: Path, demo_images: Path, suffix: str):
    photo = demo_photo(demo_images, 0)
    options = {"lossless": True} if suffix == "webp" else {"quality": 95} if suffix not in ("png", "tif", "bmp") else {}
    photo.save(tmp_path / f"a.{suffix}", **options)
    decoded = decode(tmp_path / f"a.{suffix}")
    assert decoded.rgb.shape == (180, 120, 3)
    assert decoded.alpha is None
    assert float((decoded.rgb - pixels(photo)).abs().mean()) < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
def test_orientation_is_undone(tmp_path: Path, demo_images: Path, orientation: int, suffix: str):
    photo = demo_photo(demo_images, 0)
    turn = UPRIGHT_TO_STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    (photo if turn is None else photo.transpose(turn)).save(path, exif=exif, quality=95)
    decoded = decode(path)
    assert decoded.file_size == photo_size(path) == (120, 180)
    assert turn_of(path) == orientation
    assert float((decoded.rgb - pixels(photo)).abs().mean()) < 0.03
    small = decode(path, max_side=90)
    assert small.rgb.shape == (90, 60, 3)


def test_exif_does_not_turn_heic(tmp_path: Path, demo_images: Path):
    """A HEIC's own rotation property, applied by its decoder, is the truth; the EXIF copy must not turn it again."""
    photo = demo_photo(demo_images, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "a.heic", exif=exif, quality=90)
    decoded = decode(tmp_path / "a.heic")
    assert decoded.file_size == photo_size(tmp_path / "a.heic") == (120, 180)
    assert turn_of(tmp_path / "a.heic") == 1
    assert float((decoded.rgb - pixels(photo)).abs().mean()) < 0.03


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits(tmp_path: Path, demo_images: Path, suffix: str, channels: int):
    photo = demo_photo(demo_images, 0)
    values = np.array(photo if channels == 3 else photo.convert("L")).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), values[..., ::-1] if channels == 3 else values)
    truth = pixels(photo) if channels == 3 else pixels(photo.convert("L"))[..., None].expand(-1, -1, 3)
    torch.testing.assert_close(decode(tmp_path / f"a.{suffix}").rgb, truth, atol=1 / 255, rtol=0)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_float_tiff_tells_its_scale(tmp_path: Path, demo_images: Path, white: float):
    grey = pixels(demo_photo(demo_images, 0).convert("L"))
    grey = grey / grey.max()
    Image.fromarray((grey * white).numpy()).save(tmp_path / "a.tif")
    torch.testing.assert_close(decode(tmp_path / "a.tif").rgb[..., 0], grey, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_color_modes(tmp_path: Path, demo_images: Path, mode: str):
    photo = demo_photo(demo_images, 0)
    converted = photo.convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    converted.save(path)
    torch.testing.assert_close(decode(path).rgb, pixels(converted.convert("RGB")), atol=1.01 / 255, rtol=0)


def test_cmyk_jpeg_looks_like_the_photo(tmp_path: Path, demo_images: Path):
    photo = demo_photo(demo_images, 0)
    photo.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert float((decode(tmp_path / "a.jpg").rgb - pixels(photo)).abs().mean()) < 0.03


def test_color_profile_is_applied(tmp_path: Path, demo_images: Path):
    """The same numbers are other colours under a linear-light profile; an sRGB profile changes nothing."""
    photo = demo_photo(demo_images, 0)
    photo.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    torch.testing.assert_close(decode(tmp_path / "srgb.png").rgb, pixels(photo))
    photo.save(tmp_path / "linear.png", icc_profile=_gamma_one_profile())
    decoded = decode(tmp_path / "linear.png").rgb
    encoded = pixels(photo)
    srgb = torch.where(encoded <= 0.0031308, 12.92 * encoded, 1.055 * encoded.clamp_min(1e-6) ** (1 / 2.4) - 0.055)
    torch.testing.assert_close(decoded, srgb, atol=0.02, rtol=0)


def test_broken_color_profile_is_ignored(tmp_path: Path, demo_images: Path):
    photo = demo_photo(demo_images, 0)
    photo.save(tmp_path / "a.png", icc_profile=b"not a profile at all" * 20)
    torch.testing.assert_close(decode(tmp_path / "a.png").rgb, pixels(photo))


def test_alpha_becomes_a_mask_on_white(tmp_path: Path, demo_images: Path):
    photo = demo_photo(demo_images, 0)
    alpha = Image.new("L", photo.size, 0)
    alpha.paste(255, (30, 40, 90, 140))
    photo.putalpha(alpha)
    photo.save(tmp_path / "a.png")
    demo_photo(demo_images, 1).save(tmp_path / "b.png")
    images = load_images(tmp_path)
    assert images.masks is not None
    torch.testing.assert_close(images.masks[0], pixels(alpha))
    assert float(images.masks[1].min()) == 1
    assert float(images.images[0][:30].min()) == 1, "transparent pixels are white"
    torch.testing.assert_close(images.images[0][40:140, 30:90], pixels(photo.convert("RGB"))[40:140, 30:90])


def test_opaque_alpha_is_no_mask(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2, lambda photo: photo.convert("RGBA"))
    assert load_images(tmp_path).masks is None
    assert load_images(tmp_path, ImagesConfig(max_side=64)).masks is None


def test_palette_transparency(tmp_path: Path, demo_images: Path):
    photo = demo_photo(demo_images, 0).quantize(32)
    photo.save(tmp_path / "a.png", transparency=0)
    decoded = decode(tmp_path / "a.png")
    assert decoded.alpha is not None
    torch.testing.assert_close(decoded.alpha, torch.from_numpy((np.array(photo) != 0).astype(np.float32)))


def test_mask_folder(tmp_path: Path, demo_images: Path):
    fill(tmp_path / "p", demo_images, 3)
    (tmp_path / "m").mkdir()
    half = Image.new("L", (240, 360), 0)
    half.paste(255, (0, 0, 120, 360))
    half.save(tmp_path / "m" / "a0.png")
    half.point(lambda v: v // 255).save(tmp_path / "m" / "a1.png.png")  # labels 0 and 1, COLMAP's naming
    images = load_images(tmp_path / "p", ImagesConfig(masks=tmp_path / "m"))
    assert images.masks is not None
    for mask in images.masks[:2]:
        assert mask.shape == (180, 120)
        assert float(mask[:, :59].min()) == 1
        assert float(mask[:, 61:].max()) == 0
    assert float(images.masks[2].min()) == 1
    assert any("a2.png" in warning for warning in images.warnings)


def test_bad_mask_folders(tmp_path: Path, demo_images: Path):
    fill(tmp_path / "p", demo_images, 2)
    with pytest.raises(InputError, match="no mask folder"):
        load_images(tmp_path / "p", ImagesConfig(masks=tmp_path / "none"))
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match=r"No mask in .* belongs to a photo"):
        load_images(tmp_path / "p", ImagesConfig(masks=tmp_path / "m"))
    Image.new("L", (50, 50)).save(tmp_path / "m" / "a0.png")
    with pytest.raises(InputError, match="50 x 50"):
        load_images(tmp_path / "p", ImagesConfig(masks=tmp_path / "m"))
    (tmp_path / "m" / "a0.png").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"a0\.png cannot be used"):
        load_images(tmp_path / "p", ImagesConfig(masks=tmp_path / "m"))


def test_shrinks_while_loading(tmp_path: Path, demo_images: Path):
    demo_photo(demo_images, 0, (3000, 2000)).save(tmp_path / "a.jpg", quality=90)
    decoded = decode(tmp_path / "a.jpg", max_side=600)
    assert decoded.rgb.shape == (400, 600, 3)
    assert decoded.file_size == (3000, 2000)
    truth = pixels(demo_photo(demo_images, 0, (600, 400)))
    assert float((decoded.rgb - truth).abs().mean()) < 0.02


def exif_bytes(**tags: float) -> dict[int, object]:
    keys = {"mm": 0x920A, "film": 0xA405, "fpx": 0xA20E, "unit": 0xA210, "px": 0xA002, "py": 0xA003}
    return {keys[name]: value for name, value in tags.items()}


@pytest.mark.parametrize(
    ("tags", "size", "expected"),
    [
        # 26 mm equivalent on 4:3: diagonals compare. 26 / 43.2666 * 5000
        ({"film": 26}, (4000, 3000), 3004.62),
        ({"film": 26}, (3000, 4000), 3004.62),
        # 18 mm on a 22.3 mm wide sensor of 5184 pixels, resolution in pixels per inch
        ({"mm": 18, "fpx": 5184 / 22.3 * 25.4, "unit": 2, "px": 5184, "py": 3456}, (5184, 3456), 18 / 22.3 * 5184),
        # the same, shrunk to half after it was taken, and turned
        ({"mm": 18, "fpx": 5184 / 22.3 * 10, "unit": 3, "px": 5184, "py": 3456}, (1728, 2592), 18 / 22.3 * 2592),
        # a wrong resolution is outvoted
        ({"mm": 18, "fpx": 72, "unit": 2, "film": 29}, (6000, 4000), 29 / 43.2666 * math.hypot(6000, 4000)),
        ({"mm": 18, "fpx": 5000, "unit": 2, "film": 29}, (6000, 4000), 29 / 43.2666 * math.hypot(6000, 4000)),
        # absurd, zero, missing, cropped
        ({"film": 2000}, (4000, 3000), math.nan),
        ({"film": 0}, (4000, 3000), math.nan),
        ({"mm": 4.2}, (4000, 3000), math.nan),
        ({"film": 26, "px": 4000, "py": 3000}, (3000, 3000), math.nan),
        ({"film": float("nan")}, (4000, 3000), math.nan),
    ],
)
def test_focal_from_exif(tags: dict[str, float], size: tuple[int, int], expected: float):
    found = focal_px(exif_bytes(**tags), *size)
    assert found == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_exif_reaches_the_image_set(tmp_path: Path, demo_images: Path):
    for i, (film, orientation) in enumerate([(26, 1), (26, 1), (52, 1), (26, 6)]):
        exif = Image.Exif()
        exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Phone", orientation
        exif.get_ifd(0x8769)[0xA405] = film
        photo = demo_photo(demo_images, i)
        if orientation == 6:
            photo = photo.transpose(Image.Transpose.ROTATE_90)
        photo.save(tmp_path / f"{i}.jpg", exif=exif, quality=90)
    images = load_images(tmp_path, ImagesConfig(max_side=90))
    focal = 26 / 43.2666 * math.hypot(60, 90)
    torch.testing.assert_close(images.focal_px, torch.tensor([focal, focal, 2 * focal, focal]), rtol=1e-4, atol=0)
    assert images.camera_ids.tolist() == [0, 0, 1, 0], "zoom differs on the third only"
    smaller = resize(images, 45)
    torch.testing.assert_close(smaller.focal_px, images.focal_px / 2)


def test_lens_key_tells_zoom_and_maker_apart():
    base = {0x010F: "Maker\0", 0x0110: "Phone ", 0x920A: 4.2}
    assert lens_key(base) == lens_key({**base, 0x010F: "Maker"})
    assert lens_key(base) != lens_key({**base, 0x920A: 9.0})
    assert lens_key({}) == ()


def test_mixed_sizes_have_cameras_of_their_own(tmp_path: Path, demo_images: Path):
    sizes = [(120, 180), (180, 120), (120, 180)]
    for i, size in enumerate(sizes):
        demo_photo(demo_images, i, size).save(tmp_path / f"{i}.png")
    images = load_images(tmp_path)
    assert images.camera_ids.tolist() == [0, 1, 0]
    assert [tuple(image.shape[:2]) for image in images.images] == [(180, 120), (120, 180), (180, 120)]


def test_resize_averages_areas_and_never_enlarges():
    image = torch.arange(4 * 8 * 3, dtype=torch.float32).reshape(4, 8, 3) / 96
    images = ImageSet(("a",), (image,), torch.tensor([10.0]), torch.tensor([0]), (image[..., 0],))
    small = resize(images, 4)
    blocks = image.reshape(2, 2, 4, 2, 3).mean(dim=(1, 3))
    torch.testing.assert_close(small.images[0], blocks)
    assert small.masks is not None
    torch.testing.assert_close(small.masks[0], blocks[..., 0])
    assert float(small.focal_px[0]) == 5
    assert resize(images, 100).images[0] is image


def test_select_keeps_what_belongs_together(demo_images: Path):
    images = load_images(demo_images)
    part = select(images, [4, 1])
    assert part.names == ("door_09.jpg", "door_03.jpg")
    assert part.images[0] is images.images[4]


def test_save_images_round_trip(tmp_path: Path, demo_images: Path):
    images = resize(load_images(demo_images), 128)
    names = save_images(images, tmp_path / "images")
    assert names[0] == "door_01.jpg"
    again = load_images(tmp_path / "images")
    assert float((again.images[0] - images.images[0]).abs().mean()) < 0.02
    twins = ImageSet(("x.png", "x.tif"), images.images[:2], images.focal_px[:2], images.camera_ids[:2])
    assert save_images(twins, tmp_path / "twins") == ["x.png.jpg", "x.tif.jpg"]


def test_fingerprint_follows_names_bytes_masks_and_settings(tmp_path: Path, demo_images: Path):
    folder = fill(tmp_path / "p", demo_images, 2)
    first = fingerprint(folder)
    assert fingerprint(folder) == first
    assert fingerprint(folder, ImagesConfig(max_side=99)) != first
    (folder / "recon").mkdir()
    (folder / "recon" / "render.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("no photo")
    assert fingerprint(folder) == first
    (tmp_path / "m").mkdir()
    demo_photo(demo_images, 0).convert("L").save(tmp_path / "m" / "a0.png")
    masked = fingerprint(folder, ImagesConfig(masks=tmp_path / "m"))
    with pytest.raises(InputError, match="no mask folder"):
        fingerprint(folder, ImagesConfig(masks=tmp_path / "gone"))
    assert masked != first
    (folder / "a0.png").rename(folder / "b0.png")
    renamed = fingerprint(folder)
    assert renamed != first
    demo_photo(demo_images, 4).save(folder / "b0.png")
    assert fingerprint(folder) not in (first, renamed)


def test_warnings_are_events_and_kept(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    events: list[Event] = []
    images = load_images(tmp_path, emit=events.append)
    assert [event.message for event in events if isinstance(event, Warned)] == list(images.warnings)
    assert "broken.png" in images.warnings[0]


def _gamma_one_profile() -> bytes:
    """sRGB's profile with its tone curves replaced by the identity: a linear-light RGB profile."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    identity = b"curv\0\0\0\0\0\0\0\0"
    count = int.from_bytes(data[128:132], "big")
    for i in range(count):
        entry = 132 + 12 * i
        if bytes(data[entry : entry + 4]) in (b"rTRC", b"gTRC", b"bTRC"):
            offset = int.from_bytes(data[entry + 4 : entry + 8], "big")
            data[offset : offset + 12] = identity
            data[entry + 8 : entry + 12] = (12).to_bytes(4, "big")
        if bytes(data[entry : entry + 4]) == b"desc":
            offset = int.from_bytes(data[entry + 4 : entry + 8], "big")
            size = int.from_bytes(data[entry + 8 : entry + 12], "big")
            data[offset + 8 : offset + size] = bytes(data[offset + 8 : offset + size]).replace(
                b"s\0R\0G\0B", b"l\0i\0n\0r"
            )
    return bytes(data)
