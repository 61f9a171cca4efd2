"""What photos show of a view, and the plain blend of them: against a loop, and on a made wall whose truth is known."""

from dataclasses import replace

import pytest
import torch
from reference.carrying import carry

from recon.errors import InputError, MissingDependencyError
from recon.priors import diffusion
from recon.priors.diffusion import BlendPrior, NullPrior, Prior, make_prior, make_views
from recon.priors.diffusion.blend import blend, blend_logits
from recon.types import Cameras, Rendering

SIZE = (24, 18)


def cameras(*places: float) -> Cameras:
    """Looking along z from (x, 0, -4)."""
    poses = torch.eye(4).repeat(len(places), 1, 1)
    poses[:, 0, 3] = -torch.tensor(places)
    poses[:, 2, 3] = 4.0
    K = torch.tensor([[26.0, 0, SIZE[0] / 2], [0, 26.0, SIZE[1] / 2], [0, 0, 1]])
    return Cameras.create(poses, K.repeat(len(places), 1, 1), *SIZE)


def wall(seen: Cameras) -> Rendering:
    """A smooth pattern on the plane z = 0, exactly."""
    x = (torch.arange(SIZE[0]) + 0.5 - SIZE[0] / 2) / 26 * 4
    y = (torch.arange(SIZE[1]) + 0.5 - SIZE[1] / 2) / 26 * 4
    across = seen.centers[:, 0, None, None] + x[None, None, :] + 0 * y[None, :, None]
    rgb = torch.stack([0.5 + 0.4 * torch.sin(k * across + y[None, :, None]) for k in (1, 2, 3)], dim=-1)
    return Rendering(rgb, torch.ones(rgb.shape[:3]), torch.full(rgb.shape[:3], 4.0))


def dimmed(rendering: Rendering) -> Rendering:
    return replace(rendering, rgb=0.7 * rendering.rgb)


def views_of_the_wall(places: tuple[float, ...] = (-0.5, 0.0, 0.6), at: float = 0.2) -> diffusion.Views:
    """Splats that show the wall too dark, from the photos' places and from between."""
    there, view = cameras(*places), cameras(at)
    return make_views(dimmed(wall(view)), view, list(wall(there).rgb), dimmed(wall(there)), there)


def test_what_is_carried_over_is_what_a_loop_carries() -> None:
    generator = torch.Generator().manual_seed(0)
    view, photo = cameras(0.3), cameras(-0.4)
    depth = 3 + 2 * torch.rand(1, SIZE[1], SIZE[0], generator=generator)
    noise = torch.rand(3, 1, SIZE[1], SIZE[0], 3, generator=generator)
    own_depth = 3.6 + 0.4 * torch.rand(1, SIZE[1], SIZE[0], generator=generator)
    own_depth[0, :3] = 0
    own = Rendering(noise[0], 0.5 + 0.5 * noise[0, ..., 0], own_depth)
    drawn = Rendering(noise[1], noise[1, ..., 1], depth)
    made = make_views(drawn, view, [noise[2, 0]], own, photo)
    alone = Rendering(own.rgb[0], own.alpha[0], own.depth[0])
    picture, shows, valid = carry(depth[0], drawn.alpha[0], view, noise[2, 0], alone, photo)
    assert valid.max() > 0.3
    assert torch.allclose(made.valid[0, 0], valid, atol=2e-3)
    seen = valid > 0
    assert torch.allclose(made.warped[0, 0][seen], picture[seen], atol=2e-3)
    assert torch.allclose(made.warped_own[0, 0][seen], shows[seen], atol=2e-3)
    assert made.valid[0, 1].max() == 0, "the only photo is named twice, and counts once"


def test_a_photo_that_sees_another_surface_or_nothing_does_not_count() -> None:
    there, view = cameras(0.0), cameras(1.5)
    hidden = replace(wall(there), depth=torch.full((1, SIZE[1], SIZE[0]), 3.0))
    covered = make_views(wall(view), view, [wall(there).rgb[0]], hidden, there)
    assert covered.valid.max() < 1e-3
    beside = make_views(wall(cameras(0.1)), cameras(0.1), [wall(there).rgb[0]], hidden, there)
    assert beside.valid.max() > 0.8, "from close by, what is off in depth alone does not show"
    empty = replace(wall(view), depth=torch.zeros(1, SIZE[1], SIZE[0]))
    assert make_views(empty, view, [wall(there).rgb[0]], wall(there), there).valid.max() == 0
    aside = make_views(wall(view), view, [wall(cameras(9.0)).rgb[0]], wall(cameras(9.0)), cameras(9.0))
    assert aside.valid.max() == 0


def test_the_nearest_photos_are_taken_and_distances_are_in_their_spacing() -> None:
    views = views_of_the_wall((-0.5, 0.0, 0.6), at=0.2)
    assert views.nearest[0].tolist() == [1, 2]
    assert float(views.distance[0]) == pytest.approx(0.2 / 0.5, rel=1e-4)


def test_the_blend_brings_back_what_the_photos_know() -> None:
    views, truth = views_of_the_wall(), wall(cameras(0.2)).rgb
    before, after = ((image - truth).square().mean() for image in (views.rgb, blend(views)))
    assert after < 0.15 * before
    repaired = BlendPrior().repair(views)
    assert torch.equal(repaired.images, blend(views))
    inside = repaired.confidence[0, 2:-2, 4:-4]
    assert inside.min() > 0.9


def test_where_no_photo_counts_the_blend_is_the_rendering() -> None:
    views = views_of_the_wall()
    unseen = replace(views, valid=torch.zeros_like(views.valid))
    assert torch.equal(blend(unseen), unseen.rgb)
    assert BlendPrior().repair(unseen).confidence.max() == 0


def test_logits_and_a_residual_change_the_blend_as_they_say() -> None:
    views = views_of_the_wall()
    logits = blend_logits(views)
    assert logits.shape == (1, 3, SIZE[1], SIZE[0])
    assert torch.equal(blend(views, logits), blend(views))
    only_rendering = torch.zeros_like(logits)
    only_rendering[:, 0] = 50
    assert torch.allclose(blend(views, only_rendering), views.rgb, atol=1e-6)
    brighter = blend(views, only_rendering, torch.full((1, 3, SIZE[1], SIZE[0]), 0.05))
    assert torch.allclose(brighter, (views.rgb + 0.05).clamp(0, 1), atol=1e-6)


def test_priors_are_made_by_name() -> None:
    assert isinstance(make_prior("blend"), BlendPrior)
    assert isinstance(make_prior("none"), Prior)
    with pytest.raises(InputError, match=r"no prior called 'blur'.*blend"):
        make_prior("blur")
    with pytest.raises(InputError, match="takes no checkpoints"):
        make_prior("blend", ["somebody/weights"])


def test_a_prior_that_lacks_something_is_refused_unless_downloads_are_allowed(monkeypatch) -> None:
    class Absent(NullPrior):
        def available(self) -> tuple[bool, str]:
            return False, "Not on this machine: somebody/weights (licence MIT, 2 GB)."

    monkeypatch.setitem(diffusion.PRIORS, "absent", Absent)
    monkeypatch.delenv("RECON_ALLOW_DOWNLOAD", raising=False)
    with pytest.raises(MissingDependencyError, match="licence MIT"):
        diffusion.require_prior("absent")
    monkeypatch.setenv("RECON_ALLOW_DOWNLOAD", "1")
    assert diffusion.require_prior("absent") is None
