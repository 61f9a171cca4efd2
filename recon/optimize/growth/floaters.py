"""Floaters, found by the statistics of depth along the rays of the photos (SparseGS, Xiong et al. 2023, sec. 3.4).

Where something half transparent hangs in front of a surface, the distribution of depth along a ray has two peaks: its
mean stands in front of its mode. What is there in front of the mode is a floater. Deviations: SparseGS sets its
threshold on (mode - mean) / mean by a percentile that follows from Hartigan's dip statistic of the whole picture, and
so always removes something; ours is fixed. SparseGS prunes up to and with the mode of such pixels; here only what is
in front of the mode, and nothing that is the only surface along a ray of another photo, so that most of the soft
rims of near objects stay. The distribution is a histogram, drawn as colours, so that any rasterizer will do.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import project
from recon.optimize.growth.config import FloaterConfig
from recon.render import Rasterizer
from recon.types import Cameras, Splats

DEPTH_RANGE = 3.0
"""Depths are told apart up to twenty times (e^3) nearer and farther than the median."""


@dataclass(frozen=True)
class DepthPeaks:
    """What a camera sees along its rays; 0 where it sees nothing."""

    mode: Float[Tensor, "H W"]
    mean: Float[Tensor, "H W"]


@torch.no_grad()
def find_floaters(
    splats: Splats, cameras: Cameras, rasterizer: Rasterizer, config: FloaterConfig
) -> Bool[Tensor, " N"]:
    """Gaussians in front of the mode of a pixel with two peaks in some photo, and at a lone peak in none."""
    in_front = torch.zeros(len(splats), dtype=torch.bool, device=splats.device)
    is_surface = in_front.clone()
    for view in range(len(cameras)):
        camera = _small(cameras[view], config.max_side)
        peaks = depth_peaks(splats, camera, rasterizer, config.difference)
        uv, z = project(splats.means, camera.cam_from_world[0], camera.Ks[0])
        height, width = peaks.mode.shape
        inside = (z > 0) & (uv >= 0).all(-1) & (uv[:, 0] < width) & (uv[:, 1] < height)
        column, row = (uv.nan_to_num() * inside[:, None]).long().unbind(-1)
        mode, mean = peaks.mode[row, column], peaks.mean[row, column]
        known = inside & (mode > 0)
        apart = (mode - mean) / mean.clamp_min(1e-9)
        in_front |= known & (apart > config.difference) & (z < (1 - config.difference) * mode)
        one_peak = apart.abs() <= config.difference
        is_surface |= known & one_peak & ((z - mode).abs() <= config.difference * mode)
    return in_front & ~is_surface


def depth_peaks(splats: Splats, camera: Cameras, rasterizer: Rasterizer, width: float) -> DepthPeaks:
    """Mode and mean of the depth of each pixel of one camera, from the blending weights of slices of depth.

    Slices are half of `width`, a relative difference of depth, thick. A peak may lie on the border of two, so the mode
    is the weighted mean depth of the heaviest two neighbours.
    """
    pose, K = camera.cam_from_world[0], camera.Ks[0]
    z = project(splats.means, pose, K)[1]
    seen = z[z > 0]
    if seen.numel() == 0:
        nothing = splats.means.new_zeros(int(camera.height[0]), int(camera.width[0]))
        return DepthPeaks(nothing, nothing)
    middle = seen.median().log()
    low, high = seen.log().clamp(middle - DEPTH_RANGE, middle + DEPTH_RANGE).aminmax()
    bins = max(2, math.ceil(2 * float(high - low) / width))
    slices = (bins * (z.clamp_min(1e-12).log() - low) / (high - low).clamp_min(1e-6)).long().clamp(0, bins - 1)
    slice_of = torch.nn.functional.one_hot(slices, bins).to(z)
    size = int(camera.width[0]), int(camera.height[0])
    image, _, _ = rasterizer(
        splats.means, splats.quats, splats.scales, splats.opacities,
        torch.cat([slice_of, slice_of * z[:, None]], dim=1), pose[None], K[None], *size, render_mode="RGB",
    )  # fmt: skip
    weight, depth = image[0, ..., :bins], image[0, ..., bins:]
    pair_weight, pair_depth = weight[..., 1:] + weight[..., :-1], depth[..., 1:] + depth[..., :-1]
    heaviest = pair_weight.argmax(dim=-1, keepdim=True)
    mode = pair_depth.gather(-1, heaviest) / pair_weight.gather(-1, heaviest).clamp_min(1e-9)
    mean = depth.sum(-1) / weight.sum(-1).clamp_min(1e-9)
    return DepthPeaks(mode[..., 0], mean)


def _small(camera: Cameras, max_side: int) -> Cameras:
    """The camera of a picture whose longest side is at most `max_side`."""
    scale = min(1.0, max_side / float(max(camera.width[0], camera.height[0])))
    return camera.resized((camera.width * scale).round().long(), (camera.height * scale).round().long())
