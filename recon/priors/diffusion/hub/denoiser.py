"""Any Stable Diffusion model as the denoiser of the plug-and-play solvers (`recon.priors.diffusion.solvers`)."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.priors.diffusion.base import Repaired, Views
from recon.priors.diffusion.hub.latent import add_noise, clean_and_noise, decode, embed_text, encode
from recon.priors.diffusion.hub.loading import HubPrior, find_package, stored_variant
from recon.priors.diffusion.hub.pictures import fit
from recon.priors.diffusion.hub.turbo import SdTurboPrior
from recon.priors.diffusion.solvers import SolverPrior

LATENT_GAIN = 4.0
"""Noise of pictures in [0, 1], whose spread is about a quarter, in latents, whose spread is 1."""


class LatentDenoiserPrior(HubPrior):
    """Half-quadratic splitting with a latent diffusion model as the denoiser; SD-Turbo where none is named."""

    name = "sd-turbo-solver"
    title = "SD-Turbo in a solver"
    models = SdTurboPrior.models

    def load(self, *folders: Path) -> Any:
        diffusers = find_package("diffusers", self.title)
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            folders[0],
            safety_checker=None,  # renderings of the user's own photos
            feature_extractor=None,
            requires_safety_checker=False,
            dtype=self.dtype,
            variant=stored_variant(folders[0]),
            local_files_only=True,
        )
        return pipeline.to(self.device)

    @torch.no_grad()
    def denoise(self, images: Float[Tensor, "V H W 3"], sigma: float) -> Float[Tensor, "V H W 3"]:
        """Gaussian noise of standard deviation `sigma` taken away, in one step.

        The network has only seen noise as the schedule adds it, so that much is added first (as DiffPIR, Zhu et al.
        2023, does), with the same seed each time.
        """
        pipeline = self.loaded()
        step = step_of(pipeline.scheduler, LATENT_GAIN * sigma)
        words = embed_text(pipeline.tokenizer, pipeline.text_encoder, "")
        clean = []
        for v in range(len(images)):
            fitted = fit(images[v : v + 1])
            latents = encode(pipeline.vae, fitted.planes.to(self.device))
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(v)).to(latents)
            noisy = add_noise(pipeline.scheduler, latents, noise, step)
            said = pipeline.unet(noisy, step, encoder_hidden_states=words).sample
            latents, _ = clean_and_noise(pipeline.scheduler, noisy, said, step)
            clean.append(fitted.restore(decode(pipeline.vae, latents).cpu()))
        return torch.cat(clean).to(images)

    def repair(self, views: Views) -> Repaired:
        return SolverPrior(self.denoise).repair(views)


def step_of(scheduler: Any, noise: float) -> int:
    """The diffusion step at which noise over signal, sqrt((1 - a_t) / a_t), is nearest to `noise`."""
    kept = scheduler.alphas_cumprod
    return int((((1 - kept) / kept).sqrt() - noise).abs().argmin())
