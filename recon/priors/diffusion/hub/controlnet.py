"""Stable Diffusion 1.5 with the tile ControlNet, fitted to the scene (GaussianObject, Yang et al. 2024, section 3.4).

The ControlNet is shown the broken rendering, and the noised rendering is denoised under that guidance. So that it
repairs to *this* scene, low-rank updates (Hu et al. 2022) of the attention of both networks are trained on pairs of
broken rendering and photo, which leaving photos out yields (`fit_scene`). Deviations: the text encoder is not
trained, and the pairs are whatever the caller has, not also renderings of jittered Gaussians.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.assets import Checkpoint
from recon.priors.diffusion.base import Repaired, Views
from recon.priors.diffusion.hub.latent import add_noise, embed_text, encode
from recon.priors.diffusion.hub.loading import HubModel, HubPrior, diffusers_files, find_package, stored_variant
from recon.priors.diffusion.hub.pictures import confidence_of, fit

PROMPT = "a photo of xxy5syt00"
"""GaussianObject's: a word that means nothing yet, for the updates to give it one."""
STRENGTH = 0.5
STEPS = 20
GUIDANCE = 0.0
"""Classifier-free guidance pays where a prompt says something."""
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


@dataclass(frozen=True)
class SceneFitConfig:
    """How the low-rank updates are trained."""

    steps: int = 600
    rank: int = 16
    lr: float = 1e-4
    batch: int = 1
    seed: int = 0


class ControlNetTilePrior(HubPrior):
    """Repairs one view after another; better after `fit_scene`."""

    name = "controlnet-tile"
    title = "ControlNet tile"
    packages = ("diffusers", "transformers", "peft")
    models = (
        (
            HubModel(
                Checkpoint(
                    "stable-diffusion-v1-5/stable-diffusion-v1-5",
                    "CreativeML Open RAIL-M",
                    2_130_000_000,
                    diffusers_files("scheduler", "text_encoder", "tokenizer", "unet", "vae"),
                ),
                5_000_000_000,
            ),
        ),
        (
            HubModel(
                Checkpoint(
                    "lllyasviel/control_v11f1e_sd15_tile",
                    "OpenRAIL",
                    1_450_000_000,
                    ("config.json", "diffusion_pytorch_model.bin"),
                ),
            ),
        ),
    )

    def load(self, *folders: Path) -> Any:
        diffusers = find_package("diffusers", self.title)
        local = {"dtype": self.dtype, "local_files_only": True}
        controlnet = diffusers.ControlNetModel.from_pretrained(folders[1], **local)
        pipeline = diffusers.StableDiffusionControlNetImg2ImgPipeline.from_pretrained(
            folders[0],
            controlnet=controlnet,
            safety_checker=None,  # renderings of the user's own photos
            feature_extractor=None,
            requires_safety_checker=False,
            variant=stored_variant(folders[0]),
            **local,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.device)

    @torch.no_grad()
    def repair(self, views: Views) -> Repaired:
        pipeline = self.loaded()
        images = []
        for v in range(len(views)):
            fitted = fit(views.rgb[v : v + 1])
            planes = fitted.planes.to(self.device, self.dtype)
            answer = pipeline(
                prompt=PROMPT,
                image=planes,
                control_image=planes,
                strength=STRENGTH,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                controlnet_conditioning_scale=1.0,
                generator=torch.Generator().manual_seed(views.seed + v),
                output_type="pt",
            ).images
            images.append(fitted.restore(answer).to(views.rgb.device))
        repaired = torch.cat(images)
        return Repaired(repaired, confidence_of(views, repaired))

    def fit_scene(
        self,
        broken: Float[Tensor, "N H W 3"],
        photos: Float[Tensor, "N H W 3"],
        config: SceneFitConfig = SceneFitConfig(),
    ) -> list[float]:
        """Train low-rank updates so that `broken` renderings become `photos`; what was fitted before is forgotten.

        Returns:
            The loss of every step: mean square error of the noise.

        Raises:
            MissingDependencyError: as `loaded`.
        """
        pipeline, peft = self.loaded(), find_package("peft", self.title)
        networks = (pipeline.unet, pipeline.controlnet)
        _start_lora(networks, peft, config)
        trained = [p for network in networks for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, config.lr)
        shown = fit(broken).planes.to(self.device, self.dtype)
        with torch.no_grad():
            latents = encode(pipeline.vae, fit(photos).planes.to(self.device))
        words = embed_text(pipeline.tokenizer, pipeline.text_encoder, PROMPT)
        generator = torch.Generator().manual_seed(config.seed)
        losses = []
        for _ in range(config.steps):
            chosen = torch.randint(len(shown), (config.batch,), generator=generator)
            loss = _noise_loss(pipeline, shown[chosen], latents[chosen], words, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses


def _start_lora(networks: tuple[Any, ...], peft: Any, config: SceneFitConfig) -> None:
    """Fresh low-rank updates in the attention of all `networks`; everything else is held fixed."""
    settings = peft.LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=ATTENTION)
    for network in networks:
        if getattr(network, "peft_config", None):
            network.delete_adapters("scene")
        network.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
            torch.manual_seed(config.seed)
            network.add_adapter(settings, adapter_name="scene")
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()  # half precision loses the small steps


def _noise_loss(
    pipeline: Any,
    shown: Float[Tensor, "B 3 H W"],
    latents: Float[Tensor, "B C h w"],
    words: Float[Tensor, "1 L D"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """How well the noise in noised photos is seen under the guidance of renderings (Zhang et al. 2023, eq. 5)."""
    count = int(pipeline.scheduler.config.num_train_timesteps)
    step = int(torch.randint(count, (1,), generator=generator))
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noisy = add_noise(pipeline.scheduler, latents, noise, step)
    hidden = words.expand(len(latents), -1, -1)
    with torch.autocast(latents.device.type, enabled=latents.dtype == torch.float16):
        down, middle = pipeline.controlnet(
            noisy, step, encoder_hidden_states=hidden, controlnet_cond=shown, return_dict=False
        )
        said = pipeline.unet(
            noisy,
            step,
            encoder_hidden_states=hidden,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    return F.mse_loss(said.float(), noise.float())
