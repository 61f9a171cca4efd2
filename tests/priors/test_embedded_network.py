"""The embedded prior's network, its loss and its file, on a made wall whose truth is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon.assets import weight_path
from recon.errors import InputError, MissingDependencyError
from recon.priors.diffusion import BlendPrior, Views, embedded, make_views
from recon.priors.diffusion.embedded import WEIGHTS, EmbeddedPrior, load_network, save_network, shipped_network
from recon.priors.diffusion.fitting import LossConfig, Pair, adapt, pair_loss
from recon.priors.diffusion.network import BlendNet, NetworkConfig, Planes, noised, predict, signal_share
from recon.types import Cameras, Rendering

SIZE = (38, 27)  # not a multiple of what the network folds
SMALL = NetworkConfig(channels=(8, 16, 16))


def cameras(*places: float) -> Cameras:
    """Looking along z from (x, 0, -4)."""
    poses = torch.eye(4).repeat(len(places), 1, 1)
    poses[:, 0, 3], poses[:, 2, 3] = -torch.tensor(places), 4.0
    K = torch.tensor([[40.0, 0, SIZE[0] / 2], [0, 40.0, SIZE[1] / 2], [0, 0, 1]])
    return Cameras.create(poses, K.repeat(len(places), 1, 1), *SIZE)


def wall(seen: Cameras) -> Rendering:
    """A pattern on the plane z = 0."""
    x, y = ((torch.arange(side) + 0.5 - side / 2) / 10 for side in SIZE)
    across = seen.centers[:, 0, None, None] + x + 0 * y[:, None]
    rgb = torch.stack([0.5 + 0.4 * torch.sin(k * (3 * across + y[:, None])) for k in (1, 2, 3)], dim=-1)
    return Rendering(rgb, torch.ones(rgb.shape[:3]), torch.full(rgb.shape[:3], 4.0))


def example(references: int = 2) -> tuple[Views, torch.Tensor]:
    """Two views of splats that show the wall pale, and what is true there."""
    there, here = cameras(-0.5, 0.1, 0.6), cameras(0.2, 0.4)
    drawn, own = (replace(seen, rgb=0.5 * seen.rgb + 0.2) for seen in (wall(here), wall(there)))
    return make_views(drawn, here, list(wall(there).rgb), own, there, references=references), wall(here).rgb


def pair() -> Pair:
    views, truth = example()
    return Pair(Planes.of(views), truth.movedim(-1, 1))


def test_untrained_it_is_the_plain_blend() -> None:
    views, _ = example()
    repaired, plain = EmbeddedPrior(BlendNet(SMALL)).repair(views), BlendPrior().repair(views)
    assert torch.equal(repaired.images, plain.images)
    assert torch.allclose(repaired.confidence, plain.confidence, atol=2e-3)


def test_more_references_than_it_looks_at_are_left_aside_and_fewer_are_refused() -> None:
    prior = EmbeddedPrior(BlendNet(SMALL))
    assert torch.equal(prior.repair(example(3)[0]).images, prior.repair(example(2)[0]).images)
    with pytest.raises(InputError, match="references=2"):
        prior.repair(example(1)[0])


def test_noise_is_all_at_the_end_and_nothing_at_the_start() -> None:
    shares = signal_share(torch.linspace(0, 1, 11))
    clean, noise = torch.rand(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    assert shares[0] == pytest.approx(1, abs=1e-5)
    assert shares[-1] < 1e-5
    assert (shares.diff() < 0).all()
    assert torch.allclose(noised(clean, torch.ones(1), noise), noise, atol=1e-2)
    assert torch.allclose(noised(clean, torch.zeros(1), noise), 4 * clean, atol=1e-2)


def test_a_scene_teaches_a_copy() -> None:
    torch.manual_seed(0)
    network, pairs = BlendNet(SMALL), [pair()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    taught = adapt(network, pairs, 40, rate=3e-3)

    def loss(of: BlendNet) -> float:
        with torch.no_grad():
            return float(pair_loss(of, pairs[0], LossConfig(), torch.Generator().manual_seed(7)))

    assert loss(taught) < 0.8 * loss(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert adapt(network, [], 40) is network


def test_the_file_holds_shape_and_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = BlendNet(SMALL)
    torch.nn.init.normal_(network.leave.weight, std=0.01)
    save_network(network, tmp_path / "weights.safetensors")
    again, planes = load_network(tmp_path / "weights.safetensors"), pair().planes
    one, other = (predict(each, planes, torch.Generator().manual_seed(3)).residual for each in (network, again))
    assert again.config == SMALL
    assert one.abs().max() > 1e-3
    assert torch.allclose(one, other, atol=2e-3)


def test_missing_weights_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("recon.assets.weight_folders", lambda: (tmp_path,))
    embedded.shipped_network.cache_clear()
    there, why = EmbeddedPrior().available()
    assert not there
    assert "RECON_WEIGHTS" in why
    assert EmbeddedPrior(BlendNet(SMALL)).available() == (True, "")
    with pytest.raises(MissingDependencyError, match=WEIGHTS):
        EmbeddedPrior().repair(example()[0])


def test_the_shipped_weights_are_small_and_repair_a_pale_wall() -> None:
    views, truth = example()
    network = shipped_network()
    repaired, plain = EmbeddedPrior().repair(views), BlendPrior().repair(views)
    assert weight_path(WEIGHTS).stat().st_size < 8e6
    assert 0.2e6 < sum(parameter.numel() for parameter in network.parameters()) < 6e6
    assert (repaired.images - truth).square().mean() < (views.rgb - truth).square().mean()
    assert repaired.images.shape == plain.images.shape
    assert repaired.confidence.min() >= 0
