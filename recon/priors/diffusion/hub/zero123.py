"""Zero-1-to-3 (Liu et al. 2023): an object from elsewhere, given one photo of it and how far the camera moved.

Used for score distillation (DreamFusion, Poole et al. 2023) as SparseAGS (Xu et al. 2024) does for few views: the
photo nearest to each view is the condition. With `category` the noise is not subtracted, but what the network sees in
it when it knows only the kind of thing and not the photo, after Sparse3D (Zou et al. 2024, "category-score
distillation"): what is left pulls towards this object and not towards the mean of all such objects.

Deviations: poses are not refined by the score; for Sparse3D's own network, which is not published, stands Zero-1-to-3
with the photo's latent dropped, a case it was trained with. The camera's distance is in units in which the photo's is
`DISTANCE`. diffusers has no class for the model; its parts are put together here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from recon.assets import Checkpoint
from recon.geometry.projection import project
from recon.priors.diffusion.base import Repaired, Views
from recon.priors.diffusion.hub.latent import add_noise, clean_and_noise, decode, encode
from recon.priors.diffusion.hub.loading import HubModel, HubPrior, diffusers_files, find_package, stored_variant
from recon.priors.diffusion.hub.pictures import confidence_of
from recon.types import Cameras

SIDE = 256
"""What the model was trained on: squares, the object in the middle, white behind."""
DISTANCE = 1.5
"""Of the nearest cameras of its training data, in which objects fill a unit cube."""
CLIP_SIDE, CLIP_MEAN, CLIP_STD = 224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PARTS = ("scheduler", "image_encoder", "unet", "vae", "clip_camera_projection")


@dataclass(frozen=True)
class ScoreConfig:
    """How the score is distilled, and views sampled."""

    least: float = 0.02
    most: float = 0.6
    """Noise is drawn between these shares of the schedule: more changes the shape, less the surface."""
    guidance: float = 3.0
    category: bool = False
    strength: float = 0.5
    """Share of the schedule that `repair` starts from."""
    steps: int = 20


@dataclass(frozen=True)
class Square:
    """Part of a picture."""

    top: int
    left: int
    side: int

    def cut(self, image: Float[Tensor, "H W 3"]) -> Float[Tensor, "1 3 h w"]:
        part = image[self.top : self.top + self.side, self.left : self.left + self.side]
        return F.interpolate(part.permute(2, 0, 1)[None], (SIDE, SIDE), mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Condition:
    """What the network is told: `words` for its cross attention, `latents` beside the noisy ones."""

    words: Float[Tensor, "1 1 D"]
    latents: Float[Tensor, "1 C h w"]


class Zero123Prior(HubPrior):
    """For one object in the middle of all pictures; photos black behind, as masks make them."""

    name = "zero123"
    title = "Zero-1-to-3"
    models = (
        (
            HubModel(
                Checkpoint("bennyguo/zero123-xl-diffusers", "MIT", 2_500_000_000, diffusers_files(*PARTS)),
                5_000_000_000,
            ),
            HubModel(
                Checkpoint(
                    "ashawkey/stable-zero123-diffusers",
                    "Stability AI non-commercial (of stabilityai/stable-zero123, from which it was converted)",
                    2_500_000_000,
                    diffusers_files(*PARTS, variant=""),
                ),
                5_000_000_000,
                commercial=False,
            ),
        ),
    )

    def __init__(self, *checkpoints: str, config: ScoreConfig = ScoreConfig()) -> None:
        super().__init__(*checkpoints)
        self.config = config

    def load(self, *folders: Path) -> "Zero123Networks":
        return Zero123Networks.load(folders[0], self.device, self.dtype)

    def score(self, views: Views) -> Float[Tensor, ""]:
        """As `ScorePrior.score`: mean over the views, of squared units of latents."""
        networks: Zero123Networks = self.loaded()
        generator = torch.Generator().manual_seed(views.seed)
        center, up = looked_at(views.photo_cameras), upwards(views.photo_cameras)
        losses = []
        for v in range(len(views)):
            condition = self._condition(networks, views, v, center, up)
            latents = encode(networks.vae, _before_white(views, v, center).to(self.device))
            losses.append(networks.distil(latents, condition, self.config, generator))
        return torch.stack(losses).mean().to(views.rgb.device)

    @torch.no_grad()
    def repair(self, views: Views) -> Repaired:
        networks: Zero123Networks = self.loaded()
        generator = torch.Generator().manual_seed(views.seed)
        center, up = looked_at(views.photo_cameras), upwards(views.photo_cameras)
        images, seen = views.rgb.clone(), torch.zeros_like(views.alpha)
        for v in range(len(views)):
            square = _square(views.cameras[v], center)
            condition = self._condition(networks, views, v, center, up)
            latents = encode(networks.vae, _before_white(views, v, center).to(self.device))
            sampled = decode(networks.vae, networks.sample(latents, condition, self.config, generator))
            whole = F.interpolate(sampled.cpu(), (square.side, square.side), mode="bicubic")[0].permute(1, 2, 0)
            rows, columns = slice(square.top, square.top + square.side), slice(square.left, square.left + square.side)
            behind = 1 - views.alpha[v, rows, columns, None]
            images[v, rows, columns] = (whole.to(images) - behind).clamp(0, 1)
            seen[v, rows, columns] = views.alpha[v, rows, columns]
        return Repaired(images, confidence_of(views, images) * seen)

    def _condition(self, networks: "Zero123Networks", views: Views, v: int, center: Tensor, up: Tensor) -> Condition:
        index = int(views.nearest[v, 0])
        photo, camera = views.photos[index], views.photo_cameras[index]
        photo = torch.where((photo == 0).all(-1, keepdim=True), torch.ones_like(photo), photo)
        moved = camera_moved(views.cameras[v], camera, center, up)
        if "stable-zero123" in self.chosen[0].checkpoint.id:  # it is told the photo's own polar angle in place of it
            moved[3] = polar_angle(camera, center, up)
        return networks.condition(_square(camera, center).cut(photo).to(self.device), moved)


class Zero123Networks:
    """The parts of the model."""

    def __init__(self, vae: Any, unet: Any, scheduler: Any, image_encoder: Any, projection: nn.Linear) -> None:
        self.vae, self.unet, self.scheduler = vae, unet, scheduler
        self.image_encoder, self.projection = image_encoder, projection

    @staticmethod
    def load(folder: Path, device: torch.device, dtype: torch.dtype) -> "Zero123Networks":
        diffusers, transformers = find_package("diffusers", "Zero-1-to-3"), find_package("transformers", "Zero-1-to-3")
        variant = stored_variant(folder)
        local = {"local_files_only": True, "dtype": dtype, "variant": variant}
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **local)
        vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", **local)
        scheduler = diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
        image_encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(
            folder, subfolder="image_encoder", local_files_only=True, dtype=dtype, variant=variant
        )
        networks = [network.to(device).eval().requires_grad_(False) for network in (vae, unet, image_encoder)]
        projection = load_projection(folder / "clip_camera_projection", variant).to(device, dtype)
        return Zero123Networks(networks[0], networks[1], scheduler, networks[2], projection)

    @torch.no_grad()
    def condition(self, photo: Float[Tensor, "1 3 h w"], moved: Float[Tensor, "4"]) -> Condition:
        """A photo in [0, 1], white behind, and how the camera moved from it."""
        mean, std = (torch.tensor(v, device=photo.device).reshape(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        small = F.interpolate(photo, (CLIP_SIDE, CLIP_SIDE), mode="bicubic", antialias=True).clamp(0, 1)
        seen = self.image_encoder(((small - mean) / std).to(self.unet.dtype)).image_embeds
        words = self.projection(torch.cat([seen, moved[None].to(seen)], dim=-1))[:, None]
        # The authors do not scale this latent, only the noisy ones.
        return Condition(words, encode(self.vae, photo) / self.vae.config.scaling_factor)

    @torch.no_grad()
    def noise_in(self, noisy: Tensor, step: int, condition: Condition, config: ScoreConfig) -> Tensor:
        """What the network sees as noise, moved away from what it sees without the photo (Ho and Salimans 2022)."""
        nothing = Condition(torch.zeros_like(condition.words), torch.zeros_like(condition.latents))
        free, told = (self._said(noisy, step, c) for c in (nothing, condition))
        return free + config.guidance * (told - free)

    def distil(
        self, latents: Float[Tensor, "1 C h w"], condition: Condition, config: ScoreConfig, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """A loss whose gradient by `latents` is (1 - a_t) (noise seen - noise) (DreamFusion, eq. 3)."""
        count = int(self.scheduler.config.num_train_timesteps)
        step = int(torch.randint(int(config.least * count), int(config.most * count), (1,), generator=generator))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = add_noise(self.scheduler, latents.detach(), noise, step)
        expected = noise
        if config.category:
            expected = self._said(noisy, step, Condition(condition.words, torch.zeros_like(condition.latents)))
        difference = self.noise_in(noisy, step, condition, config) - expected
        gradient = (1 - self.scheduler.alphas_cumprod[step]).to(latents) * difference
        return 0.5 * F.mse_loss(latents.float(), (latents - gradient).detach().float(), reduction="sum")

    @torch.no_grad()
    def sample(
        self, latents: Float[Tensor, "1 C h w"], condition: Condition, config: ScoreConfig, generator: torch.Generator
    ) -> Float[Tensor, "1 C h w"]:
        """Latents noised by `strength` and brought back."""
        self.scheduler.set_timesteps(config.steps)
        steps = self.scheduler.timesteps[-max(1, round(config.strength * config.steps)) :]
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = add_noise(self.scheduler, latents, noise, int(steps[0]))
        for step in steps:
            noisy = self.scheduler.step(self.noise_in(noisy, int(step), condition, config), step, noisy).prev_sample
        return noisy

    @torch.no_grad()
    def _said(self, noisy: Tensor, step: int, condition: Condition) -> Tensor:
        given = torch.cat([noisy, condition.latents], dim=1)
        said = self.unet(given, step, encoder_hidden_states=condition.words).sample
        return clean_and_noise(self.scheduler, noisy, said, step)[1]


def load_projection(folder: Path, variant: str | None) -> nn.Linear:
    """The linear layer that puts the photo's embedding and the four numbers of the camera into one."""
    from safetensors.torch import load_file

    dot = f".{variant}" if variant else ""
    stored = load_file(folder / f"diffusion_pytorch_model{dot}.safetensors")
    weight, bias = (next(t for key, t in stored.items() if key.endswith(end)) for end in ("weight", "bias"))
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer.requires_grad_(False)


def looked_at(cameras: Cameras) -> Float[Tensor, "3"]:
    """The point nearest to the optical axes of all cameras, by least squares."""
    axes = cameras.cam_from_world[:, 2, :3]
    across = torch.eye(3, dtype=axes.dtype, device=axes.device) - axes[:, :, None] * axes[:, None, :]
    # A touch of the identity: parallel axes meet nowhere, and then the point is at the cameras.
    together = across.sum(0) + 1e-6 * torch.eye(3, dtype=axes.dtype, device=axes.device)
    return torch.linalg.solve(together, (across @ cameras.centers[..., None]).sum(0))[:, 0]


def upwards(cameras: Cameras) -> Float[Tensor, "3"]:
    """Where up is in the pictures, on average: unit, in the world."""
    return F.normalize(-cameras.cam_from_world[:, 1, :3].mean(dim=0), dim=0)


def camera_moved(
    camera: Cameras, photo: Cameras, center: Float[Tensor, "3"], up: Float[Tensor, "3"]
) -> Float[Tensor, "4"]:
    """How a camera (V = 1) stands against the photo's: polar angle, sine and cosine of azimuth, distance (section 3.2).

    The polar angle counts from `up`, the azimuth counter-clockwise seen from above, both about `center`.
    """
    here, there = camera.centers[0] - center, photo.centers[0] - center
    forward = F.normalize(there - (there @ up) * up, dim=0)
    left = torch.linalg.cross(up, forward)
    lower = polar_angle(camera, center, up) - polar_angle(photo, center, up)
    azimuth = torch.atan2(here @ left, here @ forward)
    away = DISTANCE * (here.norm() / there.norm().clamp_min(1e-9) - 1)
    return torch.stack([lower, azimuth.sin(), azimuth.cos(), away])


def polar_angle(camera: Cameras, center: Float[Tensor, "3"], up: Float[Tensor, "3"]) -> Float[Tensor, ""]:
    """Of a camera (V = 1) seen from `center`, in radians: 0 above, pi / 2 on its level."""
    return torch.acos((F.normalize(camera.centers[0] - center, dim=0) @ up).clamp(-1, 1))


def _square(camera: Cameras, center: Float[Tensor, "3"]) -> Square:
    """The largest square in the picture, about the centre of the object as far as that goes.

    Where all photos look the same way they look at nothing, and the square is in the middle.
    """
    height, width = int(camera.height[0]), int(camera.width[0])
    side = min(height, width)
    uv, z = project(center[None], camera.cam_from_world[0], camera.Ks[0])
    x, y = uv[0].tolist()
    if not (float(z[0]) > 0 and 0 <= x <= width and 0 <= y <= height):
        x, y = width / 2, height / 2
    left, top = (int(min(max(at - side / 2, 0), most - side)) for at, most in ((x, width), (y, height)))
    return Square(top, left, side)


def _before_white(views: Views, v: int, center: Float[Tensor, "3"]) -> Float[Tensor, "1 3 h w"]:
    """View `v`, its square, white behind: differentiable in the rendering."""
    return _square(views.cameras[v], center).cut(views.rgb[v] + (1 - views.alpha[v, ..., None]))
