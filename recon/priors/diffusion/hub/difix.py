"""Difix (Wu et al. 2025, "Difix3D+"): one denoising step of a Stable Diffusion Turbo that learnt to mend renderings.

The rendering's latent is taken for one that has been noised up to step 199, and what the network says the clean one is,
is the answer (section 4.1). View and nearest photo go through together: their tokens attend to each other in every
self-attention of the network ("reference mixing"). The decoder sees the encoder's features through 1x1 convolutions
(as in Parmar et al. 2024), which keeps detail that latents lose.

The published pipeline is code of its own; here the stored weights are put on diffusers' components. Deviations: the
mean latent is taken, not a sample; the decoder's low-rank updates are merged into its weights when loaded; the
photo goes in whole, squeezed to the size of the view. Nobody has compared the outcome with the authors' pipeline here:
the layout of the weights is as other loaders of them describe it.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon.assets import Checkpoint
from recon.errors import InputError
from recon.priors.diffusion.base import Repaired, Views
from recon.priors.diffusion.hub.latent import clean_and_noise, decode, embed_text, encode
from recon.priors.diffusion.hub.loading import HubModel, HubPrior, diffusers_files, find_package
from recon.priors.diffusion.hub.pictures import confidence_of, fit

STEP = 199
"""Section 4.1: found by the authors; more noise changes the picture, less leaves the artefacts."""
PROMPT = "remove degradation"
LORA_ALPHA = 8.0
"""peft's default, which the published decoder was trained with."""
FILES = diffusers_files("scheduler", "text_encoder", "tokenizer", "unet", "vae", variant="")
LICENCE = "NVIDIA's own, see LICENSE.txt there"


class DifixPrior(HubPrior):
    """Views mended one by one, each with its nearest photo."""

    name = "difix"
    title = "Difix"
    models = (
        (
            HubModel(Checkpoint("nvidia/difix_ref", LICENCE, 5_160_000_000, FILES), 6_000_000_000, commercial=False),
            HubModel(Checkpoint("nvidia/difix", LICENCE, 5_160_000_000, FILES), 6_000_000_000, commercial=False),
        ),
    )

    def load(self, *folders: Path) -> "DifixNetworks":
        return DifixNetworks.load(folders[0], self.device, self.dtype)

    @torch.no_grad()
    def repair(self, views: Views) -> Repaired:
        networks: DifixNetworks = self.loaded()
        # The second published model was trained without photos; any other folder is taken for the first.
        alone = self.chosen[0].checkpoint.id == "nvidia/difix"
        images = torch.cat([self._repair_one(networks, views, v, alone) for v in range(len(views))])
        return Repaired(images, confidence_of(views, images))

    def _repair_one(self, networks: "DifixNetworks", views: Views, v: int, alone: bool) -> Float[Tensor, "1 H W 3"]:
        fitted = fit(views.rgb[v : v + 1])
        planes = fitted.planes
        if not alone:
            photo = views.photos[int(views.nearest[v, 0])].permute(2, 0, 1)[None]
            squeezed = nn.functional.interpolate(photo, planes.shape[-2:], mode="bilinear", antialias=True)
            planes = torch.cat([planes, squeezed.to(planes)])
        mended = networks.mend(planes.to(self.device))[:1]
        return fitted.restore(mended).to(views.rgb.device)


class DifixNetworks:
    """The components, and one step through them."""

    def __init__(self, vae: Any, unet: Any, scheduler: Any, prompt: Float[Tensor, "1 L D"]) -> None:
        self.vae, self.unet, self.scheduler, self.prompt = vae, unet, scheduler, prompt

    @staticmethod
    def load(folder: Path, device: torch.device, dtype: torch.dtype) -> "DifixNetworks":
        diffusers, transformers = find_package("diffusers", "Difix"), find_package("transformers", "Difix")
        local = {"local_files_only": True, "dtype": dtype}
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **local)
        scheduler = diffusers.DDPMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
        text_encoder = transformers.CLIPTextModel.from_pretrained(
            folder, subfolder="text_encoder", local_files_only=True, dtype=dtype
        )
        prompt = embed_text(tokenizer, text_encoder, PROMPT).to(device)
        vae = load_vae(folder / "vae", diffusers).to(device, dtype)
        return DifixNetworks(vae.eval(), unet.to(device).eval(), scheduler, prompt)

    @torch.no_grad()
    def mend(self, planes: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
        """Pictures in [0, 1] of one place, the rendering first; what comes back of the others is of no use."""
        n = planes.shape[0]
        mix_views(self.unet, n)
        latents = encode(self.vae, planes)
        step = torch.full((n,), STEP, device=latents.device)
        said = self.unet(latents, step, encoder_hidden_states=self.prompt.expand(n, -1, -1)).sample
        clean, _ = clean_and_noise(self.scheduler, latents, said, STEP)
        return decode(self.vae, clean)


class MixedAttention:
    """Self-attention over the tokens of `views` pictures as if they were one (Difix3D+, eq. 5)."""

    def __init__(self, inner: Any, views: int) -> None:
        self.inner, self.views = inner, views

    def __call__(self, attention: Any, hidden_states: Tensor, *others: Any, **named: Any) -> Tensor:
        tokens = hidden_states.shape[1]
        together = hidden_states.reshape(-1, self.views * tokens, hidden_states.shape[2])
        answer: Tensor = self.inner(attention, together, *others, **named)
        return answer.reshape(-1, tokens, answer.shape[2])


def mix_views(unet: Any, views: int) -> None:
    """Let every `views` consecutive pictures of a batch attend to each other in all self-attentions of `unet`."""
    processors = {}
    for name, processor in unet.attn_processors.items():
        plain = processor.inner if isinstance(processor, MixedAttention) else processor
        processors[name] = MixedAttention(plain, views) if name.endswith("attn1.processor") else plain
    unet.set_attn_processor(processors)


def load_vae(folder: Path, diffusers: Any) -> Any:
    """An autoencoder whose decoder may have low-rank updates and skips from the encoder.

    Raises:
        InputError: the stored weights do not fit.
    """
    from safetensors.torch import load_file

    known = set(diffusers.AutoencoderKL().config)
    config = {key: value for key, value in diffusers.AutoencoderKL.load_config(folder).items() if key in known}
    vae = diffusers.AutoencoderKL(**config)
    weights = merge_lora(load_file(folder / "diffusion_pytorch_model.safetensors"))
    skips = [weights.pop(key) for key in sorted(key for key in weights if "skip_conv_" in key)]
    try:
        vae.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"The autoencoder in {folder} is not laid out as Difix's ({str(error).splitlines()[0]}). "
            "Get nvidia/difix_ref."
        ) from error
    if skips:
        vae.skips = Skips(vae, skips)
    return vae


def merge_lora(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights from those that peft stores: W + (alpha / r) B A (Hu et al. 2022, eq. 3), under the plain names."""
    merged = {key.replace(".base_layer", ""): value for key, value in weights.items() if ".lora_" not in key}
    for key, down in weights.items():
        if ".lora_A." not in key:
            continue
        up = weights[key.replace(".lora_A.", ".lora_B.")]
        name = key.split(".lora_A.")[0] + ".weight"
        update = (up.flatten(1) @ down.flatten(1)).reshape(merged[name].shape)
        merged[name] = merged[name] + LORA_ALPHA / down.shape[0] * update
    return merged


class Skips(nn.Module):
    """What each block of the encoder was given is added, through a 1x1 convolution, to what its mirror is given."""

    def __init__(self, vae: Any, kernels: list[Float[Tensor, "_ _ 1 1"]]) -> None:
        super().__init__()
        self.kernels = nn.ParameterList(kernels)
        self.seen: dict[int, Tensor] = {}
        last = len(vae.encoder.down_blocks) - 1
        for index, block in enumerate(vae.encoder.down_blocks):
            block.register_forward_pre_hook(self._remember(last - index))
        for index, block in enumerate(vae.decoder.up_blocks):
            block.register_forward_pre_hook(self._add(index))

    def _remember(self, index: int) -> Any:
        def hook(block: nn.Module, given: tuple[Any, ...]) -> None:
            self.seen[index] = given[0]

        return hook

    def _add(self, index: int) -> Any:
        def hook(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (given[0] + nn.functional.conv2d(self.seen[index], self.kernels[index]), *given[1:])

        return hook
