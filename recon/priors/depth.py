"""Depth that a network sees in a single photo, brought to the scale of the scene photo by photo.

Such depth is right in its order and its shapes and unknown in scale, and for most models in shift too (of inverse
depth; Ranftl et al. 2022, "MiDaS", eq. 1). Both are fitted against stereo or the scene's points, so that what comes
out is depth in world units; the terms of the loss that take it forgive what the fit leaves.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon.assets import Checkpoint, downloads_allowed
from recon.errors import InputError, MissingDependencyError
from recon.geometry.projection import project
from recon.priors.diffusion.base import Licence
from recon.priors.diffusion.hub.loading import HubModel, HubNetwork, find_package
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

logger = logging.getLogger(__name__)

SAMPLES = 4096
"""Pixels that scale and shift are fitted to: more changes nothing."""
PAIRS = 256
"""Tries of two pixels: with half of them wrong, all pairs bad has a chance under 1e-31."""
ENOUGH = 20
"""Pixels of known depth without which a photo's depth stays of unknown scale."""
SOUND = 0.3
"""Share of pixels that must agree: fewer than any two random surfaces would, and the network's depth is not used."""
FARTHEST = 0.02
"""Inverse depth is kept above this share of its median: what is farther is 'far', and not infinitely."""


@dataclass(frozen=True)
class DepthPriorConfig:
    """Depth that a network sees in each photo, for the terms of the loss that forgive its scale."""

    model: str = "none"
    """`none`, or a name that `--depth-prior` takes."""
    checkpoint: str = ""
    """An id on the Hugging Face hub, or a folder, in the place of the model's own weights."""


@runtime_checkable
class DepthModel(Protocol):
    """One network. To add one: write such a class and list it in `DEPTH_MODELS`."""

    name: str
    licence: Licence

    def available(self) -> tuple[bool, str]:
        """Whether it can run here, and if not, what is missing and how to get it. Never touches the network."""
        ...

    def estimate(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
        """Inverse depth of an sRGB photo in [0, 1], of unknown scale and shift: larger is nearer.

        Raises:
            MissingDependencyError: it is not available.
        """
        ...


class TransformersDepth(HubNetwork):
    """Depth Anything V2 (Yang et al. 2024), or any other depth model that transformers can load."""

    name = "depth-anything-v2"
    title = "Depth Anything V2"
    packages = ("transformers",)
    models = (
        (
            HubModel(
                Checkpoint(
                    "depth-anything/Depth-Anything-V2-Small-hf",
                    "Apache-2.0",
                    99_200_000,
                    ("config.json", "model.safetensors", "preprocessor_config.json"),
                ),
                1_000_000_000,
            ),
            HubModel(
                Checkpoint(
                    "depth-anything/Depth-Anything-V2-Large-hf",
                    "CC BY-NC 4.0: no commercial use",
                    1_340_000_000,
                    ("config.json", "model.safetensors", "preprocessor_config.json"),
                ),
                4_000_000_000,
                commercial=False,
            ),
        ),
    )

    def load(self, *folders: Path) -> tuple[Any, Any]:
        transformers = find_package("transformers", self.title)
        processor = transformers.AutoImageProcessor.from_pretrained(folders[0], local_files_only=True)
        model = transformers.AutoModelForDepthEstimation.from_pretrained(folders[0], local_files_only=True)
        return processor, model.to(self.device).eval()

    @torch.no_grad()
    def estimate(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
        processor, model = self.loaded()
        pixels = (photo.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        given = processor(images=pixels, return_tensors="pt").to(self.device)
        said = model(**given).predicted_depth.float().cpu()
        depth = F.interpolate(said[:, None], photo.shape[:2], mode="bilinear", align_corners=False)[0, 0]
        metric = getattr(model.config, "depth_estimation_type", "relative") == "metric"
        return 1 / depth.clamp_min(1e-6) if metric else depth


class DepthAnything3(HubNetwork):
    """Depth Anything 3 (Lin et al. 2025) on one photo, through its own package: transformers has no class for it."""

    name = "depth-anything-3"
    title = "Depth Anything 3"
    packages = ("depth_anything_3",)
    # its own requirements would put older releases of numpy and OpenCV in the place of recon's
    install = "pip install '.[da3]' && pip install --no-deps depth-anything-3"
    models = (
        (
            HubModel(Checkpoint("depth-anything/DA3-SMALL", "Apache-2.0", 140_000_000), 1_000_000_000),
            HubModel(Checkpoint("depth-anything/DA3-BASE", "Apache-2.0", 540_000_000), 2_000_000_000),
        ),
    )

    def load(self, *folders: Path) -> Any:
        package = find_package("depth_anything_3.api", self.title, self.install)
        model = package.DepthAnything3.from_pretrained(str(folders[0])).to(self.device)
        if self.device.type == "cpu":  # the package computes in float16 there, three times slower than float32
            model.forward = model.model.forward
        return model

    @torch.no_grad()
    def estimate(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
        pixels = (photo.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        depth = torch.from_numpy(np.asarray(self.loaded().inference([pixels]).depth[0])).float()
        depth = F.interpolate(depth[None, None], photo.shape[:2], mode="bilinear", align_corners=False)[0, 0]
        return 1 / depth.clamp_min(1e-6)


DEPTH_MODELS: dict[str, Callable[..., DepthModel]] = {
    TransformersDepth.name: TransformersDepth,
    DepthAnything3.name: DepthAnything3,
}
"""How each is made, by the name that `--depth-prior` takes, with an id or a folder. Making one loads nothing."""


def make_depth_model(name: str, checkpoint: str = "") -> DepthModel:
    """The depth model called `name`.

    Args:
        checkpoint: an id on the hub, or a folder, in place of the default weights.

    Raises:
        InputError: there is none of that name.
    """
    if name not in DEPTH_MODELS:
        raise InputError(f"There is no depth model called {name!r}. Choose one of: {', '.join(DEPTH_MODELS)}.")
    return DEPTH_MODELS[name](checkpoint)


def require_depth_model(config: DepthPriorConfig) -> None:
    """See that the model can run, or that the user has allowed to download what it lacks.

    Raises:
        InputError: there is none of that name.
        MissingDependencyError: it cannot run here; says what is missing, with licence and size.
    """
    if config.model == "none":
        return
    ready, why = make_depth_model(config.model, config.checkpoint).available()
    if not ready and not downloads_allowed():
        raise MissingDependencyError(f"The depth prior {config.model} cannot run here. {why}")


@dataclass(frozen=True)
class Alignment:
    """1 / depth = `scale` * inverse + `shift`, and the share of pixels for which that holds."""

    scale: float
    shift: float
    agree: float


def align_scale_shift(
    inverse: Float[Tensor, " P"], depth: Float[Tensor, " P"], weight: Float[Tensor, " P"], *, seed: int = 0
) -> Alignment | None:
    """Scale and shift of a network's inverse depth that most pixels of known depth agree on.

    Many pairs of pixels each propose a line; the one with the least median residual (Rousseeuw 1984) is refined by
    least squares over the pixels that agree with it, within 2.5 standard deviations read from that median.

    Args:
        depth: what is known, in world units, above 0.
        weight: how much each pixel counts, 0 or more.

    Returns:
        None with fewer than `ENOUGH` pixels, or if no line of positive scale holds for more than `SOUND` of them.
    """
    known = (weight > 0) & (depth > 0)
    x, y, w = (values[known].double() for values in (inverse, 1 / depth.clamp_min(1e-12), weight))
    if x.numel() < ENOUGH:
        return None
    generator = torch.Generator().manual_seed(seed)
    if x.numel() > SAMPLES:
        chosen = torch.randperm(x.numel(), generator=generator)[:SAMPLES]
        x, y, w = x[chosen], y[chosen], w[chosen]
    a, b = torch.multinomial(w, 2 * PAIRS, replacement=True, generator=generator).reshape(2, -1)
    run = x[a] - x[b]
    scales = (y[a] - y[b]) / torch.where(run.abs() < 1e-9, torch.full_like(run, torch.inf), run)
    shifts = y[a] - scales * x[a]
    middles = (scales[:, None] * x + shifts[:, None] - y).abs().median(dim=1).values
    middles[scales <= 0] = torch.inf
    best = int(middles.argmin())
    if not torch.isfinite(middles[best]):
        return None
    return _refined(x, y, w, float(scales[best]), float(shifts[best]))


def _refined(x: Tensor, y: Tensor, w: Tensor, scale: float, shift: float) -> Alignment | None:
    """Weighted least squares over the pixels near the line, repeated as the line moves."""
    bound = max(2.5 * 1.4826 * float((scale * x + shift - y).abs().median()), 1e-4 * float(y.median()))
    near = torch.ones_like(x, dtype=torch.bool)
    for _ in range(5):
        near = (scale * x + shift - y).abs() <= bound
        total = (w * near).sum().clamp_min(1e-12)
        mean_x, mean_y = (w * near * x).sum() / total, (w * near * y).sum() / total
        spread = (w * near * (x - mean_x) ** 2).sum()
        if spread <= 1e-18:
            return None
        scale = float((w * near * (x - mean_x) * (y - mean_y)).sum() / spread)
        shift = float(mean_y - scale * mean_x)
    agree = float(near.double().mean())
    return Alignment(scale, shift, agree) if scale > 0 and agree > SOUND else None


def monocular_depths(scene: PosedScene, model: DepthModel, depths: DepthMaps | None = None) -> DepthMaps:
    """Depth of every photo of `scene` by `model`, in world units.

    Scale and shift come from `depths` (stereo) where given, and from the scene's points where not. A photo whose depth
    cannot be aligned gets confidence 0; the others the share of pixels that agree.

    Raises:
        MissingDependencyError: the model is not available.
    """
    maps, confidence = [], []
    for index, photo in enumerate(scene.images):
        inverse = model.estimate(photo)
        known, weight = _known(scene, depths, index)
        aligned = align_scale_shift(inverse.reshape(-1), known.reshape(-1), weight.reshape(-1), seed=index)
        if aligned is None:
            logger.warning("%s: depth by %s fits nothing known of the scene", scene.names[index], model.name)
            maps.append(torch.zeros_like(inverse))
            confidence.append(torch.zeros_like(inverse))
            continue
        scaled = aligned.scale * inverse + aligned.shift
        maps.append(1 / scaled.clamp_min(FARTHEST * float(scaled.median().clamp_min(1e-9))))
        confidence.append(torch.full_like(inverse, aligned.agree))
    return DepthMaps(tuple(maps), tuple(confidence))


def _known(scene: PosedScene, depths: DepthMaps | None, index: int) -> tuple[Tensor, Tensor]:
    """What is known of photo `index`'s depth, and how surely; 0 where nothing is."""
    if depths is not None:
        return depths.depth[index], depths.confidence[index]
    return _points_in(scene.points, scene.cameras[index], scene.images[index].shape[:2])


def _points_in(points: PointCloud, camera: Cameras, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Depth and confidence of the points' pixels in a photo (V = 1); the nearest point wins."""
    uv, z = project(points.xyz, camera.cam_from_world[0], camera.Ks[0])
    column, row = uv[:, 0].floor().long(), uv[:, 1].floor().long()
    inside = (z > 0) & (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    far_first = torch.nonzero(inside)[:, 0]
    far_first = far_first[z[far_first].argsort(descending=True)]
    depth, weight = torch.zeros(size, dtype=z.dtype), torch.zeros(size, dtype=z.dtype)
    for place, values in ((depth, z), (weight, points.confidence)):
        place[row[far_first], column[far_first]] = values[far_first]
    return depth, weight
