"""Harmonics that are freed where photos differ, on a synthetic wall whose light moves from photo to photo."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import SIZE, rasterizer, scene

from recon.optimize import TrainConfig
from recon.optimize.exposure import ExposureConfig, compare_photos, measure_unlike, settle_exposures
from recon.optimize.loop import Trainer
from recon.types import DepthMaps, PosedScene

WIDTH = SIZE[0]


def lit(strength: float) -> tuple[PosedScene, DepthMaps]:
    """Three photos of the wall: as it is, with light from the left, with light from the right."""
    photos, depths, _ = scene(3)
    slope = strength * torch.linspace(-1, 1, WIDTH)[None, :, None]
    images = [image * 0.6 * (sign * slope).exp() for sign, image in zip((0, -1, 1), photos.images, strict=True)]
    return replace(photos, images=tuple(image.clamp(0, 1) for image in images)), depths


def trainer(photos: PosedScene, depths: DepthMaps | None, **changes: object) -> Trainer:
    return Trainer(photos, depths, replace(TrainConfig(steps=4), **changes), rasterizer())


def test_only_what_exposure_leaves_counts() -> None:
    photos, depths = lit(0.0)
    dark = replace(photos, images=(photos.images[0] * 0.5, *photos.images[1:]))
    same = measure_unlike(compare_photos(dark, depths))
    assert same is not None
    assert same < 0.03


def test_the_difference_is_that_of_the_light() -> None:
    # Each pair's light differs by a slope; half of the pixels are off by more than its value halfway from the middle.
    # The slopes of the three pairs are 1, 1 and 2 times the strength; the cameras' shift blurs that a little.
    measured = measure_unlike(compare_photos(*lit(0.4)))
    assert measured == pytest.approx(0.4 * 0.5 * (1 + 1 + 2) / 3, rel=0.25)


def test_harmonics_are_freed_where_the_light_moves_and_only_there() -> None:
    plain, moved = trainer(*lit(0.0)), trainer(*lit(0.4))
    assert (plain.config.sh_degree, plain.splats().sh_degree) == (1, 1)
    assert plain.config.rates.shN == TrainConfig().rates.shN
    assert (moved.config.sh_degree, moved.splats().sh_degree) == (3, 3)
    assert moved.config.rates.shN == TrainConfig().shine.rate


def test_photos_of_a_camera_that_set_itself_anew_free_nothing() -> None:
    photos, depths = lit(0.4)
    dark = replace(photos, images=(photos.images[0] * 0.6, *photos.images[1:]))
    assert settle_exposures(dark, depths, True, ExposureConfig()).differ
    for refined in (True, False):
        assert trainer(dark, depths, refine_exposure=refined).splats().sh_degree == 1


def test_a_wish_for_no_view_dependent_colour_stays() -> None:
    assert trainer(*lit(0.4), sh_degree=0).splats().sh_degree == 0


def test_nothing_measured_changes_nothing() -> None:
    photos, depths = lit(0.4)
    assert trainer(photos, None).splats().sh_degree == 1
    blind = replace(depths, confidence=tuple(torch.zeros_like(c) for c in depths.confidence))
    assert settle_exposures(photos, blind, True, ExposureConfig()).unlike is None


def test_photos_of_a_moving_light_are_learnt_better() -> None:
    photos, depths = lit(0.4)

    def error(above: float) -> float:
        one = trainer(
            photos,
            depths,
            steps=60,
            refine_poses=False,
            refine_exposure=False,
            shine=replace(TrainConfig().shine, above=above),
        )
        while one.step_index < 60:
            one.step()
        with torch.no_grad():
            seen = [one.look(i)[0] for i in range(3)]
        return float(sum(((s.rgb - s.wanted) ** 2).mean() for s in seen))

    assert error(TrainConfig().shine.above) < 0.8 * error(1e9)
