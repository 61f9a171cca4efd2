"""Dense depth of every photo, coarse to fine, then one point cloud.

At the coarsest size a plane sweep with semi-global matching gives every photo a start that also covers flat walls.
PatchMatch refines it to slanted planes; from then on the photos see each other's depth and are asked to agree. Before
each finer size the depth is checked and its holes are filled, and that filled depth speaks as a prior where the photo
itself says nothing.
"""

import logging
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from recon.errors import InputError
from recon.events import EventSink, Progress, ignore
from recon.stereo import native, torch_sweep
from recon.stereo.config import StereoConfig
from recon.stereo.consistency import Agreement, agreement, confidence, seen_through, without_speckles
from recon.stereo.fill import fill
from recon.stereo.fuse import fuse
from recon.stereo.native import Matched, MatchSettings, NeighbourView
from recon.stereo.neighbours import Neighbourhood, choose
from recon.stereo.planes import depth_of, enlarge, normals_in_world, slopes_of, smoothed
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

logger = logging.getLogger(__name__)

_MIN_SIDE = 48  # a coarsest size below this has nothing left to match
_SWEEP_STEP_PX = 0.7  # motion between neighbouring planes of the sweep
_JUMPS = (0.03, 0.5)  # semi-global penalties, in units of 1 - NCC
_SMOOTHING_PX = 0.5  # neighbours whose planes differ by this motion count a quarter in the last smoothing
_REACH_PX = 12  # how far from a sure pixel a doubtful one may continue its surface
_FILLED_CONFIDENCE = 0.75  # of a filled pixel beside a matched one, of `min_confidence`; falls with distance


@dataclass(frozen=True)
class _Level:
    """All photos at one size."""

    grey: tuple[Float[Tensor, "_ _"], ...]
    """Grey levels, 0 to 255."""
    quads: tuple[Int32[Tensor, "_ _"], ...]
    cameras: Cameras


def reconstruct(scene: PosedScene, config: StereoConfig, emit: EventSink = ignore) -> tuple[DepthMaps, PointCloud]:
    """Depth, normals and confidence of every photo, and the fused cloud.

    Pixels that could not be matched are filled from their surroundings; their confidence is below
    `config.min_confidence`. Without the native library a slower and coarser torch plane sweep does the matching.

    Raises:
        InputError: fewer than two photos.
    """
    if len(scene) < 2:
        raise InputError(f"Dense depth needs at least 2 photos with known cameras, got {len(scene)}. Add photos.")
    scene = replace(scene, cameras=scene.cameras.to("cpu"))
    hoods = choose(scene, min(config.neighbours, native.MAX_VIEWS))
    if native.available():
        level, matched = _match_with_patches(scene, hoods, config, emit)
    else:
        level, matched = _match_without_library(scene, hoods, config, emit)
    maps = _finish(scene, level, matched, hoods, config)
    emit(Progress("dense", len(scene), len(scene), "fusing"))
    cloud = fuse(scene, maps, config)
    logger.info("dense: %d points from %d photos", len(cloud), len(scene))
    return maps, cloud


def _match_with_patches(
    scene: PosedScene, hoods: list[Neighbourhood], config: StereoConfig, emit: EventSink
) -> tuple[_Level, list[Matched]]:
    scales = _scales(scene, config)
    n, total = len(scene), len(scales) + 1
    level = _make_level(scene, scales[0])
    matched = [_start(level, i, hoods[i], config) for i in range(n)]
    emit(Progress("dense", 1 / total * n, n, "coarse depth"))
    matched = _improve(level, matched, hoods, config, (config.coarse_iterations + 1) // 2, None)
    for k, scale in enumerate(scales[1:]):
        emit(Progress("dense", (k + 2) / total * n, n, f"depth at {scale:.3g} of full size"))
        filled = []
        for planes, sure, grey in _believed(level, matched, hoods, config)[0]:
            filled.append(torch.where((sure > 0)[..., None], planes, fill(planes, sure, grey)))
        level = _make_level(scene, scale)
        sizes = [tuple(grey.shape) for grey in level.grey]
        prior = [enlarge(planes, *size)[..., 0].contiguous() for planes, size in zip(filled, sizes)]
        matched = [
            Matched(enlarge(m.planes, *size), torch.empty(size), torch.empty(size)) for m, size in zip(matched, sizes)
        ]
        iterations = config.fine_iterations + (k + 2 < len(scales))
        matched = _improve(level, matched, hoods, config, iterations, prior)
    return level, matched


def _scales(scene: PosedScene, config: StereoConfig) -> list[float]:
    """Sizes relative to the photos, coarse to fine."""
    longest = float(torch.maximum(scene.cameras.width, scene.cameras.height).max())
    shortest = float(torch.minimum(scene.cameras.width, scene.cameras.height).min())
    finest = min(1.0, config.max_side / longest) * config.scale
    usable = [finest / 2**k for k in range(config.levels) if k == 0 or finest / 2**k * shortest >= _MIN_SIDE]
    return usable[::-1]


def _make_level(scene: PosedScene, scale: float) -> _Level:
    cameras = scene.cameras
    width = (cameras.width * scale).round().long().clamp_min(2)
    height = (cameras.height * scale).round().long().clamp_min(2)
    grey = tuple(_grey(image, int(w), int(h)) for image, w, h in zip(scene.images, width, height))
    quads = tuple(native.pack_quads(g.round().to(torch.uint8)) for g in grey) if native.available() else ()
    return _Level(grey, quads, cameras.resized(width, height))


def _grey(image: Float[Tensor, "H W 3"], width: int, height: int) -> Float[Tensor, "h w"]:
    luma = (image.cpu().float() @ torch.tensor([0.299, 0.587, 0.114])).clamp(0, 1).numpy() * 255
    smaller = width < luma.shape[1]
    resized = cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(resized))


def _transfer(cameras: Cameras, i: int, j: int) -> tuple[Tensor, Tensor]:
    """M and m with x_j ~ M (x_i, y_i, 1) + m / z_i."""
    Ks, poses = cameras.Ks.double(), cameras.cam_from_world.double()
    R = poses[j, :3, :3] @ poses[i, :3, :3].T
    t = poses[j, :3, 3] - R @ poses[i, :3, 3]
    return (Ks[j] @ R @ torch.linalg.inv(Ks[i])).float(), (Ks[j] @ t).float()


def _views(level: _Level, i: int, hood: Neighbourhood, planes: list[Tensor] | None) -> list[NeighbourView]:
    return [
        NeighbourView(
            level.quads[j],
            *_transfer(level.cameras, i, j),
            *_transfer(level.cameras, j, i),
            weight,
            planes[j] if planes is not None else None,
        )
        for j, weight in zip(hood.views, hood.weights)
    ]


def _settings(level: _Level, i: int, hood: Neighbourhood, config: StereoConfig, iterations: int) -> MatchSettings:
    return MatchSettings(
        hood.w_min,
        hood.w_max,
        float(level.cameras.Ks[i, 0, 0]),
        config.noise,
        config.seed * 1000 + i,
        iterations,
    )


def _start(level: _Level, i: int, hood: Neighbourhood, config: StereoConfig) -> Matched:
    """Sweep, then PatchMatch on the photos alone."""
    views = _views(level, i, hood, None)
    settings = _settings(level, i, hood, config, config.coarse_iterations)
    depths = sweep_depths(level.cameras, i, hood, config.max_planes)
    swept = native.sweep(level.quads[i], views, settings, depths, _JUMPS)
    settings = replace(settings, random_start=config.coarse_iterations // 2)
    w = swept.planes[..., 0]
    planes = torch.cat([w[..., None], slopes_of(torch.from_numpy(cv2.medianBlur(w.numpy(), 5)))], dim=-1)
    return native.patchmatch(level.quads[i], views, settings, planes, w.contiguous())


def sweep_depths(cameras: Cameras, i: int, hood: Neighbourhood, max_planes: int) -> Float[Tensor, " D"]:
    """Inverse depths for a sweep, evenly spaced, about one per `_SWEEP_STEP_PX` of motion at the photo's centre."""
    n = int(min(max(_range_px(cameras, i, hood) / _SWEEP_STEP_PX, 24), max_planes))
    return torch.linspace(hood.w_min, hood.w_max, n)


def _range_px(cameras: Cameras, i: int, hood: Neighbourhood) -> float:
    """How far the photo's centre moves in another photo over the whole range of depth, in pixels."""
    centre = torch.tensor([float(cameras.width[i]) / 2, float(cameras.height[i]) / 2, 1.0])
    longest = 0.0
    for j in hood.views:
        M, m = _transfer(cameras, i, j)
        near, far = M @ centre + m * hood.w_max, M @ centre + m * hood.w_min
        if near[2] > 1e-6 and far[2] > 1e-6:
            longest = max(longest, float((near / near[2] - far / far[2]).norm()))
    return longest


def _improve(
    level: _Level,
    matched: list[Matched],
    hoods: list[Neighbourhood],
    config: StereoConfig,
    iterations: int,
    prior: list[Tensor] | None,
) -> list[Matched]:
    """PatchMatch with every photo seeing the depth that the others had before."""
    planes = [m.planes for m in matched]
    return [
        native.patchmatch(
            level.quads[i],
            _views(level, i, hood, planes),
            _settings(level, i, hood, config, iterations),
            matched[i].planes,
            prior[i] if prior is not None else None,
        )
        for i, hood in enumerate(hoods)
    ]


def _agreements(
    level: _Level, matched: list[Matched], hoods: list[Neighbourhood], config: StereoConfig
) -> list[Agreement]:
    depths = [depth_of(m.planes) for m in matched]
    return [agreement(i, depths, level.cameras, hood.views, config) for i, hood in enumerate(hoods)]


def _believed(
    level: _Level, matched: list[Matched], hoods: list[Neighbourhood], config: StereoConfig
) -> tuple[list[tuple[Tensor, Tensor, Tensor]], list[Agreement]]:
    """Per photo what `fill` takes: planes, confidence with doubtful pixels at 0, and the photo. And who agrees."""
    agreements = _agreements(level, matched, hoods, config)
    raw = [confidence(m, agreed, config.noise) for m, agreed in zip(matched, agreements)]
    depths = [depth_of(m.planes) for m in matched]
    out = []
    for i, (m, agreed) in enumerate(zip(matched, agreements)):
        against = seen_through(i, depths, raw, level.cameras, hoods[i].views, config)
        sure = torch.where(against < agreed.count, raw[i], torch.zeros_like(raw[i]))
        sure = without_speckles(m, sure, config.min_confidence)
        sure = torch.where(sure >= config.min_confidence, sure, torch.zeros_like(sure))
        out.append((m.planes, sure, level.grey[i]))
    return out, agreements


def _finish(
    scene: PosedScene, level: _Level, matched: list[Matched], hoods: list[Neighbourhood], config: StereoConfig
) -> DepthMaps:
    """Checks, fills, and brings the maps to the size of the photos."""
    depths, confidences, normals = [], [], []
    believed, agreements = _believed(level, matched, hoods, config)
    for i, (planes, sure, grey) in enumerate(believed):
        step = (hoods[i].w_max - hoods[i].w_min) / max(_range_px(level.cameras, i, hoods[i]), 1.0)
        planes, trust = _completed(planes, sure, grey, agreements[i], step, config)
        height, width = int(scene.cameras.height[i]), int(scene.cameras.width[i])
        if planes.shape[:2] != (height, width):
            planes = enlarge(planes, height, width)
            trust = torch.from_numpy(cv2.resize(trust.numpy(), (width, height), interpolation=cv2.INTER_NEAREST))
        depth = depth_of(planes)
        depths.append(depth)
        confidences.append(torch.where(depth > 0, trust, torch.zeros_like(trust)))
        normals.append(normals_in_world(planes, scene.cameras.Ks[i], scene.cameras.cam_from_world[i]))
    return DepthMaps(tuple(depths), tuple(confidences), tuple(normals))


def _completed(
    planes: Tensor, sure: Tensor, grey: Tensor, agreed: Agreement, step: float, config: StereoConfig
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"]]:
    """Planes and confidence of every pixel. `step`: inverse depth per pixel of motion in the other photos.

    A doubtful pixel (flat, usually) is believed after all when another photo agrees and it continues the surface of
    sure pixels close by: the two thresholds of Canny.
    """
    planes = smoothed(planes, sure, grey, _SMOOTHING_PX * step)
    sure = torch.where(planes.isfinite().all(dim=-1), sure, torch.zeros_like(sure))
    filled = fill(planes, sure, grey)
    distance = _distance_px(sure > 0)
    continues = (agreed.count > 0) & ((filled[..., 0] - planes[..., 0]).abs() < step) & (distance < _REACH_PX)
    guess = _FILLED_CONFIDENCE * config.min_confidence * torch.exp(-distance / (0.1 * max(sure.shape)))
    trust = torch.where(sure > 0, sure, torch.where(continues, config.min_confidence, guess))
    return torch.where((sure > 0)[..., None], planes, filled), trust


def _distance_px(mask: Tensor) -> Float[Tensor, "H W"]:
    """Distance of each pixel to the nearest of the mask; very far without one."""
    if not bool(mask.any()):
        return torch.full(mask.shape, 1e6)
    return torch.from_numpy(cv2.distanceTransform((~mask).numpy().astype(np.uint8), cv2.DIST_L2, 3))


def _match_without_library(
    scene: PosedScene, hoods: list[Neighbourhood], config: StereoConfig, emit: EventSink
) -> tuple[_Level, list[Matched]]:
    """A torch plane sweep at up to half the size: usable, slower for its quality."""
    scale = _scales(scene, config)[-1] * 0.5
    level = _make_level(scene, scale)
    matched = []
    for i, hood in enumerate(hoods):
        emit(Progress("dense", i, len(scene), "depth by plane sweep (no native library)"))
        depths = sweep_depths(level.cameras, i, hood, config.max_planes)
        transfers = [_transfer(level.cameras, i, j) for j in hood.views]
        matched.append(torch_sweep.sweep(level.grey[i], [level.grey[j] for j in hood.views], transfers, depths, config))
    return level, matched
