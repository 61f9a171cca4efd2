"""The few lines of latent diffusion that the adapters share: pictures to latents and back, and what a network says.

Latents are those of Rombach et al. 2022; z_t = sqrt(a_t) z + sqrt(1 - a_t) noise (Ho et al. 2020, eq. 4).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import InputError


def encode(vae: Any, planes: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V C h w"]:
    """The mean latents of pictures in [0, 1], scaled to unit variance."""
    moments = vae.encode((2 * planes - 1).to(vae.dtype)).latent_dist
    mean: Tensor = moments.mode() * vae.config.scaling_factor
    return mean


def decode(vae: Any, latents: Float[Tensor, "V C h w"]) -> Float[Tensor, "V 3 H W"]:
    """Pictures in [0, 1]."""
    planes: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
    return (planes.float() / 2 + 0.5).clamp(0, 1)


def kept(scheduler: Any, step: int, like: Tensor) -> Float[Tensor, ""]:
    """a_t: the share of variance that is not noise at diffusion step `step`."""
    share: Tensor = scheduler.alphas_cumprod[step]
    return share.to(like)


def add_noise(scheduler: Any, latents: Tensor, noise: Tensor, step: int) -> Tensor:
    """z_t."""
    share = kept(scheduler, step, latents)
    return share.sqrt() * latents + (1 - share).sqrt() * noise


def clean_and_noise(scheduler: Any, noisy: Tensor, said: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """(z, noise) that a network's output stands for, whether it predicts the noise, z or v (Salimans and Ho 2022)."""
    share = kept(scheduler, step, noisy)
    keep, rest = share.sqrt(), (1 - share).sqrt()
    match scheduler.config.prediction_type:
        case "epsilon":
            return (noisy - rest * said) / keep, said
        case "sample":
            return said, (noisy - keep * said) / rest
        case "v_prediction":
            return keep * noisy - rest * said, keep * said + rest * noisy
        case other:
            raise InputError(
                f"This model's scheduler says it predicts {other!r}; expected epsilon, sample or v_prediction. "
                "Choose another model."
            )


def embed_text(tokenizer: Any, text_encoder: Any, prompt: str) -> Float[Tensor, "1 L D"]:
    """A prompt as the denoising network's cross attention takes it."""
    ids = tokenizer(
        prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        hidden: Tensor = text_encoder(ids.to(text_encoder.device))[0]
    return hidden
