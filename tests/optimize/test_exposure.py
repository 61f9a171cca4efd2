"""Exposures measured before training, on a synthetic wall whose photos are darkened by known factors."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import rasterizer, scene
from torch import Tensor

from recon.optimize import InitConfig, TrainConfig
from recon.optimize.exposure import ExposureConfig, compare_photos, measure_gains, settle_exposures
from recon.optimize.loop import Trainer
from recon.types import DepthMaps, PosedScene

FACTORS = torch.tensor([[1.0, 1.0, 1.0], [0.5, 0.5, 0.45], [0.8, 0.8, 0.8]])


def darkened(factors: Tensor) -> tuple[PosedScene, DepthMaps]:
    photos, depths, _ = scene(len(factors))
    images = tuple(image * factor for image, factor in zip(photos.images, factors, strict=True))
    return replace(photos, images=images), depths


def test_gains_are_those_that_the_photos_were_darkened_by() -> None:
    photos, depths = darkened(FACTORS)
    gains = measure_gains(3, compare_photos(photos, depths))
    assert gains is not None
    truth = FACTORS.log()
    assert gains == pytest.approx(truth - truth.mean(dim=0), abs=0.02)


def test_photos_that_agree_share_one_exposure() -> None:
    same = settle_exposures(*darkened(torch.full((3, 3), 0.7)), True, ExposureConfig())
    assert not same.refine
    assert float(same.start.abs().max()) == 0
    differ = settle_exposures(*darkened(FACTORS), True, ExposureConfig())
    assert differ.refine
    always = settle_exposures(*darkened(torch.full((3, 3), 0.7)), True, ExposureConfig(above=0))
    assert always.refine


def test_evened_photos_are_equally_bright_and_white_stays_white() -> None:
    photos, depths = darkened(FACTORS)
    bright = [image.clone() for image in photos.images]
    bright[1][:4, :4] = 1.0
    photos = replace(photos, images=tuple(bright))
    even = settle_exposures(photos, depths, True, ExposureConfig()).evened(photos)
    truth, _, _ = scene(3)
    common = FACTORS.log().mean(dim=0).exp()
    for image, plain in zip(even.images, truth.images, strict=True):
        assert (image - plain * common).abs()[8:-8, 8:-8].mean() < 0.02
    assert float(even.images[1][:4, :4].min()) == 1.0


def test_what_is_not_wanted_or_not_measured() -> None:
    photos, depths = darkened(FACTORS)
    assert not settle_exposures(photos, depths, False, ExposureConfig()).refine
    assert settle_exposures(photos, None, True, ExposureConfig()).refine
    blind = replace(depths, confidence=tuple(torch.zeros_like(c) for c in depths.confidence))
    assert measure_gains(3, compare_photos(photos, blind)) is None
    unknown = settle_exposures(photos, blind, True, ExposureConfig())
    assert unknown.refine
    assert float(unknown.log_gains.abs().max()) == 0


def test_one_photo_without_a_partner_is_not_compared() -> None:
    photos, depths = darkened(FACTORS)
    alone = replace(depths, confidence=(*depths.confidence[:2], torch.zeros_like(depths.confidence[2])))
    assert measure_gains(3, compare_photos(photos, alone)) is None


def test_training_starts_from_the_measured_exposures() -> None:
    photos, depths = darkened(FACTORS)
    # In the colours that stereo would give them, as it takes those of all photos.
    points = replace(photos.points, rgb=photos.points.rgb * FACTORS.log().mean(dim=0).exp())
    photos = replace(photos, points=points)
    solid = InitConfig(fill_below=0.0, opacity=0.99, min_opacity=0.99)
    config = TrainConfig(sh_degree=0, dropout=0.0, random_background=False, coarse_scale=1.0, init=solid)

    def brightness(wanted: bool) -> Tensor:
        trainer = Trainer(photos, depths, replace(config, refine_exposure=wanted), rasterizer())
        with torch.no_grad():
            looks = [trainer.look(i)[0] for i in range(len(photos))]
        return torch.stack([look.rgb.mean() / look.wanted.mean() for look in looks])

    right, wrong = brightness(True), brightness(False)
    assert right / right[0] == pytest.approx(torch.ones(3), rel=0.05)
    assert wrong / wrong[0] == pytest.approx(FACTORS[0].mean() / FACTORS.mean(dim=1), rel=0.05)
