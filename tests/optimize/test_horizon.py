"""Behind everything there is a soft shell, and nothing in front of it changes. Synthetic, because truth is needed."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import SIZE, arc_cameras, rasterizer, scene

from recon.geometry.projection import project
from recon.metrics import psnr
from recon.optimize.horizon import HorizonConfig, blurred, horizon, sphere
from recon.render import render
from recon.types import PosedScene, Splats

CONFIG = HorizonConfig()


@pytest.fixture(scope="module")
def thing() -> tuple[PosedScene, Splats]:
    """Photos of something in the middle before a light sky, and the thing alone."""
    posed, _, truth = scene(3)
    middle = truth[(truth.means[:, :2].norm(dim=1) < 0.8)]
    drawn = render(middle, posed.cameras, rasterizer())
    sky = torch.tensor([0.8, 0.85, 0.95])
    photos = tuple(rgb + (1 - alpha[..., None]) * sky for rgb, alpha in zip(drawn.rgb, drawn.alpha))
    return replace(posed, images=photos), middle


def test_a_view_from_aside_has_the_colour_of_the_sky_and_not_black(thing: tuple[PosedScene, Splats]) -> None:
    posed, middle = thing
    shell = horizon(middle, posed, CONFIG, rasterizer())
    aside = arc_cameras(3, spread=2.0)[[2]]
    bare, full = (render(splats, aside, rasterizer()) for splats in (middle, Splats.cat([middle, shell])))
    empty = bare.alpha[0] < 0.01
    assert float(empty.float().mean()) > 0.3
    assert float(bare.rgb[0][empty].max()) < 0.02
    assert (full.rgb[0][empty] - torch.tensor([0.8, 0.85, 0.95])).abs().mean() < 0.08
    covered = bare.alpha[0] > 0.99
    assert float(psnr(full.rgb[0][covered][None], bare.rgb[0][covered][None])) > 40


def test_it_lies_behind_everything_and_only_where_the_photos_look(thing: tuple[PosedScene, Splats]) -> None:
    posed, middle = thing
    shell = horizon(middle, posed, CONFIG, rasterizer())
    center = posed.cameras.centers.mean(0)
    assert float((shell.means - center).norm(dim=1).min()) > 1.9 * float(
        (middle.means - center).norm(dim=1).quantile(0.99)
    )
    reach = CONFIG.margin * max(SIZE) + 1.0
    uv, z = project(shell.means, posed.cameras.cam_from_world, posed.cameras.Ks)
    beyond = torch.maximum(-uv, uv - torch.tensor(SIZE)).amax(-1)
    assert bool(((beyond <= reach) & (z > 0)).any(0).all())
    wider = horizon(middle, posed, replace(CONFIG, margin=1.5), rasterizer())
    assert len(wider) > len(shell)


def test_far_parts_of_the_photos_say_more_than_near_ones(thing: tuple[PosedScene, Splats]) -> None:
    posed, middle = thing
    near = replace(middle, sh0=torch.tensor([1.0, -1.0, -1.0]).expand_as(middle.sh0))
    _, _, truth = scene(3)
    far = replace(
        truth,
        means=6 * truth.means + torch.tensor([0.0, 0.0, 20.0]),
        log_scales=truth.log_scales + 2,
        sh0=torch.tensor([-1.0, 1.0, -1.0]).expand_as(truth.sh0),
    )
    both = Splats.cat([near, far])
    photos = tuple(render(both, posed.cameras, rasterizer()).rgb.clamp(0, 1))
    red, green, _ = torch.stack(photos).mean((0, 1, 2))
    assert red > 0.6 * green  # the near thing fills about as much of the photos
    shell = horizon(both, replace(posed, images=photos), replace(CONFIG, margin=0.05), rasterizer()).sh0[:, 0]
    assert float((shell[:, 1] > shell[:, 0]).float().mean()) > 0.9


def test_the_lattice_is_even() -> None:
    directions = sphere(0.1)
    assert torch.allclose(directions.norm(dim=1), torch.ones(len(directions)), atol=1e-5)
    apart = torch.cdist(directions, directions).fill_diagonal_(9.0).amin(1)
    assert float(apart.min()) > 0.07
    assert float(apart.max()) < 0.14


def test_the_blur_is_a_weighted_mean() -> None:
    directions = sphere(0.3)
    weight = torch.rand(len(directions), generator=torch.Generator().manual_seed(0))
    color = torch.tensor([0.2, 0.5, 0.7]).expand(len(directions), 3)
    assert torch.allclose(blurred(directions, weight[:, None] * color, weight, 0.4), color, atol=1e-4)


def test_it_can_be_turned_off_and_objects_get_none(thing: tuple[PosedScene, Splats]) -> None:
    posed, middle = thing
    assert len(horizon(middle, posed, replace(CONFIG, distance=0.0), rasterizer())) == 0
    masked = replace(posed, masks=tuple(torch.ones(SIZE[1], SIZE[0]) for _ in range(3)))
    assert len(horizon(middle, masked, CONFIG, rasterizer())) == 0
