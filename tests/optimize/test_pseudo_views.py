"""Pseudo-views in the optimisation: where they go, what they count, and a gate that lets nothing harmful through."""

import math
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
from recon.optimize.pseudo.gate import Trial, between_others
from recon.optimize.pseudo.places import place_between
from recon.optimize.pseudo.views import Mended, weighed
from recon.optimize.undercoat import UndercoatConfig
from recon.priors.diffusion import Licence, NullPrior, Repaired, Views, make_views
from recon.render import render
from recon.types import DepthMaps, PosedScene, Rendering, Splats

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


def trial(name: str, lacks: float, counts: float = 1.0) -> Trial:
    """A grey view whose photo is brighter by `lacks`."""
    there = arc_cameras(3)
    own = Rendering(torch.full((3, 48, 64, 3), 0.4), torch.ones(3, 48, 64), torch.full((3, 48, 64), 4.0))
    drawn = Rendering(own.rgb[:1], own.alpha[:1], own.depth[:1])
    return Trial(name, make_views(drawn, there[1], list(own.rgb), own, there), own.rgb[0] + lacks, counts)


class Pupil(NullPrior):
    """Brightens by what it was taught; at first not at all."""

    def __init__(self, brighter: float = 0.0) -> None:
        self.brighter = brighter

    def repair(self, views: Views) -> Repaired:
        return Repaired(views.rgb + self.brighter, torch.ones_like(views.alpha))

    def taught(self, seen: list[tuple[Views, torch.Tensor]], steps: int) -> "Pupil":
        return Pupil(float(torch.stack([(photo - views.rgb[0]).mean() for views, photo in seen]).mean()))

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"brighter": torch.tensor(self.brighter)}

    def with_state(self, state: dict[str, torch.Tensor]) -> "Pupil":
        return Pupil(float(state["brighter"]))


def test_pictures_are_moved_as_far_as_the_photos_forgive() -> None:
    def lost_db(strength: float, lacks: float, brighter: float) -> float:
        return 20 * math.log10(abs(lacks - strength * brighter) / lacks)

    found = gate._tried(Pupil(0.4), [trial("a", 0.1), trial("b", 0.3, counts=1e-9)])
    strength = gate._strength(found)
    assert lost_db(strength, 0.1, 0.4) == pytest.approx(0.1, abs=1e-3)
    assert found[0].mended == pytest.approx(0.1**2 - 0.3**2, abs=1e-5)
    assert gate._strength(gate._tried(Pupil(-0.2), [trial("a", 0.1)])) == 0
    assert gate._strength(gate._tried(Pupil(0.05), [trial("a", 0.1)])) == 1


def test_what_a_prior_learns_counts_where_it_helps_photos_it_was_not_taught() -> None:
    alike, apart = [[trial("a", 0.1), trial("b", other), trial("c", third)] for other, third in ((0.1, 0.1), (-0.1, 0))]
    found, taught = gate._taught(Pupil(), alike, gate._tried(Pupil(), alike), 5)
    assert taught is not None
    assert taught.brighter == pytest.approx(0.1, abs=1e-5)
    assert all(one.gain_db > 20 for one in found)
    before = gate._tried(Pupil(), apart)
    assert gate._taught(Pupil(), apart, before, 5) == (before, None)


def test_a_prior_is_taught_before_it_is_used_and_again_from_the_checkpoint(monkeypatch) -> None:
    posed, depths, _ = wall_scene()
    dark = replace(posed, images=tuple(0.5 * image for image in posed.images))
    use(monkeypatch, Pupil())
    config = replace(SHORT, steps=34, pseudo=replace(PSEUDO, adapt=5))
    trainer = Trainer(dark, depths, config, rasterizer())
    judgement = gate.judge(Pupil(-0.3), dark, depths, lambda scene, maps: trainer.splats(), rasterizer(), config.pseudo)
    assert judgement.taught is not None
    assert judgement.strength > 0.9
    assert judgement.details()["taught"]
    assert "taught the scene" in judgement.reason
    trainer.pseudo.judgement = judgement
    again = rounds.PseudoViews(config.pseudo, config.steps, 3, 0)
    again.load_state_dict(trainer.pseudo.state_dict())
    assert again.judgement == judgement
    assert again.prior.brighter == pytest.approx(judgement.taught.brighter)


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
