"""Views along a path, enhanced together by a video model (LM-Gaussian, Yu et al. 2024, section 3.5).

Any model that takes and gives frames serves: `VideoModel`. The one with an adapter is ZeroScope, which LM-Gaussian
uses, through diffusers' video-to-video pipeline. Long paths go through in overlapping windows. Deviation: one pass;
LM-Gaussian renders, enhances and optimises in turn, which here is the optimiser's part.
"""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from recon.assets import Checkpoint
from recon.priors.diffusion.base import Repaired, Views
from recon.priors.diffusion.hub.loading import HubModel, HubPrior, diffusers_files, find_package, stored_variant
from recon.priors.diffusion.hub.pictures import confidence_of, fit

WINDOW, OVERLAP = 24, 8
"""Frames at once, as ZeroScope was trained with, and how many of them the next window sees again."""
STRENGTH, STEPS = 0.3, 20
LONGEST = 576
"""ZeroScope's small model is trained at 576 x 320."""


@runtime_checkable
class VideoModel(Protocol):
    """What a video model has to offer."""

    def enhance(self, frames: Float[Tensor, "T H W 3"], seed: int) -> Float[Tensor, "T H W 3"]:
        """The same frames, better; values in [0, 1]."""
        ...


def along_path(views: Views) -> list[int]:
    """An order in which each view follows the nearest one not yet passed, from one that is farthest from the middle."""
    apart = torch.cdist(views.cameras.centers, views.cameras.centers)
    order = [int(apart.sum(dim=0).argmax())]
    while len(order) < len(views):
        left = apart[order[-1]].clone()
        left[order] = torch.inf
        order.append(int(left.argmin()))
    return order


def enhance_views(model: VideoModel, views: Views) -> Float[Tensor, "V H W 3"]:
    """All views through `model` as one video, in windows that overlap and are cross-faded."""
    order = along_path(views)
    frames = views.rgb[order]
    ramp = torch.linspace(0, 1, OVERLAP + 2)[1:-1].reshape(-1, 1, 1, 1).to(frames)
    total, weight = torch.zeros_like(frames), torch.zeros_like(frames[:, :1, :1, :1])
    for begin in range(0, max(1, len(frames) - OVERLAP), WINDOW - OVERLAP):
        end = min(begin + WINDOW, len(frames))
        fade = torch.ones_like(weight[begin:end])
        if begin > 0:
            fade[:OVERLAP] = ramp
        if end < len(frames):
            fade[-OVERLAP:] = ramp.flip(0)
        total[begin:end] += fade * model.enhance(frames[begin:end], views.seed)
        weight[begin:end] += fade
    enhanced = torch.empty_like(frames)
    enhanced[order] = total / weight
    return enhanced.clamp(0, 1)


class ZeroScopePrior(HubPrior):
    """ZeroScope (cerspense 2023): frames noised a little and brought back together. Also a `VideoModel` itself."""

    name = "zeroscope"
    title = "ZeroScope"
    models = (
        (
            HubModel(
                Checkpoint(
                    "cerspense/zeroscope_v2_576w",
                    "CC BY-NC 4.0: no commercial use",
                    6_800_000_000,
                    diffusers_files("scheduler", "text_encoder", "tokenizer", "unet", "vae", variant=""),
                ),
                8_000_000_000,
                commercial=False,
            ),
        ),
    )

    def load(self, *folders: Path) -> Any:
        diffusers = find_package("diffusers", self.title)
        pipeline = diffusers.VideoToVideoSDPipeline.from_pretrained(
            folders[0], dtype=self.dtype, variant=stored_variant(folders[0]), local_files_only=True
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.device)

    @torch.no_grad()
    def enhance(self, frames: Float[Tensor, "T H W 3"], seed: int) -> Float[Tensor, "T H W 3"]:
        """As `VideoModel.enhance`."""
        fitted = fit(frames, LONGEST)
        answer = self.loaded()(
            prompt="",
            video=fitted.planes.to(self.device, self.dtype),
            strength=STRENGTH,
            num_inference_steps=STEPS,
            guidance_scale=0.0,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        ).frames
        return fitted.restore(answer[0]).to(frames.device)

    def repair(self, views: Views) -> Repaired:
        images = enhance_views(self, views)
        return Repaired(images, confidence_of(views, images))
