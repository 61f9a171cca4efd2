"""Camera paths: smooth ways through and around the cameras of a scene. Pure functions of poses.

Every path returns `cam_from_world` per frame in OpenCV axes. "Up" is the mean of the input cameras' up directions,
since a scene from photos has no gravity.
"""

import itertools
import math

import torch
from jaxtyping import Float, Int
from scipy.signal import fftconvolve
from torch import Tensor

from recon.geometry.cameras import scene_center
from recon.geometry.se3 import look_at
from recon.types import Cameras

PATH_KINDS = ("interpolate", "orbit", "spiral")


def along(
    kind: str, cameras: Cameras, frames: int, points: Float[Tensor, "P 3"] | None = None
) -> Float[Tensor, "F 4 4"]:
    """The path called `kind` (one of `PATH_KINDS`) for registered cameras."""
    if kind == "interpolate":
        return interpolate(cameras, frames, points)
    if kind == "orbit":
        return orbit(cameras, frames, points)
    if kind == "spiral":
        return spiral(cameras, frames, points)
    raise ValueError(f"unknown path {kind!r}; known: {', '.join(PATH_KINDS)}")


def visiting_order(centers: Float[Tensor, "V 3"]) -> Int[Tensor, " V"]:
    """The order that visits all centres on a short open way: nearest neighbour, then 2-opt until nothing improves."""
    n = len(centers)
    distance = torch.cdist(centers.double(), centers.double()).tolist()

    def length(order: list[int]) -> float:
        return sum(distance[a][b] for a, b in itertools.pairwise(order))

    best: list[int] = list(range(n))
    for start in range(n) if n <= 12 else (0, n // 2, n - 1):  # 2-opt is slow in Python for many cameras
        order, left = [start], set(range(n)) - {start}
        while left:
            order.append(min(left, key=lambda j: (distance[order[-1]][j], j)))
            left.remove(order[-1])
        order = _two_opt(order, length)
        if length(order) < length(best) - 1e-12:
            best = order
    if best and best[0] > best[-1]:
        best = best[::-1]
    return torch.tensor(best, dtype=torch.int64)


def _two_opt(order: list[int], length) -> list[int]:
    improved = True
    while improved:
        improved = False
        for i, j in itertools.combinations(range(len(order)), 2):
            candidate = order[:i] + order[i : j + 1][::-1] + order[j + 1 :]
            if length(candidate) < length(order) - 1e-12:
                order, improved = candidate, True
    return order


def is_ring(cameras: Cameras) -> bool:
    """Whether the cameras surround the scene: the largest gap between their headings is under 100 degrees."""
    if len(cameras) < 4:
        return False
    headings = _headings(cameras, scene_center(cameras)).sort().values
    gaps = torch.diff(headings, append=headings[:1] + 2 * math.pi)
    return float(gaps.max()) < math.radians(100)


def blend_weights(keys: int, frames: int, closed: bool, smooth: float = 0.3) -> Float[Tensor, "F V"]:
    """Weights of `keys` key frames per frame: linear in between, then smoothed along the path.

    They are non-negative and sum to 1, so that a position blended with them stays in the convex hull of the keys'.

    Args:
        smooth: standard deviation of the smoothing, in units of the distance between two keys.
    """
    fine = 64 * max(frames, 2)
    segments = keys if closed else max(1, keys - 1)
    times = torch.arange(fine, dtype=torch.float64) * segments / (fine if closed else fine - 1)
    offset = (times[:, None] - torch.arange(keys, dtype=torch.float64)).abs()
    if closed:
        offset = torch.minimum(offset, keys - offset)
    linear = (1 - offset).clamp_min(0)
    sigma = smooth * fine / segments
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None]
    padded = _pad(linear.T, radius, closed)
    # By Fourier transform: torch's convolution takes memory for all frames times all taps, which grow with the frames.
    smoothed = torch.from_numpy(fftconvolve(padded.numpy(), kernel.numpy(), mode="valid", axes=1)).T.clamp_min(0)
    pick = torch.linspace(0, fine - 1, frames) if not closed else torch.arange(frames) * 64.0
    weights = smoothed[pick.round().long()]
    return (weights / weights.sum(1, keepdim=True)).float()


def _pad(values: Tensor, radius: int, closed: bool) -> Tensor:
    """[V, T] continued at both ends: around the ring, or by resting on the first and last key."""
    if closed:
        index = torch.arange(-radius, values.shape[1] + radius) % values.shape[1]
    else:
        index = torch.arange(-radius, values.shape[1] + radius).clamp(0, values.shape[1] - 1)
    return values[:, index]


def interpolate(cameras: Cameras, frames: int, points: Float[Tensor, "P 3"] | None = None) -> Float[Tensor, "F 4 4"]:
    """A smooth way from camera to camera, in visiting order; around and back to the start if they form a ring.

    Position, the point looked at and the up direction are blended with the same weights, so that the path stays in
    the hull of the input cameras and the scene stays in the picture.
    """
    order = visiting_order(cameras.centers)
    ordered = cameras[order]
    if len(ordered) == 1:
        return ordered.cam_from_world.expand(frames, 4, 4).clone()
    weights = blend_weights(len(ordered), frames, is_ring(cameras)).to(cameras.cam_from_world)
    world_from_cam = ordered.world_from_cam
    centers, forward = world_from_cam[:, :3, 3], world_from_cam[:, :3, 2]
    targets = centers + forward * focus_distances(ordered, points)[:, None]
    eye, target = weights @ centers, weights @ targets
    # Two cameras that look at each other blend to a target at the eye: look where they look on average instead.
    lost = torch.linalg.vector_norm(target - eye, dim=1) < 1e-4 * focus_distances(ordered, points).mean()
    target = torch.where(lost[:, None], eye + forward[0], target)
    return look_at(eye, target, weights @ -world_from_cam[:, :3, 1])


def focus_distances(cameras: Cameras, points: Float[Tensor, "P 3"] | None = None) -> Float[Tensor, " V"]:
    """How far ahead of each camera the scene lies: median depth of the points in front, else the scene's centre."""
    ahead = cameras.cam_from_world[:, 2, :3]
    center = scene_center(cameras, points)
    fallback = (center @ ahead.T + cameras.cam_from_world[:, 2, 3]).abs().clamp_min(1e-6)
    if points is None or len(points) == 0:
        return fallback
    sample = points[:: max(1, len(points) // 20_000)]
    depth = sample @ ahead.T + cameras.cam_from_world[:, 2, 3]
    median = torch.where(depth > 0, depth, torch.nan).nanmedian(0).values
    return torch.where(median.isnan(), fallback, median)


def orbit(cameras: Cameras, frames: int, points: Float[Tensor, "P 3"] | None = None) -> Float[Tensor, "F 4 4"]:
    """An arc around the scene's centre at the cameras' mean distance and height.

    A full circle when the cameras surround the scene; otherwise there and back over the headings that they cover,
    since nothing is known beyond.
    """
    center = scene_center(cameras, points)
    up, east, north = _upright_frame(cameras)
    offsets = cameras.centers - center
    height = (offsets @ up).mean()
    radius = torch.linalg.vector_norm(offsets - (offsets @ up)[:, None] * up, dim=1).mean()
    steps = torch.arange(frames, dtype=torch.float32, device=center.device) / max(1, frames)
    if is_ring(cameras):
        angles = 2 * math.pi * steps
    else:
        angles = _unwrapped_range(_headings(cameras, center), 0.5 - 0.5 * torch.cos(2 * math.pi * steps))
    eye = center + height * up + radius * (angles.cos()[:, None] * east + angles.sin()[:, None] * north)
    return look_at(eye, center.expand_as(eye), up.expand_as(eye))


def spiral(cameras: Cameras, frames: int, points: Float[Tensor, "P 3"] | None = None) -> Float[Tensor, "F 4 4"]:
    """Two small loops around the mean camera, a little nearer and farther, all looking at one point.

    Extents are a third of the cameras' spread, after the forward-facing path of LLFF (Mildenhall et al. 2019).
    """
    target = scene_center(cameras, points)
    reach = torch.linalg.vector_norm(cameras.centers - target, dim=1).mean()
    if torch.linalg.vector_norm(cameras.centers.mean(0) - target) < 0.5 * reach:
        cameras = cameras[0]  # all around the scene, the mean camera is inside it: take one
    world_from_cam = cameras.world_from_cam
    middle = cameras.centers.mean(0)
    up, _, _ = _upright_frame(cameras)
    mean_pose = look_at(middle[None], target[None], up[None])[0]
    right, down, forward = mean_pose[:3, :3]
    spread = (cameras.centers - middle) @ mean_pose[:3, :3].T
    distance = torch.linalg.vector_norm(target - middle)
    extent = torch.maximum(spread.abs().amax(0) / 3, 0.02 * distance.expand(3))
    extent = torch.minimum(extent, 0.3 * distance.expand(3))
    angle = 4 * math.pi * torch.arange(frames, dtype=torch.float32, device=middle.device) / max(1, frames)
    offset = torch.stack([angle.cos() * extent[0], angle.sin() * extent[1], (angle / 2).sin() * extent[2]], dim=1)
    eye = middle + offset @ torch.stack([right, down, forward])
    ups = (-world_from_cam[:, :3, 1].mean(0)).expand_as(eye)
    return look_at(eye, target.expand_as(eye), ups)


def _upright_frame(cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Up, and two level directions, orthonormal and right-handed."""
    mean_up = -cameras.world_from_cam[:, :3, 1].mean(0)
    if torch.linalg.vector_norm(mean_up) < 1e-3:  # cameras that cancel out agree on no vertical
        mean_up = -cameras.world_from_cam[0, :3, 1]
    up = torch.nn.functional.normalize(mean_up, dim=0)
    axis = torch.nn.functional.one_hot(up.abs().argmin(), 3).to(up)
    east = torch.nn.functional.normalize(axis - (axis @ up) * up, dim=0)
    return up, east, torch.linalg.cross(up, east)


def _headings(cameras: Cameras, center: Tensor) -> Float[Tensor, " V"]:
    """Angle in rad of each camera around the up axis through `center`."""
    _, east, north = _upright_frame(cameras)
    offsets = cameras.centers - center
    return torch.atan2(offsets @ north, offsets @ east)


def _unwrapped_range(headings: Tensor, fraction: Tensor) -> Tensor:
    """Angles that sweep from the first to the last heading by `fraction`, on the side where the cameras are."""
    ordered = headings.sort().values
    gaps = torch.diff(ordered, append=ordered[:1] + 2 * math.pi)
    widest = int(gaps.argmax())
    first = ordered[(widest + 1) % len(ordered)]
    return first + (2 * math.pi - gaps[widest]) * fraction
