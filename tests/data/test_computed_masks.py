"""Masks computed for photos that came without."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon.data import ImagesConfig, fingerprint, load_images
from recon.data.masks import AUTO, NONE, compute_masks
from recon.errors import InputError
from recon.events import Event, Warned
from recon.priors.segment import get


class Fixed:
    """Answers with given masks in turn."""

    name = "fixed"

    def __init__(self, *masks: torch.Tensor | None) -> None:
        self.masks = list(masks)

    def available(self) -> tuple[bool, str]:
        return True, ""

    def segment(self, photo: torch.Tensor) -> torch.Tensor | None:
        return self.masks.pop(0)


def test_only_clear_objects_become_masks_and_the_others_are_named():
    clear = torch.zeros(20, 30)
    clear[5:15, 10:20] = 1
    vague, nothing = torch.full((20, 30), 0.5), torch.zeros(20, 30)
    photos = [torch.rand(20, 30, 3) for _ in range(6)]
    masks, warnings = compute_masks([*"abcdef"], photos, Fixed(clear, vague, nothing, None, clear, clear))
    assert masks[0] is masks[4] is masks[5] is clear
    assert masks[1:4] == [None, None, None]
    assert len(warnings) == 1
    assert "b, c, d: the whole photo" in warnings[0]
    assert "--masks" in warnings[0]


def test_what_most_photos_do_not_show_is_no_object():
    clear = torch.zeros(20, 30)
    clear[5:15, 10:20] = 1
    masks, warnings = compute_masks([*"abc"], [torch.rand(20, 30, 3)] * 3, Fixed(clear, None, None))
    assert masks == [None, None, None]
    assert len(warnings) == 1
    assert "b, c: all photos" in warnings[0]


def test_a_place_is_not_masked(demo_images: Path):
    """The door of the demo photos, which fills some of them, is no object."""
    images = load_images(demo_images, ImagesConfig(masks=AUTO, max_side=640))
    assert images.masks is None
    assert any("all photos are used whole" in warning for warning in images.warnings)


def test_no_warning_where_all_is_clear_and_none_segments_nothing():
    photo = torch.full((100, 140, 3), 0.9)
    photo[30:70, 40:100] = torch.tensor([0.7, 0.1, 0.1])
    masks, warnings = compute_masks(["a"], [photo], get("u2netp"))
    assert warnings == []
    assert masks[0] is not None
    assert float(masks[0][40:60, 50:90].mean()) > 0.9
    assert compute_masks(["a"], [photo], get("none"))[0] == [None]


def object_photos(folder: Path) -> Path:
    """Three photos: a red box on white at two places, and with an alpha channel that shows its left half."""
    folder.mkdir()
    for i, left in enumerate((20, 60, 40)):
        photo = np.full((100, 140, 4), 230, np.uint8)
        photo[..., 3] = 255
        photo[30:70, left : left + 60, :3] = (180, 25, 25)
        if i == 2:
            photo[:, left + 30 :, 3] = 0
        Image.fromarray(photo).save(folder / f"a{i}.png")
    return folder


def test_auto_masks_the_photos_without_alpha(tmp_path: Path):
    events: list[Event] = []
    images = load_images(object_photos(tmp_path / "p"), ImagesConfig(masks=AUTO), events.append)
    assert images.masks is not None
    assert float(images.masks[0][40:60, 30:70].mean()) > 0.9
    assert float(images.masks[1][40:60, 70:110].mean()) > 0.9
    assert float(images.masks[1][:20].max()) < 0.1
    assert float(images.masks[2][:, :70].min()) == 1, "the alpha channel is the photographer's word"
    assert not [event for event in events if isinstance(event, Warned)]


def test_auto_says_which_photos_show_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clear = torch.zeros(100, 140)
    clear[30:70, 20:80] = 1
    monkeypatch.setattr("recon.data.images.get", lambda name: Fixed(clear, None))
    events: list[Event] = []
    images = load_images(object_photos(tmp_path / "p"), ImagesConfig(masks=AUTO), events.append)
    assert images.masks is not None
    assert images.masks[0] is clear
    assert float(images.masks[1].min()) == 1
    (warning,) = [event.message for event in events if isinstance(event, Warned)]
    assert "a1.png" in warning
    assert images.warnings == (warning,)


def test_none_ignores_alpha(tmp_path: Path):
    folder = object_photos(tmp_path / "p")
    assert load_images(folder).masks is not None
    assert load_images(folder, ImagesConfig(masks=NONE)).masks is None


def test_fingerprint_tells_the_words_apart(tmp_path: Path):
    folder = object_photos(tmp_path / "p")
    settings = [ImagesConfig(masks=masks) for masks in (None, AUTO, NONE)]
    assert len({fingerprint(folder, config) for config in settings}) == 3
    with pytest.raises(InputError, match="no mask folder"):
        fingerprint(folder, ImagesConfig(masks=tmp_path / "auto"))
