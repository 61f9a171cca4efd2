"""The adapters on small stand-ins with random weights, saved to the disk and loaded from it: do they run, and as said?

Whether the published weights do good cannot be tested so. Skipped, and counted, without diffusers and transformers.
"""

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_fixtures import save_difix, save_stable_diffusion, save_zero123, tiny_parts, wall_views

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

from recon.errors import InputError  # noqa: E402
from recon.geometry.projection import project  # noqa: E402
from recon.priors.depth import make_depth_model  # noqa: E402
from recon.priors.diffusion.base import ScorePrior  # noqa: E402
from recon.priors.diffusion.hub import controlnet, latent, video, zero123  # noqa: E402
from recon.priors.diffusion.hub.controlnet import ControlNetTilePrior, SceneFitConfig  # noqa: E402
from recon.priors.diffusion.hub.denoiser import LatentDenoiserPrior, step_of  # noqa: E402
from recon.priors.diffusion.hub.difix import DifixPrior, merge_lora, mix_views  # noqa: E402
from recon.priors.diffusion.hub.turbo import SdTurboPrior  # noqa: E402
from recon.priors.diffusion.hub.video import OVERLAP, WINDOW, ZeroScopePrior, along_path, enhance_views  # noqa: E402
from recon.priors.diffusion.hub.zero123 import (  # noqa: E402
    ScoreConfig,
    Zero123Prior,
    camera_moved,
    looked_at,
    polar_angle,
    upwards,
)
from recon.types import Cameras  # noqa: E402

VIEWS = wall_views()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"touched the network: {arguments}")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def stable(tmp_path_factory) -> Path:
    return save_stable_diffusion(tmp_path_factory.mktemp("stable"))


@pytest.fixture(scope="module")
def difix_folder(tmp_path_factory) -> Path:
    return save_difix(tmp_path_factory.mktemp("difix"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine networks this small spend their time waiting for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero123, "SIDE", 64)


@pytest.fixture(scope="module")
def zero123_folder(tmp_path_factory) -> Path:
    return save_zero123(tmp_path_factory.mktemp("zero123"))


def repaired_soundly(prior) -> torch.Tensor:
    """What the prior makes of two views, after checks that hold for all."""
    first, second = prior.repair(VIEWS), prior.repair(VIEWS)
    assert first.images.shape == VIEWS.rgb.shape
    assert 0 <= float(first.images.min()) <= float(first.images.max()) <= 1
    assert 0 <= float(first.confidence.min()) <= float(first.confidence.max()) <= 1
    assert torch.equal(first.images, second.images)
    return first.images


def test_turbo_runs_and_its_seed_counts(stable):
    prior = SdTurboPrior(str(stable))
    images = repaired_soundly(prior)
    other = prior.repair(replace(VIEWS, seed=7)).images
    assert not torch.equal(images, other)


def test_difix_looks_at_the_photo(difix_folder):
    prior = DifixPrior(str(difix_folder))
    images = repaired_soundly(prior)
    dark = replace(VIEWS, photos=tuple(photo * 0.2 for photo in VIEWS.photos))
    assert not torch.allclose(images, prior.repair(dark).images, atol=1e-4)


def test_reference_mixing_is_attention_over_all_tokens():
    unet = tiny_parts()["unet"].eval()
    words = torch.rand(1, 16, 32).expand(2, -1, -1)
    same = torch.rand(1, 4, 8, 8).expand(2, -1, -1, -1)
    alone = unet(same, 199, encoder_hidden_states=words).sample
    mix_views(unet, 2)
    # Attending to a copy of oneself changes nothing: the weights of each token are shared by its two copies.
    assert torch.allclose(unet(same, 199, encoder_hidden_states=words).sample, alone, atol=1e-5)
    different = torch.cat([same[:1], torch.rand(1, 4, 8, 8)])
    assert not torch.allclose(unet(different, 199, encoder_hidden_states=words).sample[:1], alone[:1], atol=1e-4)
    mix_views(unet, 1)
    assert torch.allclose(unet(different, 199, encoder_hidden_states=words).sample[:1], alone[:1], atol=1e-5)


def test_low_rank_updates_are_merged_as_peft_applies_them():
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Conv2d(5, 2, 1))
    model = inject_adapter_in_model(LoraConfig(r=4, target_modules=["0"]), plain, "vae_skip")
    model[0].lora_B["vae_skip"].weight.data.normal_()
    merged = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Conv2d(5, 2, 1))
    merged.load_state_dict(merge_lora(model.state_dict()))
    picture = torch.rand(1, 3, 8, 8)
    assert torch.allclose(merged(picture), model(picture), atol=1e-5)


def test_skips_reach_the_decoder(difix_folder):
    networks = DifixPrior(str(difix_folder)).loaded()
    planes = torch.rand(1, 3, 64, 64)
    whole = latent.decode(networks.vae, latent.encode(networks.vae, planes))
    for kernel in networks.vae.skips.kernels:
        kernel.data.zero_()
    assert not torch.allclose(whole, latent.decode(networks.vae, latent.encode(networks.vae, planes)), atol=1e-3)


def test_an_autoencoder_of_another_shape_is_refused(difix_folder, tmp_path):
    shutil.copytree(difix_folder, tmp_path / "other")
    path = tmp_path / "other" / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"latent_channels": 8}))
    with pytest.raises(InputError, match="not laid out as Difix's"):
        DifixPrior(str(tmp_path / "other")).repair(VIEWS)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_clean_and_noise_are_told_apart_whatever_is_predicted(kind):
    scheduler = diffusers.DDIMScheduler(prediction_type=kind)
    clean, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    noisy = latent.add_noise(scheduler, clean, noise, 300)
    velocity = scheduler.get_velocity(clean, noise, torch.tensor([300, 300]))
    said = {"epsilon": noise, "sample": clean, "v_prediction": velocity}[kind]
    found = latent.clean_and_noise(scheduler, noisy, said, 300)
    assert torch.allclose(found[0], clean, atol=1e-4)
    assert torch.allclose(found[1], noise, atol=1e-4)


def test_controlnet_repairs_and_learns_the_scene(stable, tmp_path, monkeypatch):
    monkeypatch.setattr(controlnet, "STEPS", 4)
    tile = diffusers.ControlNetModel.from_unet(tiny_parts()["unet"], conditioning_embedding_out_channels=(8, 8, 16, 16))
    tile.save_pretrained(tmp_path / "tile")
    prior = ControlNetTilePrior(str(stable), str(tmp_path / "tile"))
    before = repaired_soundly(prior)
    config = SceneFitConfig(steps=25, rank=4, lr=5e-3)
    losses = prior.fit_scene(VIEWS.rgb, VIEWS.rgb, config)
    assert sum(losses[-8:]) < sum(losses[:8])
    assert not torch.allclose(before, repaired_soundly(prior), atol=1e-4)
    assert prior.fit_scene(VIEWS.rgb, VIEWS.rgb, replace(config, steps=2)) == losses[:2]


def test_score_pulls_renderings_through_the_autoencoder(zero123_folder):
    prior = Zero123Prior(str(zero123_folder))
    assert isinstance(prior, ScorePrior)
    rgb = VIEWS.rgb.clone().requires_grad_()
    loss = prior.score(replace(VIEWS, rgb=rgb))
    loss.backward()
    assert loss.ndim == 0
    assert float(rgb.grad.abs().sum()) > 0
    again = VIEWS.rgb.clone().requires_grad_()
    prior.score(replace(VIEWS, rgb=again)).backward()
    assert torch.equal(rgb.grad, again.grad)


def test_score_is_dreamfusions_and_the_category_form_leaves_what_the_photo_adds(zero123_folder):
    networks = Zero123Prior(str(zero123_folder)).loaded()
    latents = torch.randn(1, 4, 8, 8)
    condition = networks.condition(torch.rand(1, 3, 64, 64), torch.tensor([0.1, 0.0, 1.0, 0.0]))
    condition = replace(condition, latents=torch.randn(1, 4, 8, 8))
    plain = ScoreConfig(least=0.3, most=0.301, guidance=1.0)
    drawn = torch.Generator().manual_seed(3)
    step = int(torch.randint(300, 301, (1,), generator=drawn))
    noise = torch.randn(1, 4, 8, 8, generator=drawn)

    def gradient(config: ScoreConfig, told) -> torch.Tensor:
        given = latents.clone().requires_grad_()
        networks.distil(given, told, config, torch.Generator().manual_seed(3)).backward()
        return given.grad

    def expected(*, minus: torch.Tensor) -> torch.Tensor:
        keep = networks.scheduler.alphas_cumprod[step]
        noisy = keep.sqrt() * latents + (1 - keep).sqrt() * noise
        with torch.no_grad():
            seen = networks.unet(torch.cat([noisy, condition.latents], 1), step, encoder_hidden_states=condition.words)
        return (1 - keep) * (seen.sample - minus)

    assert torch.allclose(gradient(plain, condition), expected(minus=noise), atol=1e-4)
    photo_dropped = replace(condition, latents=torch.zeros_like(condition.latents))
    assert torch.allclose(gradient(replace(plain, category=True), photo_dropped), torch.zeros(1, 4, 8, 8), atol=1e-4)


def test_zero123_repairs_only_its_square_and_the_object(zero123_folder):
    hole = VIEWS.alpha.clone()
    hole[:, :, :28] = 0
    views = replace(VIEWS, alpha=hole, rgb=VIEWS.rgb * hole[..., None])
    prior = Zero123Prior(str(zero123_folder), config=ScoreConfig(steps=4))
    repaired = prior.repair(views)
    assert torch.equal(repaired.images[:, :, :4], views.rgb[:, :, :4])
    assert float(repaired.confidence[:, :, :28].max()) == 0
    assert float(repaired.confidence[:, :, 30:45].max()) > 0


def test_cameras_are_told_as_zero123_counts_them():
    def look(position: list[float]) -> Cameras:
        """At the origin from `position`; the world's -y is up, as in estimated scenes."""
        center = torch.tensor(position)
        forward = torch.nn.functional.normalize(-center, dim=0)
        right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1, 0]), forward), dim=0)
        pose = torch.eye(4)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
        pose[:3, 3] = -pose[:3, :3] @ center
        return Cameras.create(pose[None], torch.tensor([[[50.0, 0, 32], [0, 50, 32], [0, 0, 1]]]), 64, 64)

    photo, right, high = look([0, 0, -2.0]), look([2.0, 0, 0]), look([0, -2.0, -2.0])
    both = Cameras(*(torch.cat([getattr(c, n) for c in (photo, right)]) for n in Cameras.__dataclass_fields__))
    center, up = looked_at(both), upwards(both)
    assert torch.allclose(center, torch.zeros(3), atol=1e-4)
    assert torch.allclose(up, torch.tensor([0.0, -1, 0]), atol=1e-5)
    # Seen from above, to the photo's right is a quarter turn counter-clockwise.
    assert torch.allclose(camera_moved(right, photo, center, up), torch.tensor([0.0, 1, 0, 0]), atol=1e-4)
    polar, sine, cosine, away = camera_moved(high, photo, center, up).tolist()
    assert polar == pytest.approx(-torch.pi / 4, abs=1e-4)
    assert (sine, cosine) == pytest.approx((0, 1), abs=1e-4)
    assert away == pytest.approx(1.5 * (2**0.5 - 1), abs=1e-4)
    assert float(polar_angle(high, center, up)) == pytest.approx(torch.pi / 4, abs=1e-4)
    assert torch.allclose(project(center[None], photo.cam_from_world[0], photo.Ks[0])[0], torch.tensor([[32.0, 32]]))


def test_any_model_denoises_for_the_solver(stable):
    prior = LatentDenoiserPrior(str(stable))
    repaired_soundly(prior)
    scheduler = prior.loaded().scheduler
    assert step_of(scheduler, 0.05) < step_of(scheduler, 1.0) < step_of(scheduler, 10.0)
    kept = scheduler.alphas_cumprod[step_of(scheduler, 1.0)]
    assert float(kept) == pytest.approx(0.5, abs=0.01)


def test_a_video_model_sees_the_views_in_the_order_of_a_path():
    views = wall_views(5)
    shuffled = replace(views, rgb=views.rgb[[3, 0, 4, 1, 2]], cameras=views.cameras[[3, 0, 4, 1, 2]], alpha=views.alpha)
    order = along_path(shuffled)
    places = shuffled.cameras.centers[order, 0]
    assert torch.equal(places, places.sort(descending=bool(places[0] > places[-1])).values)

    class Counts:
        def enhance(self, frames, seed):
            shade = torch.arange(len(frames)).reshape(-1, 1, 1, 1) / 10
            return torch.zeros_like(frames) + shade

    enhanced = enhance_views(Counts(), shuffled)
    assert torch.allclose(enhanced[order].mean(dim=(1, 2, 3)), torch.arange(5) / 10)


def test_long_paths_go_through_in_windows_that_fade_into_each_other():
    views = wall_views(40, height=4, width=6)
    lengths = []

    class Same:
        def enhance(self, frames, seed):
            lengths.append(len(frames))
            return frames

    assert torch.allclose(enhance_views(Same(), views), views.rgb, atol=1e-6)
    assert lengths == [WINDOW, 40 - (WINDOW - OVERLAP)]


def test_zeroscope_runs(stable, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "STEPS", 4)
    folder = tmp_path / "video"
    shutil.copytree(stable, folder)
    shutil.rmtree(folder / "unet")
    torch.manual_seed(0)
    diffusers.UNet3DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    index = {key: index[key] for key in ("vae", "text_encoder", "tokenizer", "scheduler")}
    index |= {"_class_name": "TextToVideoSDPipeline", "unet": ["diffusers", "UNet3DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    images = repaired_soundly(ZeroScopePrior(str(folder)))
    assert not torch.allclose(images, VIEWS.rgb, atol=1e-2)


def test_a_depth_model_runs_from_a_folder(tmp_path):
    backbone = transformers.Dinov2Config(
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=37,
        image_size=28,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    torch.manual_seed(0)
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        head_hidden_size=8,
        initializer_range=0.5,
    )
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path)
    settings = {
        "image_processor_type": "DPTImageProcessor",
        "size": {"height": 70, "width": 70},
        "ensure_multiple_of": 14,
        "keep_aspect_ratio": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    model = make_depth_model("depth-anything-v2", str(tmp_path))
    inverse = model.estimate(VIEWS.rgb[0])
    assert inverse.shape == VIEWS.rgb.shape[1:3]
    assert torch.isfinite(inverse).all()
    assert not torch.equal(inverse, model.estimate(1 - VIEWS.rgb[0]))
