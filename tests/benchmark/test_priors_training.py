"""How the embedded prior is made: windows of the demo photos, what is drawn from them, and a few steps of training."""

import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from recon.assets import weight_path
from recon.benchmark.priors.examples import VaryConfig, draw_batch, learnable, read_examples, scene_of, window_paths
from recon.benchmark.priors.photographed import find_scenes, read_scene
from recon.benchmark.priors.rooms import make_room, read_textures
from recon.benchmark.priors.score import arms, score, score_table
from recon.benchmark.priors.train import FitConfig, fit, held_out_gains, read_data, schedule
from recon.benchmark.priors.windows import WindowConfig, draw_views, load_window, make_window, save_window
from recon.errors import InputError
from recon.priors.diffusion.blend import UNSEEN
from recon.priors.diffusion.embedded import WEIGHTS, load_network
from recon.priors.diffusion.fitting import Pair
from recon.priors.diffusion.network import NetworkConfig
from recon.render import select_rasterizer

DEMO = Path(__file__).parents[2] / "assets" / "demo"
QUICK = WindowConfig(steps=(24,), stages=(0.5, 1.0), photos=(3, 3), tests=2, max_sides=(96,), perturbed=1.0)
FIT = FitConfig(
    steps=2, batch=2, check_every=2, check_views=2, least_psnr=5.0, network=NetworkConfig(channels=(8, 16, 16)),
    vary=VaryConfig(crop=48),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two windows of the demo photos, under two names."""
    folder = tmp_path_factory.mktemp("windows")
    scene = read_scene(DEMO, 96)
    window = make_window(scene, QUICK, select_rasterizer("cpu"), 1)
    save_window(window, folder / "door_000.safetensors")
    save_window(window, folder / "other_door_000.safetensors")
    return folder


def test_scenes_are_found_at_a_folder_or_in_it(tmp_path: Path) -> None:
    assert find_scenes([DEMO]) == [DEMO]
    assert DEMO in find_scenes([DEMO.parent])
    with pytest.raises(InputError, match=r"transforms\.json"):
        find_scenes([tmp_path])


def test_a_window_never_shows_its_truth() -> None:
    scene = read_scene(DEMO, 64)
    for seed in range(20):
        photos, tests = draw_views(scene, WindowConfig(), torch.Generator().manual_seed(seed))
        assert len(photos) >= 2
        assert len(tests) >= 1
        assert not set(photos) & set(tests)
        assert len(set(photos)) == len(photos)


def test_windows_come_back_from_their_files(folder: Path, tmp_path: Path) -> None:
    window = load_window(folder / "door_000.safetensors")
    save_window(window, tmp_path / "again.safetensors")
    again = load_window(tmp_path / "again.safetensors")
    assert len(window.drawn) == len(window.own) == 2
    assert len(window.photos) == 3
    assert torch.equal(window.truth, again.truth)
    assert torch.equal(window.drawn[1].rgb, again.drawn[1].rgb)
    assert torch.allclose(window.own[0].depth, again.own[0].depth, rtol=2e-3)
    assert torch.equal(window.photo_cameras.cam_from_world, again.photo_cameras.cam_from_world)


def test_what_is_drawn_is_as_asked(folder: Path) -> None:
    (example, _), generator = read_examples(folder / "door_000.safetensors"), torch.Generator().manual_seed(0)
    pair = example.pair
    batch = draw_batch([pair], 40, VaryConfig(crop=48, without_one=0.5, without_all=0.5), generator)
    lost = batch.planes.valid.amax((2, 3)) == 0
    assert batch.truth.shape == (40, 3, 48, 48)
    assert lost.any(1).all()
    assert lost.all(1).any()
    assert not lost.all()
    assert torch.allclose(batch.planes.logits[:, 1:][lost], torch.tensor(math.log(UNSEEN)))
    assert batch.planes.warped[lost].abs().max() == 0


def test_far_renderings_are_not_learnt_from(folder: Path) -> None:
    pair = read_examples(folder / "door_000.safetensors")[1].pair
    assert learnable(pair, 100.0) is None
    kept = learnable(pair, 5.0)
    assert kept is not None
    assert len(kept.truth) == len(pair.truth)
    inverted = learnable(Pair(pair.planes, 1 - pair.truth), 14.0)
    assert inverted is None


def test_training_keeps_the_best_moment_of_scenes_held_out(folder: Path, tmp_path: Path) -> None:
    data = read_data([folder], ["other_door"], FIT)
    assert data.views == 4
    assert [scene for scene, _ in data.held_out] == ["other_door"] * 2
    network, again = fit(data, FIT, tmp_path / "weights.safetensors"), fit(data, FIT)
    gain = held_out_gains(network, data.held_out)["other_door"]
    assert gain >= 0
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters()))
    if gain > 0:  # what was written is what is returned
        read = load_network(tmp_path / "weights.safetensors")
        assert held_out_gains(read, data.held_out)["other_door"] == pytest.approx(gain, abs=0.02)
    with pytest.raises(InputError, match="hold out other scenes"):
        read_data([folder], ["nowhere"], FIT)


def test_rooms_are_other_rooms_and_the_same_again() -> None:
    textures = read_textures([DEMO])
    room, again, other = (make_room(textures, 32, seed) for seed in (1, 1, 2))
    assert torch.equal(room.photos, again.photos)
    assert room.photos.shape[0] == len(room.cameras)
    assert room.photos.shape[2] == 32
    assert room.photos.shape != other.photos.shape or not torch.equal(room.photos, other.photos)


def test_neighbouring_views_of_a_room_look_alike() -> None:
    room = make_room(read_textures([DEMO]), 48, 3)
    apart = (room.photos[0] - room.photos[-1]).abs().mean()
    near = (room.photos[0] - room.photos[1]).abs().mean()
    assert 0 < near < apart


def test_the_rate_rises_and_falls() -> None:
    rates = [schedule(k / 100) for k in range(1, 101)]
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[0] < 0.3
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_the_shipped_prior_does_not_spoil_the_demo(folder: Path) -> None:
    assert weight_path(WEIGHTS).is_file()
    paths = window_paths(folder)
    scores = score(paths[:1], arms(None))
    (row, mean) = score_table(scores).records()
    assert scene_of(paths[0]) == "door" == row["scene"]
    assert mean["scene"] == "mean"
    assert row["embedded psnr"] >= row["render psnr"] - 0.05
    assert {f.name for f in fields(scores[0])} == {"scene", "arm", "values"}
