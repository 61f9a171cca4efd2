"""Pictures of a scene by our own renderer: as in training, or its depth, its normals, or what no photo showed."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from recon.render import Rasterizer, select_rasterizer
from recon.types import SH_C0, Cameras, Splats
from viewer.display import FOCUS_DEPTH, DisplayFrame
from viewer.gaussians import SELECTED, rows_of_most_visible

RGB = tuple[int, int, int]
Picture = UInt8[np.ndarray, "H W 3"]
SEEN_COLORS = torch.tensor([[225, 45, 45], [245, 165, 40], [240, 225, 90], [70, 185, 100]]) / 255.0
"""Gaussians seen by no camera, by one, by two, by three or more."""
FARTHEST, NEAREST = 30.0, 235.0
"""Where in OpenCV's turbo colours depth ends and begins."""
DEPTH_RANGE = (0.02, 0.98)
"""Quantiles of a picture's depths that get the first and the last colour."""
SOLID = 0.5
"""Alpha from which a pixel has a depth."""
MOVING_SPLATS = 250_000
"""Most Gaussians that are drawn while the camera moves: beyond it their number decides, not the picture's size."""


class Look(StrEnum):
    """What is drawn. `by_server` says who draws it."""

    SPLATS = "Splats"
    EXACT = "Splats, exact"
    DEPTH = "Depth"
    NORMALS = "Normals"
    SEEN = "Uncertainty"
    POINTS = "Points"
    MESH = "Mesh"
    NOTHING = "Nothing"

    @property
    def by_server(self) -> bool:
        return self in (Look.EXACT, Look.DEPTH, Look.NORMALS, Look.SEEN)


@dataclass(frozen=True)
class Model:
    """Gaussians ready to be drawn again and again: activated once."""

    splats: Splats
    frame: DisplayFrame
    selected: Bool[torch.Tensor, " N"] | None = None
    """Drawn in another colour."""
    seen_by: Int[torch.Tensor, " N"] | None = None
    """Number of cameras that see each Gaussian."""

    @cached_property
    def rasterizer(self) -> Rasterizer:
        return select_rasterizer("auto")

    @cached_property
    def geometry(self) -> tuple[torch.Tensor, ...]:
        """Means, quaternions, scales and opacities on the renderer's device."""
        splats = self.splats.to(self.rasterizer.device).detach()
        return splats.means, splats.quats, splats.scales.contiguous(), splats.opacities.contiguous()

    @cached_property
    def harmonics(self) -> torch.Tensor:
        """Coefficients [N, K, 3], those of selected Gaussians tinted."""
        colors = self.splats.to(self.rasterizer.device).detach().colors
        if self.selected is None or not bool(self.selected.any()):
            return colors.contiguous()
        rows = self.selected.to(colors.device)
        tint = (torch.tensor(SELECTED).to(colors) - 0.5) / SH_C0
        colors = torch.where(rows[:, None, None], 0.3 * colors, colors)
        colors[rows, 0] += 0.7 * tint
        return colors.contiguous()

    @cached_property
    def seen_colors(self) -> torch.Tensor:
        """One colour [N, 3] for how many cameras see each Gaussian."""
        if self.seen_by is None:
            return torch.full((len(self.splats), 3), 0.5, device=self.rasterizer.device)
        return SEEN_COLORS[self.seen_by.clamp(max=3).cpu()].to(self.rasterizer.device)

    @cached_property
    def coarse(self) -> "Model":
        """The same scene with at most `MOVING_SPLATS` Gaussians, those that cover most."""
        if len(self.splats) <= MOVING_SPLATS:
            return self
        rows = rows_of_most_visible(self.splats, MOVING_SPLATS)
        pick = [None if values is None else values[rows.to(values.device)] for values in (self.selected, self.seen_by)]
        return Model(self.splats[rows], self.frame, *pick)

    def take_activated(self, other: "Model") -> None:
        """Take over what `other`, of the same Gaussians, has computed already."""
        for name in ("rasterizer", "geometry"):
            if name in other.__dict__:
                self.__dict__[name] = other.__dict__[name]

    @property
    def near(self) -> float:
        """World units up to which nothing is drawn."""
        return 0.005 * FOCUS_DEPTH / self.frame.scale


@torch.no_grad()
def draw_look(
    model: Model, camera: Cameras, look: Look, background: RGB, span: tuple[float, float] | None = None
) -> Picture:
    """One camera's picture of `model` in a look that the server draws.

    Args:
        span: the depths that get the first and the last colour; None takes them from the picture.
    """
    if look is Look.SEEN:
        rgb, alpha, _ = rasterize(model, camera, model.seen_colors, None, "RGB")
        return _over(rgb, alpha, background)
    if look in (Look.DEPTH, Look.NORMALS):
        _, alpha, depth = rasterize(model, camera, torch.zeros_like(model.seen_colors), None, "RGB+ED")
        solid = alpha > SOLID
        rgb = _depth_colors(depth, solid, span) if look is Look.DEPTH else _normal_colors(depth, camera)
        return _over(rgb * solid[..., None], solid.astype(np.float32), background)
    rgb, alpha, _ = rasterize(model, camera, model.harmonics, model.splats.sh_degree, "RGB")
    return _over(rgb, alpha, background)


def rasterize(
    model: Model, camera: Cameras, colors: torch.Tensor, sh_degree: int | None, mode: str
) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Colour times alpha, alpha and (in the depth modes) expected z-depth in world units.

    As numpy: at these sizes torch gains nothing from threads, and while something else computes they wait.
    """
    camera = camera.to(model.rasterizer.device)
    means, quats, scales, opacities = model.geometry
    image, alpha, _ = model.rasterizer(
        means,
        quats,
        scales,
        opacities,
        colors,
        camera.cam_from_world,
        camera.Ks,
        int(camera.width[0]),
        int(camera.height[0]),
        sh_degree=sh_degree,
        render_mode=mode,
        near_plane=model.near,
    )
    pixels, opacity = image[0].cpu().numpy(), alpha[0, ..., 0].cpu().numpy()
    return pixels[..., :3], opacity, pixels[..., 3] if pixels.shape[-1] > 3 else np.zeros_like(opacity)


def _over(rgb: Float[np.ndarray, "H W 3"], alpha: Float[np.ndarray, "H W"], background: RGB) -> Picture:
    """Premultiplied colours over a background, as bytes."""
    pixels = 255.0 * rgb + (1.0 - alpha[..., None]) * np.asarray(background, dtype=np.float32)
    return np.clip(pixels + 0.5, 0.0, 255.0).astype(np.uint8)


@torch.no_grad()
def common_span(models: list[Model], camera: Cameras) -> tuple[float, float]:
    """Depths for `draw_look` with which pictures of all these models by one camera can be compared."""
    small = camera.resized(*((edge // 4).clamp(min=1) for edge in (camera.width, camera.height)))
    samples = []
    for model in models:
        _, alpha, depth = rasterize(model, small, torch.zeros_like(model.seen_colors), None, "RGB+ED")
        samples.append(depth[alpha > SOLID])
    return _span(np.concatenate(samples))


def _span(sample: Float[np.ndarray, " S"]) -> tuple[float, float]:
    if not len(sample):
        return 1.0, 2.0
    near, far = np.quantile(sample, DEPTH_RANGE)
    return float(near), float(far)


def _depth_colors(
    depth: Float[np.ndarray, "H W"], solid: Bool[np.ndarray, "H W"], span: tuple[float, float] | None
) -> Float[np.ndarray, "H W 3"]:
    """Depth as colours, from red for the nearest of the picture to blue for the farthest, even in inverse depth."""
    near, far = span or _span(depth[::4, ::4][solid[::4, ::4]])
    low, high = 1.0 / max(far, 1e-12), 1.0 / max(near, 1e-12)
    nearness = (1.0 / np.maximum(depth, 1e-12) - low) / max(high - low, 1e-6 * high)
    return depth_color(nearness)


def depth_color(nearness: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W 3"]:
    """The colour of a depth, from 0, the farthest of the picture, to 1, the nearest."""
    shade = np.clip(FARTHEST + (NEAREST - FARTHEST) * nearness, 10, 245).astype(np.uint8)
    return cv2.applyColorMap(shade, cv2.COLORMAP_TURBO)[..., ::-1].astype(np.float32) / 255.0


def _normal_colors(depth: Float[np.ndarray, "H W"], camera: Cameras) -> Float[np.ndarray, "H W 3"]:
    """Surface normals from neighbouring depths, as colours: red right, green up, blue towards the viewer."""
    height, width = depth.shape
    K = camera.Ks[0].cpu().numpy()
    x = ((np.arange(width, dtype=np.float32) + 0.5 - K[0, 2]) / K[0, 0])[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5 - K[1, 2]) / K[1, 1])[:, None]
    smooth = cv2.GaussianBlur(depth, (0, 0), 1.0)
    points = np.stack([x * smooth, y * smooth, smooth], axis=2)
    right, down = (cv2.Sobel(points, cv2.CV_32F, dx, 1 - dx) for dx in (1, 0))
    normal = np.stack(
        [right[..., i] * down[..., j] - right[..., j] * down[..., i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=2
    )
    length = np.sqrt((normal**2).sum(axis=2, keepdims=True))
    normal /= np.maximum(length, 1e-12) * np.where(normal[..., 2:] > 0, -1.0, 1.0)  # camera axes: towards us is -z
    return 0.5 + 0.5 * normal * np.array([1.0, -1.0, -1.0], dtype=np.float32)
