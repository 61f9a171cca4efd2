"""Segmentation of the object by what ships, on a made-up photo and on one that has no object."""

import numpy as np
import pytest
import torch

from recon.errors import InputError, MissingDependencyError
from recon.priors import segment
from recon.priors.segment import SEGMENTERS, get, unsure_share


def ball(height: int, width: int, center: tuple[int, int], radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A shaded red ball before a light grey wall with a little noise, and its true mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    inside = (x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2
    shade = np.clip(1 - np.hypot(x - center[0] + radius / 3, y - center[1] + radius / 3) / (2 * radius), 0.2, 1)
    photo = np.full((height, width, 3), 0.8) + rng.normal(scale=0.01, size=(height, width, 3))
    photo[inside] = (shade[..., None] * [0.8, 0.15, 0.1])[inside]
    return torch.from_numpy(photo.clip(0, 1)).float(), torch.from_numpy(inside)


@pytest.mark.parametrize(("height", "width", "center"), [(300, 400, (150, 160)), (500, 300, (160, 280))])
def test_the_network_finds_a_ball_where_it_is(height, width, center):
    photo, truth = ball(height, width, center, 80)
    mask = get("u2netp").segment(photo)
    assert mask is not None
    assert mask.shape == truth.shape
    assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
    found = mask > 0.5
    overlap = float((found & truth).sum() / (found | truth).sum())
    assert overlap > 0.9
    assert unsure_share(mask) < 0.2


def test_the_network_is_the_same_each_time_and_takes_odd_photos():
    photo = ball(301, 203, (100, 150), 60)[0]
    first, again = (get("u2netp").segment(photo) for _ in range(2))
    assert first is not None
    assert torch.equal(first, again)
    black = get("u2netp").segment(torch.zeros(17, 33, 3))
    assert black is not None
    assert bool(black.isfinite().all())


def test_unsure_share_counts_what_is_neither():
    mask = torch.tensor([[0.0, 0.1, 0.5, 0.9], [0.0, 1.0, 0.3, 1.0]])
    assert unsure_share(mask) == pytest.approx(2 / 5)
    assert unsure_share(torch.zeros(3, 3)) == 0


def test_nothing_is_a_choice():
    assert get("none").segment(torch.rand(5, 6, 3)) is None
    assert all(get(name).name == name for name in SEGMENTERS)


def test_an_unknown_name_and_a_missing_file_are_told(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="u2netp, none"):
        get("magic")
    monkeypatch.setattr("recon.assets.weight_folders", lambda: (tmp_path,))
    available, why = get("u2netp").available()
    assert not available
    assert "u2netp.onnx" in why
    segment._u2netp.cache_clear()
    with pytest.raises(MissingDependencyError, match="RECON_WEIGHTS"):
        get("u2netp").segment(torch.rand(5, 6, 3))
