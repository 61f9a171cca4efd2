"""The report's pictures: photos, error maps, depth in colour, point clouds with cameras, matches between photos."""

import base64
import io
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw
from torch import Tensor

from recon.geometry import look_at, transform_points
from recon.types import Cameras, PairDiagnostics, PointCloud

Picture = UInt8[ndarray, "H W 3"]
ERROR_FULL_SCALE = 0.25  # mean absolute difference of the channels that is drawn in the brightest colour
BACKDROP = (17, 24, 39)
ACCENTS = ((251, 146, 60), (56, 189, 248), (163, 230, 53), (244, 114, 182), (250, 204, 21), (167, 139, 250))


def to_picture(rgb: Float[Tensor, "H W 3"], side: int | None = None) -> UInt8[ndarray, "_ _ 3"]:
    """8-bit values, shrunk so that the longest side is at most `side`."""
    picture = (rgb.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return shrink(picture, side)


def shrink(picture: UInt8[ndarray, "H W 3"], side: int | None) -> UInt8[ndarray, "_ _ 3"]:
    """By area averaging; never enlarged."""
    scale = 1.0 if side is None else min(1.0, side / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    if size == (picture.shape[1], picture.shape[0]):
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def data_uri(picture: UInt8[ndarray, "H W 3"], quality: int) -> str:
    """The picture as a JPEG inside a `data:` address."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def error_map(rendered: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"]) -> UInt8[ndarray, "H W 3"]:
    """Mean absolute difference of the channels, from black (none) to yellow (a quarter of the range or more)."""
    error = (rendered.clamp(0, 1) - truth).abs().mean(-1) / ERROR_FULL_SCALE
    codes = (error.clamp(0, 1) * 255).to(torch.uint8).cpu().numpy()
    return cv2.cvtColor(cv2.applyColorMap(codes, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def resized_to(image: Float[Tensor, "_ _ 3"], like: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """`image` at the size of `like`, by area averaging."""
    size = (like.shape[1], like.shape[0])
    if size == (image.shape[1], image.shape[0]):
        return image
    return torch.from_numpy(cv2.resize(image.cpu().numpy(), size, interpolation=cv2.INTER_AREA))


def depth_range(*maps: Float[Tensor, "_ _"] | None) -> tuple[float, float]:
    """The 2nd and 98th percentile of the known inverse depths of `maps`, for drawing them on one scale."""
    known = [1 / m[m > 0].flatten()[::17] for m in maps if m is not None and bool((m > 0).any())]
    if not known:
        return 0.0, 1.0
    low, high = torch.quantile(torch.cat(known), torch.tensor([0.02, 0.98])).tolist()
    return low, max(high, low + 1e-9)


def depth_picture(
    depth: Float[Tensor, "H W"], limits: tuple[float, float], side: int | None = None
) -> UInt8[ndarray, "_ _ 3"]:
    """Inverse depth in colour: red near, blue far, dark where unknown."""
    low, high = limits
    inverse = torch.where(depth > 0, 1 / depth.clamp_min(1e-12), torch.zeros_like(depth))
    codes = (((inverse - low) / (high - low)).clamp(0, 1) * 255).to(torch.uint8).cpu().numpy()
    picture = cv2.cvtColor(cv2.applyColorMap(codes, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    picture[(depth <= 0).cpu().numpy()] = BACKDROP
    return shrink(picture, side)


@dataclass(frozen=True)
class Overview:
    """A picture's view of the scene: a pose, then a scale and a shift that fit the drawing into the frame."""

    cam_from_world: Float[Tensor, "4 4"]
    size: tuple[int, int]
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)

    def project(self, xyz: Float[Tensor, "P 3"]) -> tuple[Float[Tensor, "P 2"], Float[Tensor, " P"]]:
        """Pixels and depth."""
        local = xyz @ self.cam_from_world[:3, :3].T + self.cam_from_world[:3, 3]
        z = local[:, 2]
        return self.scale * local[:, :2] / z.clamp_min(1e-6)[:, None] + torch.tensor(self.offset), z

    def fitted(self, xyz: Float[Tensor, "P 3"], margin: float = 0.06) -> "Overview":
        """The same view with all of `xyz` inside the frame."""
        uv, _ = replace(self, scale=1.0, offset=(0.0, 0.0)).project(xyz)
        low, high = uv.amin(0), uv.amax(0)
        room = torch.tensor(self.size) * (1 - 2 * margin)
        scale = float((room / (high - low).clamp_min(1e-9)).amin())
        x, y = (torch.tensor(self.size) / 2 - scale * (low + high) / 2).tolist()
        return replace(self, scale=scale, offset=(x, y))


def cloud_picture(
    points: PointCloud, cameras: Cameras, size: tuple[int, int] = (720, 480), *, top: bool = False
) -> UInt8[ndarray, "_ _ 3"]:
    """The points with the cameras as frusta, seen from behind and above the cameras, or from straight above."""
    keep = _central(points.xyz)
    xyz, rgb = points.xyz[keep], points.rgb[keep]
    pyramids = _pyramids(cameras, xyz)
    keys = torch.cat([pyramids.reshape(-1, 3), xyz[:: max(1, len(xyz) // 5000)]])
    view = Overview(_overview_pose(keys, cameras, top), size).fitted(keys)
    canvas = np.full((size[1], size[0], 3), BACKDROP, np.uint8)
    _paint(canvas, *view.project(xyz), (rgb.clamp(0, 1) * 255).to(torch.uint8).numpy())
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for v, pyramid in enumerate(pyramids):
        apex, *base = (tuple(p) for p in view.project(pyramid)[0].tolist())
        color = ACCENTS[v % len(ACCENTS)]
        draw.line([*base, base[0]], fill=color, width=2)
        for corner in base:
            draw.line([apex, corner], fill=color, width=2)
    return np.asarray(picture)


def _central(xyz: Float[Tensor, "P 3"]) -> Int[Tensor, " K"]:
    """Indices of at most 200 000 points without the farthest 2%."""
    if len(xyz) == 0:
        return torch.zeros(0, dtype=torch.int64)
    index = torch.arange(0, len(xyz), math.ceil(len(xyz) / 200_000))
    distance = torch.linalg.vector_norm(xyz[index] - xyz.median(0).values, dim=1)
    return index[distance <= torch.quantile(distance[:: math.ceil(len(distance) / 50_000)], 0.98)]


def _overview_pose(keys: Float[Tensor, "K 3"], cameras: Cameras, top: bool) -> Float[Tensor, "4 4"]:
    """Far enough to have all of `keys` in front."""
    world_from_cam = cameras.world_from_cam
    low, high = keys.amin(0), keys.amax(0)
    target, radius = (low + high) / 2, float(torch.linalg.vector_norm(high - low)) / 2
    up = torch.nn.functional.normalize(-world_from_cam[:, :3, 1].mean(0), dim=0)
    forward = torch.nn.functional.normalize(world_from_cam[:, :3, 2].mean(0), dim=0)
    side = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=0)
    direction = up - 0.02 * forward if top else 0.6 * up - 0.7 * forward + 0.9 * side
    eye = target + 2.5 * max(radius, 1e-6) * torch.nn.functional.normalize(direction, dim=0)
    return look_at(eye[None], target[None], (forward if top else up)[None])[0]


def _pyramids(cameras: Cameras, xyz: Float[Tensor, "P 3"]) -> Float[Tensor, "V 5 3"]:
    """Each camera as a pyramid, apex first, whose depth is an eighth of the distance to the points."""
    middle = xyz.median(0).values if len(xyz) else cameras.centers.mean(0) + 1
    depth = 0.12 * torch.linalg.vector_norm(cameras.centers - middle, dim=1).median()
    zero = torch.zeros_like(cameras.width)
    x = torch.stack([zero, cameras.width, cameras.width, zero], dim=1) - cameras.Ks[:, :1, 2]
    y = torch.stack([zero, zero, cameras.height, cameras.height], dim=1) - cameras.Ks[:, 1:2, 2]
    x, y = x / cameras.Ks[:, :1, 0], y / cameras.Ks[:, 1:2, 1]
    base = torch.stack([x, y, torch.ones_like(x)], dim=-1) * depth
    local = torch.cat([torch.zeros_like(base[:, :1]), base], dim=1)
    return transform_points(cameras.world_from_cam, local)


def _paint(canvas: Picture, uv: Float[Tensor, "P 2"], z: Float[Tensor, " P"], rgb: UInt8[ndarray, "P 3"]) -> None:
    """Draw points as 2x2 pixels, far ones first so that near ones cover them."""
    height, width = canvas.shape[:2]
    inside = (z > 0) & (uv >= 0).all(1) & (uv[:, 0] < width - 1) & (uv[:, 1] < height - 1)
    order = torch.nonzero(inside)[:, 0]
    order = order[z[order].argsort(descending=True)]
    x, y = uv[order].long().T.numpy()
    for dy in (0, 1):
        for dx in (0, 1):
            canvas[y + dy, x + dx] = rgb[order.numpy()]


def match_picture(
    first: Float[Tensor, "_ _ 3"], second: Float[Tensor, "_ _ 3"], pair: PairDiagnostics, side: int, lines: int = 60
) -> UInt8[ndarray, "_ _ 3"]:
    """Two photos side by side with lines between (at most `lines`) inlier matches."""
    height = min(side, max(first.shape[0], second.shape[0]))
    scales = [height / image.shape[0] for image in (first, second)]
    tiles = [
        cv2.resize(to_picture(image), (max(1, round(image.shape[1] * s)), height), interpolation=cv2.INTER_AREA)
        for image, s in zip((first, second), scales)
    ]
    gap = 6
    picture = Image.fromarray(np.hstack([tiles[0], np.full((height, gap, 3), 255, np.uint8), tiles[1]]))
    if pair.points_i is None or pair.points_j is None or len(pair.points_i) == 0:
        return np.asarray(picture)
    draw = ImageDraw.Draw(picture)
    offset = tiles[0].shape[1] + gap
    count = len(pair.points_i)
    for k in range(0, count, max(1, math.ceil(count / lines))):
        a = (pair.points_i[k] * scales[0]).tolist()
        b = (pair.points_j[k] * scales[1]).tolist()
        color = ACCENTS[k % len(ACCENTS)]
        draw.line([a[0], a[1], b[0] + offset, b[1]], fill=color, width=1)
        for x, y in (a, (b[0] + offset, b[1])):
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], outline=color)
    return np.asarray(picture)
