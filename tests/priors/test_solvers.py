"""Plug-and-play solvers on a wall that is seen by several cameras."""

import pytest
import torch
from hub_fixtures import wall_views

from recon.priors.diffusion.base import Prior
from recon.priors.diffusion.solvers import SolverConfig, SolverPrior, non_local_means, solve

TRUTH = wall_views(3).rgb
NOISY = wall_views(3, noise=0.1)


def untouched(images, sigma):
    return images


def error(images) -> float:
    return float((images - TRUTH).square().mean())


def test_sound_renderings_are_left_alone():
    views = wall_views(3)
    assert torch.allclose(solve(views, untouched, SolverConfig()), views.rgb, atol=0.02)


def test_what_nothing_ties_is_the_denoisers():
    views = wall_views(1)
    views.alpha.zero_()
    views.valid.zero_()
    grey = solve(views, lambda images, sigma: torch.full_like(images, 0.4), SolverConfig())
    assert torch.allclose(grey, torch.full_like(grey, 0.4), atol=1e-5)


@pytest.mark.parametrize("method", ["hqs", "admm"])
def test_each_part_takes_noise_away(method):
    none = SolverConfig(method=method, photos=0, consistency=0, prior=1, sigma_first=0.15, sigma_last=0.08)
    denoised = solve(NOISY, non_local_means, none)
    assert error(denoised) < 0.8 * error(NOISY.rgb)
    across = SolverConfig(method=method, photos=0, consistency=1.0, agrees=0.5)
    # Independent noise of two neighbours, averaged in; without a denoiser, nothing else can do it.
    assert error(solve(NOISY, untouched, across)) < 0.8 * error(NOISY.rgb)
    wrong = wall_views(3, wrong=0.2)
    photos = SolverConfig(method=method, consistency=0, photos=2.0)
    assert error(solve(wrong, untouched, photos)) < 0.5 * error(wrong.rgb)


def test_views_made_up_one_by_one_are_brought_together():
    views = wall_views(3)

    def tinted(images, sigma):
        return (images + torch.tensor([0.2, 0.0, -0.2]).reshape(3, 1, 1, 1)).clamp(0, 1)

    def disagreement(config: SolverConfig) -> float:
        solved = solve(views, tinted, config)
        return float((solved - TRUTH).mean(dim=(1, 2, 3)).std())

    alone = SolverConfig(prior=2.0, photos=0, consistency=0)
    together = SolverConfig(prior=2.0, photos=0, consistency=2.0, agrees=0.5)
    assert disagreement(together) < 0.75 * disagreement(alone)


def test_the_prior_gains_weight_as_its_noise_falls():
    seen = []

    def remembers(images, sigma):
        seen.append(sigma)
        return torch.zeros_like(images)

    solved = solve(wall_views(1), remembers, SolverConfig(iterations=4, sigma_first=0.1, sigma_last=0.01, photos=0))
    assert seen == pytest.approx([0.1, 0.0464, 0.0215, 0.01], abs=1e-3)
    # Renderings of full weight against black: mu = .15 (.1 / .01)^2 = 15 in the last iteration.
    assert torch.allclose(solved, wall_views(1).rgb / 16, atol=1e-4)


def test_it_is_a_prior_that_believes_photos():
    prior = SolverPrior()
    assert isinstance(prior, Prior)
    assert prior.available() == (True, "")
    repaired = prior.repair(NOISY)
    assert torch.equal(repaired.confidence, NOISY.valid.amax(dim=1))
    assert error(repaired.images) < error(NOISY.rgb)
