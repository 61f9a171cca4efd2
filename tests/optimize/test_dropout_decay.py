"""What is done to opacities while training: some dropped, all shaken, all lowered. Synthetic, since truth is needed."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import arc_cameras, rasterizer, scene

from recon.events import SplatsUpdated
from recon.optimize import DensifyConfig, InitConfig, TrainConfig, Trainer
from recon.optimize.decay import DecayConfig, OpacityDecay
from recon.optimize.dropout import compensate, drop_out
from recon.types import Splats


def test_a_share_is_left_out_and_strengthened_or_not() -> None:
    opacities = torch.full((20_000,), 0.5)
    generator = torch.Generator().manual_seed(0)
    strong = drop_out(opacities, 0.2, "compensated", generator)
    assert float((strong == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert torch.allclose(strong[strong > 0], torch.tensor(0.625))
    assert float(strong.mean()) == pytest.approx(0.5, abs=0.01)
    plain = drop_out(opacities, 0.2, "plain", generator)
    assert float((plain == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert torch.equal(plain[plain > 0], opacities[plain > 0])


def test_noise_multiplies_and_stays_an_opacity() -> None:
    opacities = torch.full((20_000,), 0.4)
    shaken = drop_out(opacities, 0.3, "noise", torch.Generator().manual_seed(0))
    assert float(shaken.mean()) == pytest.approx(0.4, abs=0.01)
    assert float(shaken.std()) == pytest.approx(0.12, abs=0.005)
    wild = drop_out(opacities, 3.0, "noise", torch.Generator().manual_seed(0))
    assert float(wild.min()) == 0
    assert float(wild.max()) < 1


def test_no_rate_changes_nothing_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    opacities = torch.rand(10)
    assert drop_out(opacities, 0.0, "noise", generator) is opacities
    assert torch.equal(generator.get_state(), before)


def test_plain_dropout_is_made_good_at_the_end() -> None:
    _, _, truth = scene()
    assert compensate(truth, 0.3, "compensated") is truth
    dimmed = compensate(truth, 0.3, "plain")
    assert torch.allclose(dimmed.opacities, 0.7 * truth.opacities, atol=1e-5)
    posed, depths, _ = scene()
    config = TrainConfig(steps=3, init=InitConfig(max_gaussians=300), dropout=0.3, dropout_kind="plain")
    trainer = Trainer(posed, depths, config, rasterizer())
    for step, kept in enumerate((1.0, 0.9, 0.8, 0.7)):  # what was left out by then, for a training may stop early
        expected = kept * trainer.splats().opacities
        assert torch.allclose(trainer.result().splats.opacities[: len(expected)], expected, atol=1e-5), step
        assert torch.allclose(trainer.shown().opacities, expected, atol=1e-5), step
        trainer.step()


def test_who_looks_on_sees_them_as_they_will_be() -> None:
    posed, depths, _ = scene()
    config = TrainConfig(
        steps=4, init=InitConfig(max_gaussians=300), dropout=0.5, dropout_kind="plain", publish_every=4
    )
    seen: list[Splats] = []
    trainer = Trainer(posed, depths, config, rasterizer())
    while trainer.step_index < trainer.end:
        trainer.step()
    trainer.publish(lambda event: seen.append(event.splats) if isinstance(event, SplatsUpdated) else None)
    assert torch.allclose(seen[0].opacities, 0.5 * trainer.splats().opacities, atol=1e-5)


def decay(config: DecayConfig) -> OpacityDecay:
    posed, depths, _ = scene()
    return OpacityDecay(posed, depths, config, torch.device("cpu"))


def test_opacity_is_multiplied_once_a_step() -> None:
    means, opacities = torch.zeros(5, 3), torch.tensor([0.01, 0.2, 0.5, 0.9, 0.999])
    logits = torch.logit(opacities)
    for _ in range(3):
        decay(DecayConfig(0.99, spare_sure=False)).step(means, logits)
    assert torch.allclose(logits.sigmoid(), opacities * 0.99**3, atol=1e-5)
    decay(DecayConfig(1.0)).step(means, logits)
    assert torch.allclose(logits.sigmoid(), opacities * 0.99**3, atol=1e-5)


def test_a_state_comes_back_with_what_is_spared() -> None:
    posed, _, _ = scene()
    one, other = decay(DecayConfig(0.9)), decay(DecayConfig(0.9))
    means, logits = posed.points.xyz[:50].clone(), torch.zeros(50)
    one.step(means, logits)
    other.load_state_dict(one.state_dict())
    away = means + 5.0  # looked at again only after a while
    for each in (one, other):
        lowered = torch.zeros(50)
        each.step(away, lowered)
        assert (lowered == 0).float().mean() > 0.9


def test_sure_surfaces_are_spared() -> None:
    posed, depths, _ = scene()
    on_surface = posed.points.xyz[:200]
    centre = arc_cameras(3).centers[1]
    in_front = centre + 0.5 * (on_surface - centre)
    outside = torch.tensor([[0.0, 0.0, -9.0], [50.0, 0.0, 0.0], [0.0, 0.0, -4.0]])
    means = torch.cat([on_surface, in_front, outside])
    logits = torch.zeros(len(means))
    lowering = decay(DecayConfig(0.9))
    assert lowering.on_sure_surface(means).nonzero()[:, 0].max() < 200
    lowering.step(means, logits)
    assert (logits[:200] == 0).float().mean() > 0.9
    assert (logits[200:] < 0).all()
    unsure = replace(depths, confidence=tuple(torch.zeros_like(c) for c in depths.confidence))
    nothing = OpacityDecay(posed, unsure, DecayConfig(0.9), torch.device("cpu"))
    assert not nothing.on_sure_surface(means).any()


def test_decay_removes_what_the_photos_do_not_hold() -> None:
    posed, depths, truth = scene()
    faint: Splats = replace(truth[:200], means=truth.means[:200] + torch.tensor([0.0, 0.0, 1.5]))
    config = TrainConfig(
        steps=30,
        sh_degree=0,
        init=InitConfig(max_gaussians=600),
        densify=DensifyConfig(stop=-1.0),
        refine_poses=False,
        decay=DecayConfig(0.95),
    )
    opacity = {}
    for name, chosen in (("on", config), ("off", replace(config, decay=DecayConfig()))):
        trainer = Trainer(posed, depths, chosen, rasterizer())
        n = len(trainer.parameters)
        trainer.parameters.rewrite(torch.arange(n), faint)
        for _ in range(29):
            trainer.step()
        opacity[name] = trainer.parameters.splats().detach().opacities[n:].mean()
    assert opacity["on"] < 0.5 * opacity["off"], opacity
