"""Somebody in front of a real photo: the demo's church door as a flat wall, with a made-up post before it."""

from pathlib import Path

import cv2
import pytest
import torch

from recon.optimize.terms.robust import RobustConfig, RobustMask
from recon.priors.diffusion import BlendPrior, NullPrior
from recon.priors.diffusion.occlusion import look_of, remove_occluders, soft_mask
from recon.types import Cameras, Rendering

DOOR = next((Path(__file__).parents[2] / "assets" / "demo").rglob("*.jpg"))
HEIGHT, WIDTH, STEP = 120, 160, 12


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.fixture(scope="module")
def wall() -> tuple[list[torch.Tensor], Cameras, list[Rendering]]:
    """Three photos that are windows of one real photo, and renderings that are blurred, as few splats would be."""
    picture = cv2.cvtColor(cv2.imread(str(DOOR)), cv2.COLOR_BGR2RGB)
    picture = cv2.resize(picture, (240, 180), interpolation=cv2.INTER_AREA)
    photos = [torch.from_numpy(picture[30:150, 20 + i * STEP : 180 + i * STEP].copy()).float() / 255 for i in range(3)]
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    shown = [torch.from_numpy(blurred[30:150, 20 + i * STEP : 180 + i * STEP].copy()).float() / 255 for i in range(3)]
    full = torch.ones(HEIGHT, WIDTH)
    own = [Rendering(rgb, full, 2 * full) for rgb in shown]
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = -torch.arange(3) * STEP * 2 / 100  # 12 pixels at focal length 100 and depth 2
    K = torch.tensor([[100.0, 0, WIDTH / 2], [0, 100, HEIGHT / 2], [0, 0, 1]])
    return photos, Cameras.create(poses, K.repeat(3, 1, 1), WIDTH, HEIGHT), own


def with_post(photo: torch.Tensor) -> torch.Tensor:
    occluded = photo.clone()
    occluded[20:, 60:90] = torch.tensor([0.1, 0.5, 0.9])
    return occluded


def test_a_post_is_found_and_replaced_by_what_the_other_photos_show(wall):
    photos, cameras, own = wall
    truth = photos[1]
    photos = [photos[0], with_post(truth), photos[2]]
    robust = RobustMask(3, RobustConfig())
    for index in (0, 2, 1):
        inliers = robust.inliers(own[index].rgb, photos[index], index, 1.0)
    assert float((~inliers)[30:, 65:85].float().mean()) > 0.95
    filled = remove_occluders(1, photos, cameras, own, inliers, BlendPrior())
    post = filled.replaced > 0.99
    assert bool(post[25:, 62:88].all())
    assert psnr(filled.photo[post], truth[post]) > psnr(own[1].rgb[post], truth[post]) + 3
    kept = filled.replaced == 0
    assert torch.equal(filled.photo[kept], truth[kept])
    assert float(filled.confidence[kept].min()) == 1
    assert float(kept.float().mean()) > 0.5


def test_what_no_prior_knows_is_not_believed(wall):
    photos, cameras, own = wall
    inliers = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    inliers[40:60, 60:90] = False
    filled = remove_occluders(1, photos, cameras, own, inliers, NullPrior())
    assert torch.allclose(filled.photo[45:55, 65:85], own[1].rgb[45:55, 65:85])
    assert float(filled.confidence[45:55, 65:85].max()) < 1e-5


def test_masks_are_widened_and_fade():
    masked = torch.zeros(100, 200, dtype=torch.bool)
    masked[40:60, 80:120] = True
    soft = soft_mask(masked)
    assert float(soft[masked].min()) == 1
    assert float(soft[39, 79]) == 1
    assert 0 < float(soft[50, 74]) < 1
    assert float(soft[50, 60]) == 0
    assert float(soft_mask(torch.zeros_like(masked)).max()) == 0


def test_views_take_on_the_look_of_a_photo_whatever_stands_in_it(wall):
    photos, _, own = wall
    warm = torch.tensor([[0.8, 0.05, 0.0], [0.05, 0.7, 0.0], [0.0, 0.1, 0.5]])
    evening = photos[0] @ warm + 0.03
    look = look_of(with_post(evening), photos[0], torch.ones(HEIGHT, WIDTH))
    assert psnr(look.apply(photos[2]), photos[2] @ warm + 0.03) > 30
    masked = torch.ones(HEIGHT, WIDTH)
    masked[20:, 60:90] = 0
    exact = look_of(with_post(evening), photos[0], masked)
    assert psnr(exact.apply(photos[2]), photos[2] @ warm + 0.03) > 40
    assert torch.allclose(look_of(photos[0], photos[0], masked).apply(own[0].rgb), own[0].rgb, atol=1e-3)
