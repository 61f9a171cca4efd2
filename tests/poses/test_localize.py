"""Lenses and sizes of photos that join a finished model; a real photo is placed in `test_estimate.py`."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from pose_scenes import image_set

from recon.poses import PosesConfig, localize
from recon.poses.localize import _lenses
from recon.types import Cameras, ImageSet, PointCloud, PoseResult, PoseStatus

NAN = float("nan")


def photos(width: int, height: int, focal_px: list[float]) -> ImageSet:
    """Black ones of one size with these focal lengths in EXIF."""
    images = image_set([torch.zeros(height, width, 3)] * len(focal_px))
    return replace(images, focal_px=torch.tensor(focal_px))


def model_of(images: ImageSet, focal_px: list[float], off_middle: list[tuple[float, float]]) -> PoseResult:
    """A result that places all photos in one spot and sees no points."""
    n, (height, width, _) = len(images), images.images[0].shape
    Ks = torch.eye(3).repeat(n, 1, 1)
    Ks[:, 0, 0] = Ks[:, 1, 1] = torch.tensor(focal_px)
    Ks[:, :2, 2] = torch.tensor([width / 2, height / 2]) + torch.tensor(off_middle)
    return PoseResult(
        Cameras.create(torch.eye(4).repeat(n, 1, 1), Ks, width, height),
        PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0)),
        (PoseStatus.OK,) * n,
        ("",) * n,
        torch.zeros(n, dtype=torch.int64),
        torch.full((n,), NAN),
    )


@pytest.mark.parametrize(
    ("exif", "focal_px", "off_middle", "refine"),
    [(60.0, 61.0, 1.0, 0), (120.0, 118.0, -2.0, 0), (NAN, 61.0, 1.0, 0), (90.0, 90.0, 0.0, 0)],
    ids=["wide", "main", "unknown", "another"],
)
def test_of_lenses_whose_photos_have_one_size_exif_tells_which(
    exif: float, focal_px: float, off_middle: float, refine: int
) -> None:
    used = photos(40, 30, [60.0, 60.0, 60.0, 120.0])
    model = model_of(used, [61.0, 61.0, 61.0, 118.0], [(1.0, 1.0)] * 3 + [(-2.0, -2.0)])
    found = _lenses(photos(40, 30, [exif]), used, model)
    assert found[0].tolist() == [focal_px]
    assert found[1].tolist() == [[off_middle, off_middle]]
    assert found[2].tolist() == [refine]


def test_a_photo_that_was_not_placed_lends_no_lens() -> None:
    used = photos(40, 30, [60.0, 120.0])
    model = model_of(used, [61.0, 118.0], [(0.0, 0.0)] * 2)
    model = replace(model, cameras=replace(model.cameras, registered=torch.tensor([True, False])))
    assert _lenses(photos(40, 30, [120.0]), used, model)[0].tolist() == [120.0]
    focal_px, _, refine = _lenses(photos(30, 40, [NAN]), used, model)
    assert (focal_px.tolist(), refine.tolist()) == ([48.0], [1]), "of another size and without EXIF it is guessed"


@pytest.mark.parametrize("off_middle", [(0.0, 0.0), (8.0, -5.0)], ids=["middle", "beside"])
def test_sizes_that_do_not_scale_to_whole_pixels_leave_the_principal_point_in_place(
    off_middle: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1600 x 1067 pixels become 1024 x 682.88: half of that, half of 683 and half of 682 are three middles."""
    used, query = photos(1600, 1067, [NAN]), photos(1600, 1067, [NAN])
    model = model_of(used, [1500.0], [off_middle])
    rng = np.random.default_rng(0)
    xyz = rng.uniform((-2, -1, 3), (2, 1, 6), (200, 3))
    pose = np.eye(4)
    pose[:3, 3] = (0.2, -0.1, 0.3)
    seen = (xyz + pose[:3, 3]) @ model.cameras.Ks[0].double().numpy().T
    uv = seen[:, :2] / seen[:, 2:]
    module = import_module("recon.poses.localize")  # the package has a function of this name
    monkeypatch.setattr(module, "_anchors", lambda *args: None)
    monkeypatch.setattr(module, "_query_features", lambda *args: [None])
    monkeypatch.setattr(module, "_correspondences", lambda *args: (uv, xyz))
    placed = localize(query, used, model, PosesConfig(max_side=1024))
    assert placed.n_observations.tolist() == [200]
    assert torch.allclose(placed.cameras.Ks, model.cameras.Ks)
    # exact positions, so all that is left is rounding to float32
    assert np.abs(placed.cameras.cam_from_world[0].double().numpy() - pose).max() < 1e-5
    assert placed.reprojection_error_px.item() < 1e-3
