"""Which photos to match with which, and between which depths to look."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import project, unproject
from recon.types import Cameras, PosedScene

# A pair is best at about 10 degrees: less and depth is uncertain, more and surfaces look different and hide each other.
_BEST_ANGLE_DEG, _NARROW_DEG, _WIDE_DEG = 10.0, 4.0, 25.0
_MIN_POINTS = 12  # sparse points in a photo below which its depth range is taken from the cameras instead
_MARGIN_NEAR, _MARGIN_FAR = 1.5, 0.3  # of inverse depth: sparse points miss the nearest and, more so, the farthest


@dataclass(frozen=True)
class Neighbourhood:
    """For one reference photo: the photos to match it with, best first, and where to look."""

    views: tuple[int, ...]
    weights: tuple[float, ...]
    """In (0, 1], relative to the best."""
    w_min: float
    w_max: float
    """Range of inverse depth."""


def choose(scene: PosedScene, limit: int) -> list[Neighbourhood]:
    """Neighbours and depth range of every photo. Works without sparse points, then from the cameras alone."""
    return [_neighbourhood(scene, i, limit) for i in range(len(scene))]


def _neighbourhood(scene: PosedScene, i: int, limit: int) -> Neighbourhood:
    cameras = scene.cameras
    seen = _points_in_view(scene.points.xyz, cameras, i)
    few = len(seen) < _MIN_POINTS
    scores = _pair_scores(_probe_points(cameras, i) if few else seen, cameras, i)
    order = sorted((j for j in range(len(cameras)) if j != i), key=lambda j: -float(scores[j]))
    kept = [j for j in order if scores[j] > 0.05 * scores[order[0]]][:limit] or order[:1]
    best = max(float(scores[kept[0]]), 1e-9)
    weights = tuple(max(float(scores[j]) / best, 0.1) ** 0.5 for j in kept)
    w_min, w_max = _range_from_overlap(cameras, i, kept) if few else _range_from_points(seen, cameras, i)
    return Neighbourhood(tuple(kept), weights, w_min, w_max)


def _inside(uv: Tensor, z: Tensor, cameras: Cameras, i: int, border: float = 0.0) -> Tensor:
    width, height = float(cameras.width[i]), float(cameras.height[i])
    mx, my = border * width, border * height
    x, y = uv[..., 0], uv[..., 1]
    return (z > 1e-6) & (x >= -mx) & (x <= width + mx) & (y >= -my) & (y <= height + my)


def _points_in_view(points: Float[Tensor, "P 3"], cameras: Cameras, i: int) -> Float[Tensor, "Q 3"]:
    if len(points) == 0:
        return points
    uv, z = project(points, cameras.cam_from_world[i], cameras.Ks[i])
    return points[_inside(uv, z, cameras, i, border=0.02)]


def _pair_scores(points: Float[Tensor, "P 3"], cameras: Cameras, i: int) -> Float[Tensor, " V"]:
    """Sum over the points both photos have in view of how good their viewing angle is."""
    rays = torch.nn.functional.normalize(points[None] - cameras.centers[:, None], dim=-1)
    cosine = (rays * rays[i : i + 1]).sum(-1).clamp(-1, 1)
    angle = torch.rad2deg(torch.acos(cosine))
    spread = torch.where(angle < _BEST_ANGLE_DEG, _NARROW_DEG, _WIDE_DEG)
    quality = torch.exp(-0.5 * ((angle - _BEST_ANGLE_DEG) / spread) ** 2)
    uv, z = project(points, cameras.cam_from_world, cameras.Ks)
    both = torch.stack([_inside(uv[j], z[j], cameras, j) for j in range(len(cameras))])
    return (quality * both).sum(-1)


def _probe_points(cameras: Cameras, i: int) -> Float[Tensor, "P 3"]:
    """A grid of points in front of camera i at the distance where the cameras look, for scenes without sparse points.

    That distance is where the optical axes come closest in the least-squares sense; parallel cameras are taken to look
    at ten times their distance from each other.
    """
    centers, axes = cameras.centers, cameras.cam_from_world[:, 2, :3]
    projectors = torch.eye(3).to(axes) - axes[:, :, None] * axes[:, None]
    damping = 1e-3 * torch.eye(3).to(axes)
    meeting = torch.linalg.solve(
        projectors.sum(0) + damping, (projectors @ centers[..., None]).sum(0)[:, 0] + damping @ centers.mean(0)
    )
    baseline = (centers - centers[i]).norm(dim=-1).sum() / max(len(cameras) - 1, 1)
    distance = float((meeting - centers[i]) @ axes[i])
    distance = distance if distance > 0.5 * float(baseline) else 10 * float(baseline)
    uv = _grid(cameras, i)
    return unproject(uv, torch.full((len(uv),), distance).to(uv), cameras.Ks[i], cameras.cam_from_world[i])


def _grid(cameras: Cameras, i: int, n: int = 9) -> Float[Tensor, "P 2"]:
    t = (torch.arange(n, dtype=cameras.Ks.dtype) + 0.5) / n
    x, y = torch.meshgrid(t * float(cameras.width[i]), t * float(cameras.height[i]), indexing="xy")
    return torch.stack([x, y], -1).reshape(-1, 2)


def _range_from_points(points: Float[Tensor, "P 3"], cameras: Cameras, i: int) -> tuple[float, float]:
    _, z = project(points, cameras.cam_from_world[i], cameras.Ks[i])
    low, high = torch.quantile(1.0 / z, torch.tensor([0.01, 0.99], dtype=z.dtype)).tolist()
    return _MARGIN_FAR * low, _MARGIN_NEAR * high


def _range_from_overlap(cameras: Cameras, i: int, views: list[int]) -> tuple[float, float]:
    """Inverse depths at which at least a quarter of the photo is inside another one; down to nearly 0 if that far."""
    uv = _grid(cameras, i)
    baseline = float((cameras.centers[views] - cameras.centers[i]).norm(dim=-1).max().clamp_min(1e-9))
    w = torch.logspace(-3, 1, 81, dtype=uv.dtype) / baseline
    z = (1 / w)[:, None].expand(-1, len(uv)).reshape(-1)
    points = unproject(uv.repeat(len(w), 1), z, cameras.Ks[i], cameras.cam_from_world[i])
    seen = torch.zeros(len(w), dtype=uv.dtype)
    for j in views:
        uv_j, z_j = project(points, cameras.cam_from_world[j], cameras.Ks[j])
        seen = torch.maximum(seen, _inside(uv_j, z_j, cameras, j).to(uv.dtype).reshape(len(w), -1).mean(-1))
    usable = w[seen >= 0.25]
    if len(usable) == 0:
        usable = w[seen >= seen.max()]
    return float(usable[0]), float(usable[-1])
