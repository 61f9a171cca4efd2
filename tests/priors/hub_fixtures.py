"""Small stand-ins for the published models: the same classes and files, a few layers, random weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from recon.priors.diffusion.base import Views
from recon.priors.diffusion.warps import make_views
from recon.types import Cameras, Rendering

CROSS = 32
"""Width of the text's and the photo's embeddings."""


def save_tokenizer(folder: Path) -> None:
    """A vocabulary of bytes: every word is spelled."""
    letters = [chr(code) for code in range(97, 123)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"model_max_length": 16, "tokenizer_class": "CLIPTokenizer", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def tiny_parts(*, in_channels: int = 4) -> dict:
    """(name in the repository -> network) of a Stable Diffusion of half a million weights."""
    import diffusers
    import transformers

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=CROSS,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )
    text = transformers.CLIPTextConfig(
        vocab_size=54,
        hidden_size=CROSS,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        projection_dim=CROSS,
    )
    return {"unet": unet, "vae": vae, "text_encoder": transformers.CLIPTextModel(text)}


def save_stable_diffusion(folder: Path, scheduler: str = "DDIMScheduler") -> Path:
    """A folder laid out like `stabilityai/sd-turbo`."""
    import diffusers

    for name, network in (parts := tiny_parts()).items():
        network.save_pretrained(folder / name)
    steps = getattr(diffusers, scheduler)(beta_schedule="scaled_linear", steps_offset=1, clip_sample=False)
    steps.save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
    classes = {name: ["diffusers", type(network).__name__] for name, network in parts.items()}
    classes["text_encoder"] = ["transformers", "CLIPTextModel"]
    classes |= {"scheduler": ["diffusers", scheduler], "tokenizer": ["transformers", "CLIPTokenizer"]}
    classes |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False, **classes}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def save_difix(folder: Path) -> Path:
    """A folder laid out like `nvidia/difix_ref`: the decoder with skips, and low-rank updates as peft stores them."""
    save_stable_diffusion(folder, "DDPMScheduler")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    generator = torch.Generator().manual_seed(1)
    for index, (to, seen) in enumerate(((32, 32), (32, 16), (32, 16), (16, 16)), 1):
        weights[f"decoder.skip_conv_{index}.weight"] = 0.3 * torch.randn(to, seen, 1, 1, generator=generator)
    name = "decoder.conv_in"
    kernel = weights.pop(f"{name}.weight")
    weights[f"{name}.base_layer.weight"] = kernel
    weights[f"{name}.base_layer.bias"] = weights.pop(f"{name}.bias")
    weights[f"{name}.lora_A.vae_skip.weight"] = torch.randn(4, *kernel.shape[1:], generator=generator)
    weights[f"{name}.lora_B.vae_skip.weight"] = torch.randn(kernel.shape[0], 4, 1, 1, generator=generator)
    save_file(weights, path)
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(config | {"gamma": 1.0, "lora_rank": 4}))
    return folder


def save_zero123(folder: Path) -> Path:
    """A folder laid out like `bennyguo/zero123-xl-diffusers`."""
    import diffusers
    import transformers

    parts = tiny_parts(in_channels=8)
    del parts["text_encoder"]
    seen = transformers.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=224,
        patch_size=56,
        projection_dim=CROSS,
    )
    parts["image_encoder"] = transformers.CLIPVisionModelWithProjection(seen)
    for name, network in parts.items():
        network.save_pretrained(folder / name)
    diffusers.DDIMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "scheduler")
    projection = {"proj.weight": 0.1 * torch.randn(CROSS, CROSS + 4), "proj.bias": torch.zeros(CROSS)}
    (folder / "clip_camera_projection").mkdir()
    save_file(projection, folder / "clip_camera_projection" / "diffusion_pytorch_model.safetensors")
    return folder


def wall_views(count: int = 2, height: int = 40, width: int = 56, *, noise: float = 0.0, wrong: float = 0.0) -> Views:
    """A textured wall at z = 2, seen by `count` cameras between two photos.

    Args:
        noise: of every pixel of the views, independent, as a generative model errs.
        wrong: of the colours on the wall, in views and `warped_own` alike, as splats err.
    """
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(3, 6, 8, generator=generator)
    painted = texture + wrong * torch.randn(texture.shape, generator=generator)

    def render(cameras: Cameras, colors: torch.Tensor) -> Rendering:
        rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        pictures = []
        for camera in range(len(cameras)):
            K, center = cameras.Ks[camera], cameras.centers[camera]
            x = (columns - K[0, 2]) / K[0, 0] * 2 + center[0]
            y = (rows - K[1, 2]) / K[1, 1] * 2 + center[1]
            where = torch.stack([x, y], -1)[None] / 1.6
            picture = torch.nn.functional.grid_sample(colors[None], where, align_corners=False, padding_mode="border")
            pictures.append(picture[0].permute(1, 2, 0))
        rgb = torch.stack(pictures).clamp(0, 1)
        return Rendering(rgb, torch.ones(rgb.shape[:3]), torch.full(rgb.shape[:3], 2.0))

    def cameras(places: list[float]) -> Cameras:
        poses = torch.eye(4).repeat(len(places), 1, 1)
        poses[:, 0, 3] = -torch.tensor(places)
        K = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        return Cameras.create(poses, K.repeat(len(places), 1, 1), width, height)

    photo_cameras = cameras([-0.3, 0.3])
    between = cameras(torch.linspace(-0.2, 0.2, count).tolist())
    drawn = render(between, painted)
    rgb = (drawn.rgb + noise * torch.randn(drawn.rgb.shape, generator=generator)).clamp(0, 1)
    photos = list(render(photo_cameras, texture).rgb)
    own = render(photo_cameras, painted)
    return make_views(Rendering(rgb, drawn.alpha, drawn.depth), between, photos, own, photo_cameras)
