"""Which models of the same photos are made, with which focal lengths."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from pose_scenes import image_set
from test_pose_parts import SIZE, arc

from recon.poses import PosesConfig
from recon.poses.candidates import map_candidates
from recon.poses.matches import Model, Start, Tracks, Verified
from recon.types import ImageSet

NAN = float("nan")
FOUND = [700.0, 700.0, 900.0, 900.0]
"""Focal lengths that the free model of four photos has, pixels; their longest side is 640."""


def starts_for(exif: list[float], placed: list[bool], monkeypatch: pytest.MonkeyPatch) -> list[Start]:
    """Every start that is mapped from, where EXIF says this of the four photos and a free model has been `FOUND`."""
    model, tracks, verified = arc(4)
    Ks, poses = model.Ks.copy(), model.cam_from_world.copy()
    Ks[:, 0, 0] = Ks[:, 1, 1] = FOUND
    Ks[~np.array(placed)] = poses[~np.array(placed)] = NAN
    model = replace(model, Ks=Ks, cam_from_world=poses)
    model = replace(model, observations=model.observations[np.array(placed)[model.observations[:, 1]]])
    asked: list[Start] = []

    def run_mapping(
        tracks: Tracks, images: ImageSet, starts: Sequence[Start], config: PosesConfig
    ) -> tuple[Verified, list[Model | None]]:
        asked.extend(starts)
        return verified, [model] * len(starts)

    monkeypatch.setattr("recon.poses.candidates.run_mapping", run_mapping)
    photos = image_set([torch.zeros(int(SIZE[1]), int(SIZE[0]), 3)] * 4)
    images = replace(photos, focal_px=torch.tensor(exif), camera_ids=torch.tensor([0, 0, 1, 1]))
    map_candidates(tracks, images, [Start()], PosesConfig())
    return asked


@pytest.mark.parametrize("placed", [[True] * 4, [True, True, True, False]], ids=["all", "three"])
def test_beside_the_focal_length_of_exif_others_are_held_where_they_were_found(
    placed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = starts_for([500.0, 500.0, NAN, NAN], placed, monkeypatch)  # 700 is too far from 500
    assert asked == [Start(), Start(focal_factor=900 / 640, refine_focal=False)]


def test_a_photo_without_a_place_says_nothing_of_its_focal_length(monkeypatch: pytest.MonkeyPatch) -> None:
    _, held = starts_for([500.0, 500.0, 500.0, NAN], [True, True, True, False], monkeypatch)
    assert math.isnan(held.focal_factor)
    assert not held.refine_focal


def test_exif_of_all_photos_is_held_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _, held = starts_for([500.0] * 4, [True] * 4, monkeypatch)
    assert math.isnan(held.focal_factor)
    assert not held.refine_focal


@pytest.mark.parametrize("exif", [[NAN] * 4, [700.0, 700.0, NAN, NAN]], ids=["silent", "right"])
def test_nothing_is_held_where_exif_is_silent_or_right(exif: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert starts_for(exif, [True] * 4, monkeypatch) == [Start()]
