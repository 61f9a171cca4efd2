"""Pseudo-views in the optimisation: where they go, what they count, and a gate that lets nothing harmful through."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import arc_cameras, rasterizer, scene

from recon.events import Progress
from recon.metrics import psnr
from recon.optimize import DensifyConfig, InitConfig, TrainConfig, Trainer, TrainResult, train
from recon.optimize.horizon import HorizonConfig
from recon.optimize.pseudo import gate, rounds
from recon.optimize.pseudo.config import GateConfig, PseudoConfig
from recon.optimize.pseudo.gate import between_others
from recon.optimize.pseudo.places import place_between
from recon.optimize.pseudo.views import Mended, weighed
from recon.optimize.undercoat import UndercoatConfig
from recon.priors.diffusion import Licence, NullPrior, Repaired, Views, make_views
from recon.render import render
from recon.types import DepthMaps, PosedScene, Splats

PSEUDO = PseudoConfig(
    prior="oracle", seconds=1e6, weight=1.0, share=1.0, every=15, per_photo=2, gate=GateConfig(steps=30)
)
SHORT = TrainConfig(
    steps=60,
    sh_degree=0,
    coarse_scale=1.0,
    dropout=0.0,
    init=InitConfig(max_gaussians=800),
    densify=DensifyConfig(every=30, max_gaussians=900),
    undercoat=UndercoatConfig(margin=0.0),
    horizon=HorizonConfig(distance=0.0),
    pseudo=PSEUDO,
)
UNGATED = replace(SHORT, pseudo=replace(PSEUDO, gate=GateConfig(enabled=False)))


class Oracle:
    """Knows the scene."""

    name = "oracle"
    licence = Licence("")

    def __init__(self, truth: Splats) -> None:
        self.truth = truth
        self.asked = 0

    def available(self) -> tuple[bool, str]:
        return True, ""

    def repair(self, views: Views) -> Repaired:
        self.asked += 1
        return Repaired(render(self.truth, views.cameras, rasterizer()).rgb.clamp(0, 1), torch.ones_like(views.alpha))


class Noise(NullPrior):
    """Sure of nonsense."""

    def repair(self, views: Views) -> Repaired:
        generator = torch.Generator().manual_seed(views.seed)
        return Repaired(torch.rand(views.rgb.shape, generator=generator), torch.ones_like(views.alpha))


class Scorer(NullPrior):
    """Wants everything white, by score alone."""

    def repair(self, views: Views) -> Repaired:
        return Repaired(torch.ones_like(views.rgb), torch.zeros_like(views.alpha))

    def score(self, views: Views) -> torch.Tensor:
        return 100 * (1 - views.rgb).square().mean()


def wall_scene(photos: int = 3) -> tuple[PosedScene, DepthMaps, Splats]:
    posed, depths, truth = scene(photos)
    normals = tuple(torch.tensor([0.0, 0.0, -1.0]).expand(*depth.shape, 3) for depth in depths.depth)
    return posed, replace(depths, normals=normals), truth


@pytest.fixture(scope="module")
def without() -> TrainResult:
    """Trained on three photos without a prior."""
    posed, depths, _ = wall_scene()
    return train(posed, depths, replace(SHORT, pseudo=PseudoConfig()), rasterizer())


def use(monkeypatch: pytest.MonkeyPatch, prior: object) -> None:
    monkeypatch.setattr(rounds, "make_prior", lambda name, checkpoints: prior)


def splats_equal(a: Splats, b: Splats) -> bool:
    return len(a) == len(b) and all(torch.equal(a.tensors()[name], b.tensors()[name]) for name in a.tensors())


def novel_psnr(splats: Splats, truth: Splats) -> float:
    between = arc_cameras(4, spread=0.45)
    expected = render(truth, between, rasterizer()).rgb.clamp(0, 1)
    return float(psnr(render(splats, between, rasterizer()).rgb.clamp(0, 1), expected).mean())


def test_a_prior_that_knows_is_let_in_and_helps(monkeypatch, without) -> None:
    posed, depths, truth = wall_scene()
    oracle, heard = Oracle(truth), []
    use(monkeypatch, oracle)
    with_it = train(posed, depths, SHORT, rasterizer(), emit=heard.append)
    assert without.prior is None
    assert with_it.prior["weight"] == 1
    first, *ends = (row["name"] for row in with_it.prior["photos"])
    assert first == "1.png", "the one between the others"
    assert set(ends) == {"0.png", "2.png"}
    assert all(row["gain_db"] > 3 for row in with_it.prior["photos"])
    assert with_it.prior["repaired_views"] == 2 * 2 * 3 == oracle.asked - 3
    assert novel_psnr(with_it.splats, truth) > novel_psnr(without.splats, truth) + 0.3
    assert any("testing oracle on 1.png" in event.message for event in heard if isinstance(event, Progress))


def test_a_sabotaged_prior_is_turned_off_and_leaves_no_trace(monkeypatch, without) -> None:
    posed, depths, _ = wall_scene()
    use(monkeypatch, Noise())
    sabotaged = train(posed, depths, SHORT, rasterizer())
    assert sabotaged.prior["weight"] == 0
    assert sabotaged.prior["gain_db"] < -3
    assert "not used" in sabotaged.prior["reason"]
    assert splats_equal(sabotaged.splats, without.splats)


def test_without_the_gate_a_sabotaged_prior_does_harm(monkeypatch, without) -> None:
    posed, depths, truth = wall_scene()
    use(monkeypatch, Noise())
    harmed = train(posed, depths, UNGATED, rasterizer())
    assert harmed.prior["weight"] == 1
    assert novel_psnr(harmed.splats, truth) < novel_psnr(without.splats, truth) - 0.1


def test_when_the_time_is_up_nothing_more_is_tested_or_repaired(monkeypatch) -> None:
    posed, depths, truth = wall_scene()
    oracle = Oracle(truth)
    use(monkeypatch, oracle)
    hurried = replace(SHORT, steps=34, pseudo=replace(PSEUDO, seconds=60.0))
    monkeypatch.setattr(gate, "perf_counter", iter([0.0, 0.0, 40.0, 61.0]).__next__)
    result = train(posed, depths, hurried, rasterizer())
    assert oracle.asked == 1
    assert "ran out after 1 of 3 photos" in result.prior["reason"]
    assert result.prior["weight"] == 1, "what was tested counts"
    assert result.prior["out_of_time"]
    assert result.prior["repaired_views"] == 0


def test_two_photos_leave_nothing_to_test_a_prior_on(monkeypatch) -> None:
    posed, depths, truth = wall_scene(2)
    oracle = Oracle(truth)
    use(monkeypatch, oracle)
    result = train(posed, depths, replace(SHORT, steps=34), rasterizer())
    assert result.prior["weight"] == 0
    assert oracle.asked == 0


def test_a_score_pulls_at_the_splats(monkeypatch, without) -> None:
    posed, depths, _ = wall_scene()
    use(monkeypatch, Scorer())
    pulled = train(posed, depths, UNGATED, rasterizer()).splats
    assert pulled.rgb.mean() > without.splats.rgb.mean() + 0.01


def test_training_with_pseudo_views_goes_on_from_its_checkpoint(monkeypatch, tmp_path) -> None:
    posed, depths, truth = wall_scene()
    use(monkeypatch, Oracle(truth))
    whole = Trainer(posed, depths, SHORT, rasterizer())
    for _ in range(40):
        whole.step()
    whole.save(tmp_path / "c.pt")
    resumed = Trainer(posed, depths, SHORT, rasterizer())
    resumed.resume(tmp_path / "c.pt")
    assert resumed.step_index == 40
    assert resumed.pseudo.judgement == whole.pseudo.judgement
    for trainer in (whole, resumed):
        while trainer.step_index < SHORT.steps:
            trainer.step()
    a, b = whole.result(), resumed.result()
    assert torch.allclose(a.splats.means, b.splats.means, atol=1e-5)
    assert a.prior["repaired_views"] == b.prior["repaired_views"] == 12


def test_photos_with_masks_are_compared_in_front_of_black(monkeypatch) -> None:
    posed, depths, truth = wall_scene()
    shown = []

    class Witness(Oracle):
        def repair(self, views: Views) -> Repaired:
            shown.extend(views.photos)
            return Repaired(views.rgb, torch.zeros_like(views.alpha))

    use(monkeypatch, Witness(truth))
    mask = torch.zeros(posed.images[0].shape[:2])
    mask[:, 16:48] = 1
    masked = replace(posed, masks=(mask, mask, mask))
    result = train(masked, depths, replace(SHORT, steps=34), rasterizer())
    assert "was the prior sure of anything" in result.prior["reason"]
    assert all(photo[:, :2].max() == 0 and photo[:, photo.shape[1] // 2].max() > 0 for photo in shown)


def test_views_lie_between_neighbours_and_grow_outward() -> None:
    cameras = arc_cameras(3, spread=1.0)
    place = lambda beyond, seed: place_between(  # noqa: E731
        cameras, 40, beyond, 0.0, torch.Generator().manual_seed(seed)
    )
    inside, outside = place(0.0, 0).centers, place(0.5, 0).centers
    assert inside[:, 0].abs().max() <= 1
    assert 1.2 < float(outside[:, 0].abs().max()) <= 2
    assert torch.equal(place(0.0, 0).centers, inside)
    assert not torch.equal(place(0.0, 1).centers, inside)


def test_far_views_and_views_that_disagree_count_less() -> None:
    _, _, truth = wall_scene()
    photos, places = arc_cameras(2), arc_cameras(3, spread=0.3)
    drawn = [render(truth, places[k], rasterizer()) for k in range(3)]
    own = render(truth, photos, rasterizer())
    views = [make_views(drawn[k], places[k], list(own.rgb), own, photos) for k in range(3)]
    mended = [Mended.of(one, Repaired(one.rgb, torch.ones_like(one.alpha))) for one in views]
    agreed = weighed(mended)
    assert agreed[1].weight.float().mean() < agreed[0].weight.float().mean(), "the middle is farther from the photos"
    quarrel = weighed([*mended[:2], replace(mended[2], image=1 - mended[2].image)])
    assert quarrel[2].weight.float().mean() < 0.5 * agreed[2].weight.float().mean()


def test_photos_between_others_say_more_about_a_prior() -> None:
    cameras = arc_cameras(3)
    assert between_others(cameras, 1) == pytest.approx(1, abs=1e-4)
    assert between_others(cameras, 0) == pytest.approx(1 / 9, abs=1e-4)
