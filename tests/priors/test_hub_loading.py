"""Big models are looked for on the disk only, and refused in words that help; needs none of their packages."""

import socket
from pathlib import Path

import pytest
import torch
from hub_fixtures import wall_views

from recon.assets import CONSENT, Checkpoint
from recon.errors import InputError, MissingDependencyError
from recon.priors.depth import DEPTH_MODELS, make_depth_model
from recon.priors.diffusion import make_prior
from recon.priors.diffusion.base import Prior, ScorePrior
from recon.priors.diffusion.hub import loading
from recon.priors.diffusion.hub.controlnet import ControlNetTilePrior
from recon.priors.diffusion.hub.denoiser import LatentDenoiserPrior
from recon.priors.diffusion.hub.difix import DifixPrior
from recon.priors.diffusion.hub.loading import HubModel, HubNetwork, diffusers_files, pick_model, stored_variant
from recon.priors.diffusion.hub.pictures import confidence_of, fit
from recon.priors.diffusion.hub.turbo import SdTurboPrior, SdxlTurboPrior
from recon.priors.diffusion.hub.video import ZeroScopePrior
from recon.priors.diffusion.hub.zero123 import Zero123Prior

PRIORS = [
    DifixPrior,
    SdTurboPrior,
    SdxlTurboPrior,
    ControlNetTilePrior,
    Zero123Prior,
    ZeroScopePrior,
    LatentDenoiserPrior,
]


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, every package present, no leave to download, and a network that must not be touched."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"touched the network: {arguments}")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.delenv(CONSENT, raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    monkeypatch.setattr(loading, "find_package", lambda *arguments: object())
    monkeypatch.setattr(loading, "memory_bytes", lambda: 64_000_000_000)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.name)
def test_every_prior_says_what_it_lacks_and_states_its_licence(prior):
    made = prior()
    ok, why = made.available()
    assert isinstance(made, Prior)
    assert not ok
    for model in made.chosen:
        assert model.checkpoint.id in why
        assert model.checkpoint.licence in why
        assert model.checkpoint.size_bytes > 0
    assert "--allow-download" in why
    assert made.licence.name
    assert made.licence.url.startswith("https://")


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.name)
@pytest.mark.parametrize("offline", [False, True])
def test_every_prior_refuses_without_leave_and_offline(prior, offline, monkeypatch):
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv(CONSENT, "1")
    made = prior()
    with pytest.raises(MissingDependencyError, match="HF_HUB_OFFLINE" if offline else CONSENT) as refusal:
        made.repair(wall_views())
    assert made.chosen[0].checkpoint.id in str(refusal.value)


@pytest.mark.parametrize("name", DEPTH_MODELS)
def test_depth_models_refuse_alike(name):
    model = make_depth_model(name)
    assert not model.available()[0]
    with pytest.raises(MissingDependencyError, match=CONSENT):
        model.estimate(torch.zeros(20, 30, 3))


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    ok, why = SdTurboPrior().available()
    assert not ok
    assert "diffusers, transformers" in why
    assert loading.INSTALL in why
    with pytest.raises(MissingDependencyError, match=r"no_such_package.*\.\[prior\]"):
        loading.find_package("no_such_package", "A test")


def test_too_little_memory_is_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(loading, "memory_bytes", lambda: 10_000_000_000)
    monkeypatch.setattr(loading, "working_device", lambda: (torch.device("cpu"), torch.float16))
    assert "memory" not in SdxlTurboPrior().available()[1]
    monkeypatch.setattr(loading, "working_device", lambda: (torch.device("cpu"), torch.float32))
    assert "Needs about 18 GB of memory, found 10 GB" in SdxlTurboPrior().available()[1]


def test_a_whole_model_in_the_cache_is_found_and_a_partial_one_is_not(tmp_path):
    snapshot = tmp_path / "empty" / "models--stabilityai--sd-turbo" / "snapshots" / "1"
    *files, last = SdTurboPrior.models[0][0].checkpoint.files
    for name in files:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_text("")
    assert not SdTurboPrior().available()[0]
    (snapshot / last).write_text("")
    assert SdTurboPrior().available() == (True, "")


def test_a_folder_serves_in_place_of_a_published_model(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_text("")
    prior = SdTurboPrior(str(tmp_path))
    assert prior.available() == (True, "")
    assert prior.licence.url == ""
    assert stored_variant(tmp_path) == "fp16"
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_text("")
    assert stored_variant(tmp_path) is None


def test_models_are_picked_by_id_and_unknown_ones_trusted_with_nothing():
    choices = DifixPrior.models[0]
    assert pick_model(choices, "nvidia/difix") is choices[1]
    other = pick_model(choices, "somebody/else")
    assert other.checkpoint.files == choices[0].checkpoint.files
    assert not other.licence.commercial
    assert "unknown" in other.licence.name


def test_models_load_once_with_the_folders_of_all_they_need(tmp_path):
    class Two(HubNetwork):
        name, title, packages = "two", "Two", ()
        models = ((HubModel(Checkpoint("a/a", "MIT")),), (HubModel(Checkpoint("b/b", "MIT")),))
        calls = 0

        def load(self, *folders: Path) -> tuple[Path, ...]:
            self.calls += 1
            return folders

    made = Two(str(tmp_path), str(tmp_path))
    assert made.loaded() == (tmp_path, tmp_path)
    made.loaded()
    assert made.calls == 1


def test_the_files_of_a_repository_follow_diffusers_layout():
    files = diffusers_files("scheduler", "text_encoder_2", "tokenizer", "unet")
    assert "scheduler/scheduler_config.json" in files
    assert "text_encoder_2/model.fp16.safetensors" in files
    assert "tokenizer/vocab.json" in files
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in files
    assert "unet/diffusion_pytorch_model.safetensors" in diffusers_files("unet", variant="")


def test_pictures_of_any_size_come_back_as_they_were():
    images = torch.rand(2, 50, 70, 3)
    fitted = fit(images)
    assert fitted.planes.shape == (2, 3, 64, 128)
    assert torch.equal(fitted.restore(fitted.planes), images)
    assert torch.equal(fitted.planes[..., 63, 127], images[:, -1, -1])


def test_large_pictures_are_shrunk_and_brought_back():
    ramp = torch.linspace(0, 1, 300).reshape(1, 1, 300, 1).expand(1, 200, 300, 3)
    fitted = fit(ramp, longest=150)
    assert fitted.planes.shape == (1, 3, 128, 192)
    back = fitted.restore(fitted.planes)
    assert back.shape == ramp.shape
    assert float((back - ramp).abs().max()) < 0.02


def test_what_photos_confirm_is_believed_and_what_they_contradict_is_not():
    views = wall_views()
    seen = views.valid.amax(dim=1) > 0.9
    assert float(confidence_of(views, views.rgb)[seen].mean()) > 0.8
    assert float(confidence_of(views, 1 - views.rgb)[seen].mean()) < 0.35


def test_names_are_known_and_making_a_prior_loads_nothing():
    assert isinstance(make_prior("zero123"), ScorePrior)
    assert make_prior("difix").name == "difix"
    with pytest.raises(InputError, match=r"at most 1 .* nvidia/difix_ref; got 2: a, b"):
        make_prior("difix", ["a", "b"])
    with pytest.raises(InputError, match="depth-anything-v2"):
        make_depth_model("no such")
