"""Everything a user's folder may hold that is not a good photo: a plain sentence each time, never a traceback."""

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from photo_folders import DEMO_NAMES, demo_photo, fill
from PIL import Image

from recon.data import ImagesConfig, load_images
from recon.data.decode import UnreadablePhotoError, decode_photo
from recon.errors import InputError


def error_of(folder: Path, **settings) -> str:
    with pytest.raises(InputError) as caught:
        load_images(folder, ImagesConfig(**settings))
    return str(caught.value)


def warnings_of(folder: Path, **settings) -> tuple[tuple[str, ...], str]:
    """Names that were loaded, and all warnings."""
    images = load_images(folder, ImagesConfig(**settings))
    return images.names, " | ".join(images.warnings)


# --- the folder


def test_missing_folder(tmp_path: Path):
    assert "There is no folder" in error_of(tmp_path / "scene")


def test_empty_folder_says_what_is_supported(tmp_path: Path):
    message = error_of(tmp_path)
    assert "Need at least 2 photos, found none in" in message
    assert ".heic" in message
    assert "--images" in message


def test_one_photo(tmp_path: Path, demo_images: Path):
    message = error_of(fill(tmp_path / "scene", demo_images, 1))
    assert message.startswith(f"Need at least 2 photos, found 1 in {tmp_path / 'scene'} (supported: .jpg")
    assert message.endswith("Add photos or pass --images another folder.")


def test_file_instead_of_folder(demo_images: Path):
    assert f"Pass the folder that holds the photos: {demo_images}" in error_of(demo_images / DEMO_NAMES[0])


def test_video_instead_of_folder(tmp_path: Path):
    (tmp_path / "clip.MOV").write_bytes(b"moov")
    assert "ffmpeg -i clip.MOV" in error_of(tmp_path / "clip.MOV")


def test_only_subfolders_says_where_the_photos_are(tmp_path: Path, demo_images: Path):
    fill(tmp_path / "left", demo_images, 2)
    fill(tmp_path / "right", demo_images, 3)
    fill(tmp_path / "recon", demo_images, 4)
    message = error_of(tmp_path)
    assert "left/ (2), right/ (3)" in message
    assert f"--images {tmp_path / 'right'}" in message
    assert "recon/" not in message


def test_run_folder_is_never_read(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    fill(tmp_path / "recon" / "renders", demo_images, 6)
    assert warnings_of(tmp_path) == (("a0.png", "a1.png"), "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_and_file(tmp_path: Path, demo_images: Path):
    fill(tmp_path / "scene", demo_images, 3)
    (tmp_path / "scene" / "a1.png").chmod(0)
    names, warnings = warnings_of(tmp_path / "scene")
    assert names == ("a0.png", "a2.png")
    assert "permission" in warnings
    (tmp_path / "scene").chmod(0)
    try:
        assert "Permission denied" in error_of(tmp_path / "scene")
    finally:
        (tmp_path / "scene").chmod(0o755)


# --- files that are not photos


def test_hidden_files_and_apple_doubles_are_silent(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    (tmp_path / "._a0.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".hidden.jpg").write_bytes(b"x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.jpg").mkdir()
    assert warnings_of(tmp_path) == (("a0.png", "a1.png"), "")


def test_videos_raw_and_other_pictures_get_a_hint(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    for name in ("clip.mp4", "b.CR2", "c.dng", "d.NEF", "e.arw", "anim.gif"):
        (tmp_path / name).write_bytes(b"x")
    _, warnings = warnings_of(tmp_path)
    assert "b.CR2, c.dng, d.NEF and 1 more not read: RAW" in warnings
    assert "clip.mp4 not read: extract frames" in warnings
    assert "anim.gif not read: convert" in warnings


def test_raw_and_clip_beside_their_own_photo_are_silent(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    (tmp_path / "a0.DNG").write_bytes(b"x")
    (tmp_path / "A1.MOV").write_bytes(b"x")
    assert warnings_of(tmp_path)[1] == ""


def test_folder_of_raw_files_only(tmp_path: Path):
    (tmp_path / "a.nef").write_bytes(b"x")
    message = error_of(tmp_path)
    assert "found none" in message
    assert "a.nef not read: RAW photos must be exported" in message


# --- damaged photos


def damaged(kind: str, path: Path, photo: Image.Image) -> None:
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not a picture")
    elif kind == "broken link":
        path.symlink_to(path.parent / "gone.jpg")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "header only":
        photo.save(path)
        path.write_bytes(path.read_bytes()[:30])
    elif kind == "half":
        photo.save(path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "zeros":
        photo.save(path)
        path.write_bytes(bytes(len(path.read_bytes())))
    else:
        raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["zero bytes", "text", "broken link", "pipe", "header only", "half", "zeros"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "heic", "bmp"])
def test_damaged_photo_is_named_and_left_out(tmp_path: Path, demo_images: Path, kind: str, suffix: str):
    fill(tmp_path, demo_images, 2)
    damaged(kind, tmp_path / f"bad.{suffix}", demo_photo(demo_images, 2))
    names, warnings = warnings_of(tmp_path)
    assert names == ("a0.png", "a1.png")
    assert f"Left out bad.{suffix}: " in warnings
    (tmp_path / "a1.png").unlink()
    message = error_of(tmp_path)
    assert "found 1 in" in message
    assert f"bad.{suffix}" in message, "the error says why there are too few"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "heic"])
def test_random_damage_never_escapes(tmp_path: Path, demo_images: Path, suffix: str):
    path = tmp_path / f"a.{suffix}"
    demo_photo(demo_images, 0, (40, 60)).save(path)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        broken = data.copy()
        where = rng.integers(0, min(len(data), 400), 8)
        broken[where] = rng.integers(0, 256, 8)
        path.write_bytes(broken[: rng.integers(len(data) // 2, len(data) + 1)].tobytes())
        try:
            photo = decode_photo(path, 64, 10)
        except UnreadablePhotoError:
            outcomes.add("refused")
            continue
        outcomes.add("read")
        assert 0 <= float(photo.rgb.min()) <= float(photo.rgb.max()) <= 1
    assert "refused" in outcomes


def test_wrong_suffix_is_no_problem(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 1)
    demo_photo(demo_images, 1).save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.jpg")
    assert warnings_of(tmp_path) == (("a0.png", "b.jpg"), "")


def test_nothing_usable_left(tmp_path: Path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    message = error_of(tmp_path)
    assert "found none" in message
    assert "a.jpg: the file is empty (0 bytes)" in message


def test_transparent_everywhere(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    photo = demo_photo(demo_images, 2)
    photo.putalpha(0)
    photo.save(tmp_path / "b.png")
    names, warnings = warnings_of(tmp_path)
    assert names == ("a0.png", "a1.png")
    assert "b.png: it is transparent everywhere" in warnings


def test_undecodable_name(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    try:
        shutil.copy(demo_images / DEMO_NAMES[2], os.fsencode(tmp_path) + b"/b\xff.jpg")
    except OSError:
        pytest.skip("this file system refuses such names")
    names, warnings = warnings_of(tmp_path)
    assert names == ("a0.png", "a1.png")
    assert "not valid UTF-8" in warnings


def test_names_of_all_kinds(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 3)
    names = ["my photo (1).png", "пример 2.png", "%s{x}.png"]
    for i, name in enumerate(names):
        (tmp_path / f"a{i}.png").rename(tmp_path / name)
    assert set(load_images(tmp_path).names) == set(names)


# --- huge photos


def png_of_zeros(path: Path, width: int, height: int) -> None:
    """A valid one-bit black PNG, built without the pixels in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    squeeze = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_photo_beyond_the_limit_is_named(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 2)
    png_of_zeros(tmp_path / "huge.png", 30000, 20000)
    names, warnings = warnings_of(tmp_path)
    assert names == ("a0.png", "a1.png")
    assert "huge.png: it has 30000 x 20000 pixels (600 megapixels, the limit is 400)" in warnings


def test_photo_beyond_pillows_own_limit_is_read(tmp_path: Path):
    """Pillow refuses 179 megapixels and more by default; a stitched panorama has them."""
    png_of_zeros(tmp_path / "a.png", 20000, 9000)
    assert decode_photo(tmp_path / "a.png", 100, 400).rgb.shape == (45, 100, 3)
    with pytest.raises(Image.DecompressionBombError):  # and the limit of everybody else is back
        Image.open(tmp_path / "a.png")


def test_large_jpeg_is_decoded_small(tmp_path: Path):
    """40 megapixels as floats would be 480 MB; decoding at reduced size stays far below."""
    Image.new("RGB", (8000, 5000), (40, 90, 140)).save(tmp_path / "a.jpg", quality=80)
    code = (
        "import resource, sys; from pathlib import Path; from recon.data.decode import decode_photo\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decode_photo(Path(sys.argv[2]), 400, 400)\n"
        "before = peak(); shape = decode_photo(Path(sys.argv[1]), 400, 400).rgb.shape\n"
        "print(shape[0], shape[1], (peak() - before) // 1024)"
    )
    Image.new("RGB", (60, 40)).save(tmp_path / "b.jpg")
    arguments = [sys.executable, "-c", code, str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    height, width, grown_mb = map(int, subprocess.run(arguments, capture_output=True, check=True).stdout.split())
    assert (height, width) == (250, 400)
    assert grown_mb < 60


def test_text_bomb_in_png_is_refused(tmp_path: Path, demo_images: Path):
    from PIL import PngImagePlugin

    fill(tmp_path, demo_images, 2)
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "0" * 80_000_000, zip=True)
    demo_photo(demo_images, 2).save(tmp_path / "b.png", pnginfo=info)
    names, warnings = warnings_of(tmp_path)
    assert names == ("a0.png", "a1.png")
    assert "Left out b.png: damaged" in warnings


# --- the same photo twice


def test_exact_copies_are_dropped(tmp_path: Path, demo_images: Path):
    fill(tmp_path, demo_images, 3)
    shutil.copy(tmp_path / "a1.png", tmp_path / "a1 (copy).png")
    names, warnings = warnings_of(tmp_path)
    assert len(names) == 3
    assert "exact copy of" in warnings
    assert warnings_of(tmp_path, drop_duplicates=False)[0] == ("a0.png", "a1 (copy).png", "a1.png", "a2.png")


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("suffix", ["jpg", "webp", "heic"])
def test_reencoded_copies_are_dropped(tmp_path: Path, demo_images: Path, quality: int, suffix: str):
    for name in DEMO_NAMES[:2]:
        shutil.copy(demo_images / name, tmp_path)
    with Image.open(demo_images / DEMO_NAMES[0]) as photo:
        photo.save(tmp_path / f"again.{suffix}", quality=quality)
    names, warnings = warnings_of(tmp_path)
    assert len(names) == 2
    assert "shows the same picture as" in warnings


def test_the_larger_of_two_copies_stays(tmp_path: Path, demo_images: Path):
    for name in DEMO_NAMES[:2]:
        shutil.copy(demo_images / name, tmp_path)
    with Image.open(demo_images / DEMO_NAMES[0]) as photo:
        photo.resize((214, 320), Image.Resampling.BOX).save(tmp_path / "a_small.png")
    names, warnings = warnings_of(tmp_path)
    assert names == DEMO_NAMES[:2]
    assert f"Left out a_small.png: it shows the same picture as {DEMO_NAMES[0]}" in warnings


def test_neighbouring_photos_are_not_taken_for_copies(demo_images: Path):
    assert len(load_images(demo_images, ImagesConfig(max_side=160))) == 6


def test_slightly_moved_camera_is_not_a_copy(tmp_path: Path, demo_images: Path):
    """Two crops of one photo, 12 of 428 pixels apart: as little parallax as two photos by hand ever have."""
    with Image.open(demo_images / DEMO_NAMES[0]) as photo:
        photo.crop((0, 0, 400, 640)).save(tmp_path / "a.png")
        photo.crop((12, 0, 412, 640)).save(tmp_path / "b.png")
    assert warnings_of(tmp_path) == (("a.png", "b.png"), "")


def test_only_copies_left_is_an_error_that_says_so(tmp_path: Path, demo_images: Path):
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(demo_images / DEMO_NAMES[0], tmp_path / name)
    message = error_of(tmp_path)
    assert "found 1" in message
    assert "b.jpg: it is an exact copy of a.jpg" in message


# --- settings


def test_senseless_settings():
    with pytest.raises(InputError, match="max_side is 0"):
        ImagesConfig(max_side=0)
