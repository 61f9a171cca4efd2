"""SD-Turbo and SDXL-Turbo (Sauer et al. 2023): noise the rendering a little, and let the model take it away again.

That is SDEdit (Meng et al. 2022) with a distilled model: `strength` is how much of the noise is added. Nothing ties the
answer to the photos but the rendering itself, so little strength is asked for, and confidence is what photos confirm.
"""

from pathlib import Path
from typing import Any

import torch

from recon.assets import Checkpoint
from recon.priors.diffusion.base import Repaired, Views
from recon.priors.diffusion.hub.loading import HubModel, HubPrior, diffusers_files, find_package, stored_variant
from recon.priors.diffusion.hub.pictures import confidence_of, fit

STRENGTH = 0.25
"""Of .2 to .5, which is what repair of renderings is done with: lower keeps the picture, higher invents."""
STEPS = 4
"""On the whole schedule, of which `STRENGTH` is run: one step."""
SD_PARTS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
SDXL_PARTS = ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae")
STABILITY = "Stability AI Community License"


class _TurboPrior(HubPrior):
    strength = STRENGTH

    def load(self, *folders: Path) -> Any:
        diffusers = find_package("diffusers", self.title)
        pipeline = diffusers.AutoPipelineForImage2Image.from_pretrained(
            folders[0],
            dtype=self.dtype,
            variant=stored_variant(folders[0]),
            local_files_only=True,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.device)

    @torch.no_grad()
    def repair(self, views: Views) -> Repaired:
        pipeline = self.loaded()
        images = []
        for v in range(len(views)):
            fitted = fit(views.rgb[v : v + 1])
            answer = pipeline(
                prompt="",
                image=fitted.planes.to(self.device, self.dtype),
                strength=self.strength,
                num_inference_steps=STEPS,
                guidance_scale=0.0,  # distilled models know no guidance
                generator=torch.Generator().manual_seed(views.seed + v),
                output_type="pt",
            ).images
            images.append(fitted.restore(answer).to(views.rgb.device))
        repaired = torch.cat(images)
        return Repaired(repaired, confidence_of(views, repaired))


class SdTurboPrior(_TurboPrior):
    """The small one, 512 pixels."""

    name = "sd-turbo"
    title = "SD-Turbo"
    models = (
        (
            HubModel(
                Checkpoint("stabilityai/sd-turbo", STABILITY, 2_580_000_000, diffusers_files(*SD_PARTS)),
                4_000_000_000,
                commercial=False,
            ),
        ),
    )


class SdxlTurboPrior(_TurboPrior):
    """The large one."""

    name = "sdxl-turbo"
    title = "SDXL-Turbo"
    models = (
        (
            HubModel(
                Checkpoint("stabilityai/sdxl-turbo", STABILITY, 6_940_000_000, diffusers_files(*SDXL_PARTS)),
                9_000_000_000,
                commercial=False,
            ),
        ),
    )
