"""The terms of the loss, each against a naive loop or a case with a known answer. Synthetic, since truth is needed."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from optimize_scenes import SIZE, arc_cameras, rasterizer, scene
from torch import Tensor
from torch.autograd import gradcheck

from recon.geometry.projection import pixel_grid
from recon.geometry.se3 import exp_se3
from recon.optimize import InitConfig, LossConfig, TrainConfig, Trainer
from recon.optimize.terms import TERMS, Setup, TermsConfig, invariant, normals, photometric, ranking
from recon.optimize.terms.base import Term
from recon.optimize.terms.binocular import Binocular, BinocularConfig
from recon.optimize.terms.photos import PhotoConsistency, PhotosConfig
from recon.optimize.terms.warping import moved_sideways, positions_and_weight
from recon.types import DepthMaps, Splats


def maps(height: int = 7, width: int = 9, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rendered depth, guide and confidence with unknown pixels, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    depth, guide, confidence = (1 + torch.rand(3, height, width, generator=generator, dtype=torch.float64)).unbind()
    guide[2, 3] = 0
    confidence = confidence - 1
    confidence[4, :3] = 0
    return depth, guide, confidence


def plane_depth(slope: float = 0.02, height: int = 20, width: int = 24) -> Tensor:
    return (3 + slope * torch.arange(width)).expand(height, width).clone()


def test_ranking_is_that_of_a_loop_over_pairs() -> None:
    depth, guide, confidence = maps()
    offset, total, weights = (2, -3), 0.0, 0.0
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            v, u = y + offset[0], x + offset[1]
            if not (0 <= v < depth.shape[0] and 0 <= u < depth.shape[1]) or guide[y, x] == 0 or guide[v, u] == 0:
                continue
            a, b = ((y, x), (v, u)) if guide[y, x] < guide[v, u] else ((v, u), (y, x))
            if math.log(guide[b] / guide[a]) > ranking.TOLD_APART:
                weight = float(min(confidence[a], confidence[b]))
                total += weight * max(math.log(depth[a] / depth[b]) + ranking.MARGIN, 0.0)
                weights += weight
    expected = total / max(weights, 1.0)
    assert expected > 0
    assert float(ranking.ranking(depth, guide, confidence, offset)) == pytest.approx(expected, rel=1e-6)


def test_continuity_is_that_of_a_loop_over_neighbours() -> None:
    depth, guide, confidence = maps(seed=1)
    guide = 2 + 0.01 * guide * (guide > 0)
    total, weights = 0.0, 0.0
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            found = []
            for v in range(max(0, y - 1), min(depth.shape[0], y + 2)):
                for u in range(max(0, x - 1), min(depth.shape[1], x + 2)):
                    weight = float(min(confidence[y, x], confidence[v, u]))
                    if (v, u) != (y, x) and weight > 0:
                        gap = abs(math.log(depth[y, x] / depth[v, u]))
                        found.append((abs(math.log(guide[y, x] / guide[v, u])), gap, weight))
            for apart, gap, weight in sorted(found)[: ranking.NEIGHBOURS]:
                if apart < ranking.TOLD_APART:
                    total, weights = total + weight * max(gap - ranking.MARGIN, 0.0), weights + weight
    expected = total / max(weights, 1.0)
    assert expected > 0.01
    assert float(ranking.continuity(depth, guide, confidence)) == pytest.approx(expected, rel=1e-6)


def test_ranking_forgives_any_rising_change_of_depth_and_continuity_a_slant() -> None:
    guide = plane_depth()
    sure = torch.ones_like(guide)
    assert float(ranking.ranking(guide.square() * 5, guide, sure, (1, 4))) == 0
    assert float(ranking.ranking(10 - guide, guide, sure, (1, 4))) > 0.01
    assert float(ranking.continuity(guide.square(), guide, sure)) < 1e-3, "only the top and bottom rows see a slant"
    torn = guide + torch.arange(20)[:, None] % 2
    assert float(ranking.continuity(torn, guide, sure)) > 0.05


def test_a_wrong_order_is_corrected() -> None:
    guide = plane_depth()
    guide[6:14, 8:16] = 2.0
    depth = torch.full_like(guide, 3.2)
    depth[6:14, 8:16] = 4.0
    log_depth = depth.log().requires_grad_(True)
    optimizer, generator = torch.optim.Adam([log_depth], lr=0.02), torch.Generator().manual_seed(0)
    for _ in range(60):
        offset = tuple(torch.randint(-8, 9, (2,), generator=generator).tolist())
        optimizer.zero_grad()
        loss = ranking.ranking(log_depth.exp(), guide, torch.ones_like(guide), offset)
        (loss + ranking.continuity(log_depth.exp(), guide, torch.ones_like(guide))).backward()
        optimizer.step()
    inside = torch.zeros_like(guide, dtype=torch.bool)
    inside[6:14, 8:16] = True
    assert float(log_depth.detach()[inside].max()) < float(log_depth.detach()[~inside].min())


def test_correlation_and_residual_are_numpys() -> None:
    a, b, weight = (m.reshape(1, -1) for m in maps())
    covariance = np.cov(a[0], b[0], aweights=weight[0], ddof=0)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert float(invariant.correlation(a, b, weight)) == pytest.approx(expected, rel=1e-5)
    root = weight[0].sqrt().numpy()
    design = np.stack([a[0].numpy(), np.ones(a.shape[1])], 1) * root[:, None]
    _, squares, _, _ = np.linalg.lstsq(design, b[0].numpy() * root, rcond=None)
    residual = float(invariant.scale_shift_residual(a[0], b[0], weight[0]))
    assert residual == pytest.approx(float(squares[0] / weight.sum()), rel=1e-6)
    assert residual / covariance[1, 1] == pytest.approx(1 - expected**2, rel=1e-5)


def test_scale_and_shift_of_inverse_depth_cost_nothing() -> None:
    _, guide, weight = (m.float().reshape(1, -1) for m in maps())
    changed = 0.3 * guide + 2
    assert float(invariant.correlation(changed, guide, weight)) == pytest.approx(1, abs=1e-5)
    assert float(invariant.scale_shift_residual(changed[0], guide[0], weight[0])) < 1e-10
    assert float(invariant.correlation(-changed, guide, weight)) == pytest.approx(-1, abs=1e-5)


def test_patches_are_squares_of_a_grid() -> None:
    image = torch.arange(70.0).reshape(7, 10)
    found = invariant.patches(image, 3, [1, 2])
    assert found.shape == (4, 9)
    assert torch.equal(found[0], image[1:4, 2:5].flatten())
    assert torch.equal(found[3], image[4:7, 5:8].flatten())
    assert invariant.patches(image, 30, [5, 5]).shape == (1, 49)


def test_gradients_are_those_of_finite_differences() -> None:
    depth, guide, confidence = maps(5, 6)
    depth.requires_grad_(True)
    row = lambda m: m.reshape(1, -1)  # noqa: E731
    assert gradcheck(lambda d: ranking.ranking(d, guide, confidence, (1, -2)), depth)
    assert gradcheck(lambda d: ranking.continuity(d, 2 + 0.005 * guide, confidence), depth)
    assert gradcheck(lambda d: invariant.correlation(row(d), row(guide), row(confidence)), depth)
    assert gradcheck(
        lambda d: invariant.scale_shift_residual(d.reshape(-1), guide.reshape(-1), confidence.reshape(-1)), depth
    )
    camera = replace(
        arc_cameras(1), Ks=arc_cameras(1).Ks.double(), cam_from_world=arc_cameras(1).cam_from_world.double()
    )
    near = (3 + 0.01 * depth.detach()).requires_grad_(True)
    assert gradcheck(lambda d: normals.normals_of_depth(d, camera)[0], near, atol=1e-4)


def test_normals_of_a_plane_are_its_own_and_face_the_camera() -> None:
    camera = arc_cameras(1)
    turn = exp_se3(torch.tensor([[0.3, -0.2, 0.5, 0.2, -0.4, 0.1]]))
    camera = replace(camera, cam_from_world=turn @ camera.cam_from_world)
    normal = torch.nn.functional.normalize(torch.tensor([0.3, 0.2, -1.0]), dim=0)  # in the camera
    rays = torch.cat([(pixel_grid(SIZE[1], SIZE[0]) - camera.Ks[0, :2, 2]) / 70.0, torch.ones(SIZE[1], SIZE[0], 1)], -1)
    depth = (-4.0 / (rays @ normal)).clamp_min(0)
    depth[:, 40:] += 1.0
    found, valid = normals.normals_of_depth(depth, camera)
    in_world = camera.cam_from_world[0, :3, :3].T @ normal
    assert valid[1:-1, 1:39].all()
    assert not valid[:, 39:41].any()
    assert not valid[0].any()
    assert torch.allclose(found[1:-1, 1:39], in_world.expand(SIZE[1] - 2, 38, 3), atol=1e-3)


def test_smoothness_counts_turns_and_less_so_across_colours() -> None:
    facing = torch.tensor([0.0, 0.0, -1.0]).repeat(6, 8, 1)
    facing[:, 4:] = torch.tensor([1.0, 0.0, 0.0])
    valid, plain = torch.ones(6, 8, dtype=torch.bool), torch.zeros(6, 8, 3)
    edge = plain.clone()
    edge[:, 4:] = 0.2
    assert float(normals.smoothness(facing, valid, plain)) == pytest.approx(2 / 7)
    assert float(normals.smoothness(facing, valid, edge)) < 0.01
    valid[:, 3] = False
    assert float(normals.smoothness(facing, valid, plain)) == 0


def test_a_step_aside_moves_pixels_by_focal_times_shift_over_depth() -> None:
    camera = arc_cameras(1)
    depth = torch.full((SIZE[1], SIZE[0]), 5.0)
    aside = moved_sideways(camera, 0.5)
    uv, weight = positions_and_weight(depth, camera, torch.full_like(depth, 5.0), aside)
    moved = pixel_grid(SIZE[1], SIZE[0]) - uv
    assert torch.allclose(moved[..., 0], torch.full_like(depth, 70 * 0.5 / 5), atol=1e-4)
    assert torch.allclose(moved[..., 1], torch.zeros_like(depth), atol=1e-4)
    assert weight[:, 8:].all()
    assert not weight[:, :7].any()
    _, hidden = positions_and_weight(depth, camera, torch.full_like(depth, 3.0), aside)
    assert not hidden.any()


def truth_trainer(change: Splats | None = None, loss: LossConfig | None = None) -> Trainer:
    """A trainer that stands at the true splats, or at `change`, at full resolution."""
    posed, depths, truth = scene()
    config = TrainConfig(sh_degree=0, coarse_scale=1.0, random_background=False, init=InitConfig(max_gaussians=50))
    trainer = Trainer(posed, depths, replace(config, loss=loss or LossConfig()), rasterizer())
    n = len(trainer.parameters)
    trainer.parameters.rewrite(torch.zeros(0, dtype=torch.long), truth if change is None else change)
    assert n != len(trainer.parameters)
    return trainer


def value(term: Term, splats: Splats, draws: int = 1) -> float:
    """Mean of a term over every photo and some draws."""
    trainer = truth_trainer(splats)
    with torch.no_grad():
        steps = [trainer.look(index)[0] for index in range(3) for _ in range(draws)]
        return float(torch.stack([term(replace(step, fraction=0.5)) for step in steps]).mean())


def test_a_photo_carried_over_fits_at_the_true_depth_only() -> None:
    _, _, truth = scene()
    term = PhotoConsistency(setup(), PhotosConfig())
    assert {len(views) for views in term.neighbours} == {2}
    moved = {shift: replace(truth, means=truth.means + torch.tensor([0.0, 0, shift])) for shift in (-0.4, 0.0, 0.4)}
    values = {shift: value(term, splats, draws=2) for shift, splats in moved.items()}
    assert values[0.0] < 0.6 * min(values[-0.4], values[0.4]), values


def test_photo_consistency_pulls_splats_towards_the_true_depth() -> None:
    _, _, truth = scene()
    term = PhotoConsistency(setup(), PhotosConfig())
    for shift, sign in ((-0.25, -1), (0.25, 1)):
        trainer = truth_trainer(replace(truth, means=truth.means + torch.tensor([0.0, 0, shift])))
        for index in range(3):
            term(replace(trainer.look(index)[0], fraction=0.5)).backward()
        gradient = trainer.parameters.tensors()["means"].grad
        assert gradient is not None
        assert float(gradient[:, 2].sum()) * sign > 0, shift


def setup() -> Setup:
    posed, depths, _ = scene()
    return Setup(posed, depths)


def test_a_second_eye_sees_floaters() -> None:
    _, _, truth = scene()
    generator = torch.Generator().manual_seed(5)
    some = torch.randperm(len(truth), generator=generator)[:60]
    centre = arc_cameras(3).centers[1]
    # On the rays of photo 1 these keep its colours: only from aside do they show.
    floaters = replace(truth[some], means=centre + 0.6 * (truth.means[some] - centre))
    term = Binocular(BinocularConfig(max_shift=0.15))
    clean, foggy = value(term, truth, 4), value(term, Splats.cat([truth, floaters]), 4)
    assert clean < 0.02
    assert foggy > 1.5 * clean, (clean, foggy)


def test_terms_wait_for_their_time_and_for_something_to_compare() -> None:
    posed, _, _ = scene()
    trainer = Trainer(posed, None, TrainConfig(init=InitConfig(max_gaussians=500)), rasterizer())
    step, _ = trainer.look(0)
    assert step.fraction == 0
    everything = {name: build(setup(), TermsConfig()) for name, build in TERMS.items()}
    silent = {name for name, term in everything.items() if float(term(step).detach()) == 0}
    waiting = {"binocular", "photos"}
    assert silent == waiting | {"depth", "ranking", "correlation", "patch_correlation", "scale_shift", "normals"}


def test_a_prior_goes_before_stereo_in_the_terms_that_forgive_scale() -> None:
    posed, depths, _ = scene()
    upside_down = DepthMaps(tuple(10 - d for d in depths.depth), depths.confidence)
    config = TrainConfig(init=InitConfig(max_gaussians=2000), loss=LossConfig(ranking=1.0), coarse_scale=1.0)
    by_stereo, by_prior = (
        float(ranking.term(Trainer(posed, depths, config, rasterizer(), prior).look(1)[0]).detach())
        for prior in (None, upside_down)
    )
    assert by_prior > 2 * by_stereo


def test_the_loss_is_the_weighted_sum_of_the_terms_that_are_on() -> None:
    assert set(TERMS) <= {f.name for f in dataclasses.fields(LossConfig)}
    assert set(truth_trainer().objective.terms) == {"alpha", "depth"}
    trainer = truth_trainer(loss=LossConfig(depth=0.3, opacity=0.2, smoothness=0.1))
    step, _ = trainer.look(0)
    loss = float(trainer.objective(step).detach())
    assert set(trainer.objective.readings) == {"photometric", "alpha", "depth", "opacity", "smoothness"}
    weights = trainer.config.loss
    expected = photometric.photometric(step.rgb, step.wanted, weights.ssim)
    for name in ("alpha", "depth", "opacity", "smoothness"):
        expected = expected + getattr(weights, name) * TERMS[name](setup(), TermsConfig())(step)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert loss == pytest.approx(sum(float(v) for v in trainer.objective.readings.values()), rel=1e-5)


def test_every_term_trains_to_finite_splats() -> None:
    posed, depths, _ = scene()
    depths = replace(depths, normals=tuple(torch.tensor([0.0, 0, -1]).expand(*d.shape, 3) for d in depths.depth))
    config = TrainConfig(
        steps=6,
        init=InitConfig(max_gaussians=600),
        loss=LossConfig(**dict.fromkeys(TERMS, 0.1), robust=1.0),
    )
    trainer = Trainer(posed, depths, config, rasterizer())
    for _ in range(6):
        trainer.step()
    assert set(trainer.objective.readings) == {"photometric", *TERMS}
    assert all(float(value) > 0 for value in trainer.objective.readings.values()), trainer.objective.readings
    assert all(tensor.isfinite().all() for tensor in trainer.parameters.tensors().values())
