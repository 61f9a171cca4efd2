"""Every strategy of growth: its moves keep the image, the cap holds, and every Gaussian is accounted for."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import arc_cameras, rasterizer, scene, wall
from reference.growth_naive import opacity_along_a_line, relocated

from recon.optimize import DensifyConfig, InitConfig, RateConfig, TrainConfig, Trainer
from recon.optimize.growth.candidates import CandidateDensifier, nearest_places
from recon.optimize.growth.config import CandidatesConfig, FloaterConfig, McmcConfig
from recon.optimize.growth.mcmc import McmcDensifier, shared_by
from recon.optimize.growth.select import STRATEGIES
from recon.optimize.parameters import SplatParameters
from recon.render import render
from recon.types import DepthMaps, PosedScene, Splats


@pytest.fixture(scope="module")
def photos() -> tuple[PosedScene, DepthMaps]:
    return scene()[:2]


def config(strategy: str) -> TrainConfig:
    densify = DensifyConfig(
        strategy=strategy,  # type: ignore[arg-type]
        every=3,
        max_gaussians=560,
        grow_grad=1e-5,
        start=0.1,
        stop=0.9,
        prune_opacity=0.2,
        mcmc=McmcConfig(dead_opacity=0.2),
        floaters=FloaterConfig(at=(0.5,)),
    )
    return TrainConfig(steps=16, sh_degree=0, init=InitConfig(max_gaussians=500, fill_below=0.0), densify=densify)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_initial_plus_born_minus_pruned_is_what_there_is_also_after_a_resume(strategy: str, photos, tmp_path) -> None:
    posed, depths = photos
    trainer = Trainer(posed, depths, config(strategy), rasterizer())
    n = len(trainer.parameters)
    with torch.no_grad():  # some must die
        trainer.parameters.tensors()["logit_opacities"][::5] = -3.0
    for _ in range(8):
        trainer.step()
        assert len(trainer.parameters) <= 560
    trainer.save(tmp_path / "c.pt")
    resumed = Trainer(posed, depths, config(strategy), rasterizer())
    resumed.resume(tmp_path / "c.pt")
    for each in (trainer, resumed):
        while each.step_index < 16:
            each.step()
        account = each.densifier.account
        assert sum(account.born.values()) > 0
        assert account.pruned["opacity"] >= n // 5 - 5
        assert "floater" in account.pruned
        assert len(each.parameters) == n + sum(account.born.values()) - sum(account.pruned.values())
    assert trainer.densifier.account == resumed.densifier.account
    assert torch.equal(trainer.parameters.births, resumed.parameters.births)
    assert torch.allclose(trainer.result().splats.means, resumed.result().splats.means, atol=1e-4)


def test_shares_follow_the_double_sum_of_the_paper() -> None:
    opacities = torch.tensor([0.02, 0.3, 0.6, 0.9, 0.99, 0.5])
    shares = torch.tensor([1, 2, 3, 7, 20, 51])
    new, scales = shared_by(opacities, torch.ones(6, 3) * 0.7, shares)
    for row in range(6):
        opacity, scale = relocated(float(opacities[row]), 0.7, int(shares[row]))
        assert float(new[row]) == pytest.approx(opacity, rel=1e-5)
        assert scales[row].tolist() == pytest.approx([scale] * 3, rel=1e-4)


@pytest.mark.parametrize("shares", [2, 5, 30])
def test_shares_together_hide_as_much_as_the_one_did(shares: int) -> None:
    new, scales = shared_by(torch.tensor([0.8]), torch.ones(1, 3), torch.tensor([shares]))
    before = opacity_along_a_line(0.8, 1.0, 1)
    assert opacity_along_a_line(float(new[0]), float(scales[0, 0]), shares) == pytest.approx(before, rel=1e-3)
    assert 1 - (1 - float(new[0])) ** shares == pytest.approx(0.8, abs=1e-5)


def mcmc(parameters: SplatParameters, **settings) -> McmcDensifier:
    settings = {"max_gaussians": len(parameters), **settings}
    return McmcDensifier(DensifyConfig(strategy="mcmc", **settings), len(parameters), arc_cameras(3), seed=0)


def test_moving_the_dead_hardly_changes_the_picture() -> None:
    splats = wall(3000)
    splats.logit_opacities[::4] = -9.0
    before = render(splats, arc_cameras(3), rasterizer()).rgb
    parameters = SplatParameters(splats, RateConfig(), 4.0)
    densifier = mcmc(parameters, margin=10.0, max_angle=1.0)
    densifier.refine(parameters, grow=True)
    assert len(parameters) == 3000
    assert densifier.account.born == {"relocated": 750, "added": 0}
    assert float(parameters.splats().detach().opacities.min()) > 0.005
    after = render(parameters.splats().detach(), arc_cameras(3), rasterizer()).rgb
    assert float((after - before).abs().mean()) < 0.01


def test_noise_moves_the_faint_along_their_own_shape_and_leaves_the_opaque() -> None:
    n = 4000
    splats = Splats(
        means=torch.zeros(n, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        log_scales=torch.tensor([0.2, 0.1, 0.01]).log().repeat(n, 1),
        logit_opacities=torch.full((n,), -8.0),
        sh0=torch.zeros(n, 1, 3),
        shN=torch.zeros(n, 0, 3),
    )
    splats.logit_opacities[n // 2 :] = 1.0
    parameters = SplatParameters(splats, RateConfig(means=1e-4), depth_unit=2.0)
    mcmc(parameters).after_step(parameters)
    means = parameters.tensors()["means"].detach()
    # eq. 8 with unit 2: 5e5 * 1e-4 * 2 * variance / 4, times the gate at opacity 3.4e-4
    gate = torch.sigmoid(-100 * (torch.tensor(-8.0).sigmoid() - 0.005))
    expected = 5e5 * 1e-4 * 2 * torch.tensor([0.04, 0.01, 0.0001]) / 4 * gate
    assert torch.allclose(means[: n // 2].std(0), expected, rtol=0.06)
    assert float(means[n // 2 :].abs().max()) < 1e-6


def test_a_place_made_anew_has_no_momentum() -> None:
    parameters = SplatParameters(wall(20), RateConfig(), 4.0)
    parameters.splats().means.square().sum().backward()
    for value in parameters.tensors().values():
        value.grad = torch.ones_like(value) if value.grad is None else value.grad
    parameters.step(0.0)
    rows, fresh = torch.tensor([3, 7]), wall(2, seed=5)
    parameters.overwrite(rows, fresh)
    means = parameters.tensors()["means"]
    moments = parameters.optimizer.state[means]["exp_avg"]
    assert torch.equal(means[rows].detach(), fresh.means)
    assert torch.equal(parameters.births[rows], fresh.means)
    assert (moments[rows] == 0).all()
    assert (moments[[0, 1, 2, 4]] != 0).any(1).all()


def test_each_place_of_the_pool_helps_once_and_only_nearby() -> None:
    means = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [5.0, 0, 0], [0.0, 0.2, 0]])
    pool = torch.tensor([[0.05, 0, 0], [0.3, 0, 0], [9.0, 0, 0]])
    reach = torch.tensor([1.0, 1.0, 1.0, 0.1])
    assert nearest_places(means, reach, pool).tolist() == [0, 1, -1, -1]
    assert nearest_places(means, reach, torch.zeros(0, 3)).tolist() == [-1] * 4
    naive = [min(range(3), key=lambda p: float((pool[p] - mean).norm())) for mean in means[:1]]
    assert nearest_places(means[:1], reach[:1], pool).tolist() == naive


def test_the_pruned_come_back_where_they_are_needed() -> None:
    splats = wall(40)
    splats.logit_opacities[:10] = -6.0
    settings = DensifyConfig(grow_fraction=1.0, grow_grad=0.5, candidates=CandidatesConfig(reach=1e3), margin=10.0)
    parameters = SplatParameters(splats, RateConfig(), 4.0)
    densifier = CandidateDensifier(settings, 40, arc_cameras(3), seed=0)
    densifier.gradient[20:26], densifier.seen[20:26] = 1.0, 1.0
    densifier.refine(parameters, grow=True)
    assert densifier.account.pruned["opacity"] == 10
    assert densifier.account.born["drawn"] == 6
    assert len(densifier.pool) == 4
    born = parameters.splats().detach()[slice(30, None)]
    assert torch.cdist(born.means, splats.means[:10]).amin(1).max() < 1e-6
    assert torch.allclose(born.sh0, splats.sh0[20:26])


def test_strategies_do_not_differ_in_what_they_are_told(photos) -> None:
    posed, depths = photos
    off = replace(config("gradient"), densify=replace(config("gradient").densify, floaters=FloaterConfig()))
    trainer = Trainer(posed, depths, off, rasterizer())
    for _ in range(8):
        trainer.step()
    assert "floater" not in trainer.densifier.account.pruned
    assert trainer.densifier.account.born["cloned"] + trainer.densifier.account.born["split"] > 0
