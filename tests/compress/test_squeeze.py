"""Making splats small: what is left out and moved, what rounding costs, and that limits hold."""

from dataclasses import replace

import pytest
import torch
from reference.wall_views import likeness, three_cameras

from recon.compress import PRESETS, CompressConfig, ply_bytes, squeeze
from recon.compress.codes import QuantiseConfig, dequantise, quantise, requantise, ruler, to_log
from recon.compress.squeeze import most, reduce
from recon.errors import InputError
from recon.render import render, select_rasterizer
from recon.render.importance import shares_in, visible_size
from recon.render.looks import looks_around
from recon.render.refit import RefitConfig, refit, straight_through
from recon.types import SH_C0, Splats

RASTERIZER = select_rasterizer("cpu")


def wall(n: int = 900, seed: int = 0) -> Splats:
    """A coloured wall one unit away, of small overlapping discs, and some Gaussians that nobody sees behind it."""
    g = torch.Generator().manual_seed(seed)
    xy = torch.rand(n, 2, generator=g) - 0.5
    behind = torch.arange(n) % 5 == 0
    depth = torch.where(behind, 1.4, 1.0) + 0.05 * torch.rand(n, generator=g)  # else rounding would change who is first
    means = torch.cat([xy, depth[:, None]], 1)
    rgb = 0.5 + 0.4 * torch.stack([(4 * xy[:, 0]).sin(), (5 * xy[:, 1]).cos(), (3 * xy.sum(1)).sin()], 1)
    scales = torch.tensor([0.035, 0.035, 0.004]).log() + 0.2 * torch.randn(n, 3, generator=g)
    quats = torch.tensor([1.0, 0, 0, 0]) + 0.05 * torch.randn(n, 4, generator=g)
    rest = 0.01 * torch.randn(n, 3, 3, generator=g)
    return Splats(means, quats, scales, torch.full((n,), 3.0), ((rgb - 0.5) / SH_C0)[:, None], rest)


@pytest.fixture(scope="module")
def quick() -> CompressConfig:
    settle = replace(PRESETS["web"].settle, steps=4)
    return replace(PRESETS["web"], views=3, max_side=48, fit=RefitConfig(steps=12), settle=settle)


def test_shares_are_what_leaving_one_out_takes_away():
    """The share of a Gaussian in front is the alpha that goes when it is left out, where nothing lies behind it."""
    splats = wall(60)
    splats = splats[torch.arange(60) % 5 != 0]
    looks = looks_around(splats, three_cameras(), 3, 64, RASTERIZER)
    white = replace(splats, sh0=torch.full_like(splats.sh0, 0.5 / SH_C0), shN=splats.shN[:, :0])
    total = shares_in(splats, looks, RASTERIZER)
    shown = sum(
        float((render(white, looks.cameras[i], RASTERIZER).rgb[0, ..., 0] * looks.weights).sum()) for i in range(3)
    )
    assert float(total.sum()) == pytest.approx(shown, rel=1e-3)
    alone = shares_in(splats[:1], looks, RASTERIZER)
    assert float(alone) >= float(total[0]) > 0


def test_hidden_gaussians_are_left_out_first():
    splats = wall()
    looks = looks_around(splats, three_cameras(), 3, 64, RASTERIZER)
    importance = shares_in(splats, looks, RASTERIZER)
    behind = splats.means[:, 2] > 1.2
    kept = most(importance, 600)
    assert float(importance[behind].mean()) < 0.3 * float(importance[~behind].mean())
    assert float(behind[kept].float().mean()) < 0.1
    assert likeness(splats, splats[importance > 0]) > 80, "what has no share does not show"


def test_visible_size_knows_opacity_and_extent():
    splats = wall(4)
    larger = replace(splats, log_scales=splats.log_scales + 1)
    fainter = replace(splats, logit_opacities=splats.logit_opacities - 3)
    assert bool((visible_size(larger) > visible_size(splats)).all())
    assert bool((visible_size(fainter) < visible_size(splats)).all())


def test_looks_have_a_frame_that_counts_less():
    cameras = three_cameras()
    looks = looks_around(wall(50), cameras, 7, 32, RASTERIZER)
    assert len(looks) == 7
    assert looks.weights.shape == looks.pictures[0].shape[:2] == (38, 38)
    assert looks.weights[3:-3, 3:-3].unique().tolist() == [1.0]
    assert float(looks.weights.sum()) < 32 * 32 + 0.21 * (38 * 38 - 32 * 32)
    assert torch.equal(looks.cameras.cam_from_world[:3], cameras.cam_from_world)


def test_fitting_brings_back_what_leaving_out_took():
    splats = wall(400)
    looks = looks_around(splats, three_cameras(), 3, 48, RASTERIZER)
    kept = splats[most(shares_in(splats, looks, RASTERIZER), 130)]
    before = likeness(kept, splats)
    after = likeness(refit(kept, looks, RASTERIZER, RefitConfig(steps=20)), splats)
    assert after > before + 3
    config = CompressConfig(rounds=2, fit=RefitConfig(steps=20))
    steps = reduce(splats, 130, looks, RASTERIZER, config)
    assert len(steps) == 130
    assert likeness(steps, splats) > before + 3


def test_a_penalty_is_weighed_against_the_error():
    splats = wall(60)
    looks = looks_around(splats, three_cameras(), 3, 32, RASTERIZER)
    config = RefitConfig(steps=8)
    free, held = (
        refit(splats, looks, RASTERIZER, config, penalty=lambda s, k=k: k * s.log_scales.square().mean())
        for k in (0.0, 1.0)
    )
    assert float(held.log_scales.square().mean()) < float(free.log_scales.square().mean()) - 0.1


def test_some_of_the_looks():
    looks = looks_around(wall(20), three_cameras(), 7, 16, RASTERIZER)
    few = looks.thinned(3)
    assert len(few) == len(few.cameras) == 3
    assert few.pictures[0] is looks.pictures[0]
    assert few.pictures[2] is looks.pictures[6]
    assert len(looks.thinned(9)) == 7


def test_gradients_pass_through_rounding():
    splats = wall(30)
    values = {name: value.clone().requires_grad_(True) for name, value in splats.tensors().items()}
    codes = quantise(splats, QuantiseConfig(position_step=0.5, rotation_steps=15, opacity_steps=7))
    config = QuantiseConfig(position_step=0.5, rotation_steps=15, opacity_steps=7)
    shown = straight_through(Splats(**values), lambda s: dequantise(requantise(s, codes, config)))
    torch.testing.assert_close(shown.means, dequantise(codes).means)
    shown.means.sum().backward()
    assert values["means"].grad is not None
    assert torch.equal(values["means"].grad, torch.ones_like(splats.means))


# --- codes


@pytest.mark.parametrize("step", [0.0, 0.1, 1.0])
def test_positions_take_the_whole_range_on_every_side(step: float):
    """However long a side is, its steps are about as large as asked for beside the Gaussians."""
    stretched = torch.tensor([1.0, 0.2, 30.0])
    splats = replace(wall(500), means=wall(500).means * stretched)
    codes = quantise(splats, QuantiseConfig(position_step=step))
    extent = to_log(splats.means).amax(0) - to_log(splats.means).amin(0)
    assert bool((codes.positions % codes.unit == 0).all())
    assert bool((codes.positions.amin(0) == 0).all() and (codes.positions.amax(0) > 0.98 * 65535).all())
    assert bool((codes.step * 65535 <= extent * 1.04).all())
    error = (to_log(dequantise(codes).means) - to_log(splats.means)).abs()
    assert bool((error.amax(0) <= 0.502 * codes.step * codes.unit).all())
    there = (dequantise(codes).means - splats.means).abs() / splats.scales.median(1).values[:, None]
    assert float(there.median()) <= (0.5 * step if step else 0.05)


def test_far_things_do_not_make_near_ones_coarser():
    splats, config = wall(300), QuantiseConfig(position_step=0.3)
    far = replace(splats[:1], means=torch.tensor([[40.0, 3.0, 60.0]]))
    both = Splats.cat([splats, far])
    moved = (dequantise(quantise(both, config)).means - both.means)[:300].abs()
    assert float((moved / splats.scales.median(1).values[:, None]).median()) <= 0.5 * 0.3


def test_thin_scales_take_fewer_values():
    splats = wall(300)
    fine, coarse = (quantise(splats, QuantiseConfig(scale_step=0.1, thin=thin)) for thin in (1, 4))
    smallest = splats.log_scales.argmin(1, keepdim=True)
    others = smallest != torch.arange(3)
    assert torch.equal(fine.scales[others], coarse.scales[others])
    assert bool((coarse.scales.gather(1, smallest) % 4 == 0).all())
    assert int((coarse.scales - fine.scales).abs().max()) == 2
    assert int(coarse.scales.max()) < len(coarse.scale_book)


def test_codes_of_what_has_not_moved_are_the_same():
    splats, config = wall(200), QuantiseConfig(0.2, 15, 7, scale_step=0.25, smallest=0.05, color_step=0.1, palette=16)
    codes = quantise(splats, config)
    again = requantise(splats, codes, config)
    for name in ("positions", "largest", "rotations", "opacities", "scales", "colors"):
        assert torch.equal(getattr(again, name), getattr(codes, name)), name
    far = replace(splats, means=splats.means * 3)
    assert int(requantise(far, codes, config).positions.max()) <= 65535
    assert len(codes.rotations.unique()) <= 16
    assert len(codes.opacities.unique()) <= 8
    assert float(codes.scale_book.diff().max()) <= 0.25 + 1e-6


def test_rulers():
    assert ruler(torch.tensor([0.0, 1.0]), 0.25).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert len(ruler(torch.tensor([0.0, 1e6]), 0.1)) == 256
    assert len(ruler(torch.tensor([3.0, 3.0]), 0.0)) == 256
    assert len(ruler(torch.zeros(0), 0.1)) == 1


def test_a_palette_of_enough_entries_keeps_every_set():
    splats = wall(64)
    found = dequantise(quantise(splats, QuantiseConfig(palette=64)))
    assert float((found.shN - splats.shN).abs().max()) <= 0.5 * float(splats.shN.max() - splats.shN.min()) / 255 + 1e-6
    few = quantise(splats, QuantiseConfig(palette=4))
    assert int(few.labels.max()) < 4


# --- the whole


def test_a_run_becomes_small_and_looks_alike(quick: CompressConfig):
    splats = wall(600)
    small = squeeze(splats, quick, three_cameras(), RASTERIZER)
    assert len(small.splats) == round(quick.keep * 600)
    assert ply_bytes(splats) / len(small.data) > 10, "tables and headers weigh more in a file this small"
    assert likeness(small.splats, splats) > 25
    assert small.data == squeeze(splats, quick, three_cameras(), RASTERIZER).data, "the same every time"


def test_limits_hold(quick: CompressConfig):
    splats = wall()
    quick = replace(quick, views=3, fit=replace(quick.fit, steps=4), settle=replace(quick.settle, steps=2))
    small = squeeze(splats, replace(quick, target_bytes=4400), three_cameras(), RASTERIZER)
    assert 2600 < len(small.data) <= 4400
    alone = squeeze(splats, replace(quick, target_bytes=5200))
    assert 3100 < len(alone.data) <= 5200
    assert len(squeeze(splats, replace(quick, max_gaussians=77), three_cameras(), RASTERIZER).splats) == 77
    assert len(squeeze(splats, replace(quick, max_gaussians=77)).splats) == 77
    with pytest.raises(InputError, match="No splats fit into 500 bytes"):
        squeeze(splats, replace(quick, target_bytes=500))


def test_a_file_alone_loses_only_what_nobody_sees(quick: CompressConfig):
    splats = wall(200)
    splats.logit_opacities[:50] = -9
    small = squeeze(splats, quick)
    assert len(small.splats) == 150
    assert likeness(small.splats, splats) > 35
    with pytest.raises(InputError, match="None of the Gaussians can be seen"):
        squeeze(splats[:50], quick)


def test_finer_presets_are_larger_and_closer():
    splats = wall(600)
    found = [squeeze(splats, PRESETS[name]) for name in ("lossless", "web", "tiny")]
    sizes, alike = [len(f.data) for f in found], [likeness(f.splats, splats) for f in found]
    assert sizes == sorted(sizes, reverse=True)
    assert alike == sorted(alike, reverse=True)
    assert alike[0] > 45
