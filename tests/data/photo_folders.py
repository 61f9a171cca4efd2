"""Folders of photos for the tests: the demo's, changed in one way each."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

DEMO_NAMES = ("door_01.jpg", "door_03.jpg", "door_05.jpg", "door_07.jpg", "door_09.jpg", "door_11.jpg")


def demo_photo(demo: Path, index: int, size: tuple[int, int] = (120, 180)) -> Image.Image:
    """A small copy of one demo photo, decoded."""
    with Image.open(demo / DEMO_NAMES[index]) as image:
        return image.convert("RGB").resize(size, Image.Resampling.BOX)


def fill(folder: Path, demo: Path, count: int, change: Callable[[Image.Image], Image.Image] | None = None) -> Path:
    """Write `count` different small PNG photos `a0.png` ... to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        photo = demo_photo(demo, i)
        (photo if change is None else change(photo)).save(folder / f"a{i}.png")
    return folder
