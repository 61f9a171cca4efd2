"""How much of a depth map to believe: what the photos say about each other's depth."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon.geometry.projection import unproject_depth
from recon.stereo.config import StereoConfig
from recon.stereo.native import Matched
from recon.stereo.planes import depth_of
from recon.stereo.warp import positions_in_view, reprojection_error
from recon.types import Cameras

_PARALLAX_DEG = 1.5  # viewing angle at which depth is worth half
_SURE = 0.5  # confidence of pixels that may overrule others
_ISLAND_SHARE, _SURE_ISLAND_SHARE = 1e-3, 2e-4  # of the photo: smaller islands of depth are taken for accidents
_ISLAND_STEP = 0.02  # relative jump of depth between neighbours that separates islands


@dataclass(frozen=True)
class Agreement:
    """Per pixel."""

    support: Float[Tensor, "H W"]
    """In [0, 1): chance that the surface is real, from the agreeing photos and their viewing angles."""
    count: Int[Tensor, "H W"]
    """Other photos that agree."""


def agreement(
    i: int, depths: list[Tensor], cameras: Cameras, views: tuple[int, ...], config: StereoConfig
) -> Agreement:
    """Forward-backward agreement of photo i's depth with that of its neighbours.

    Each agreeing neighbour leaves a share of the doubt: one of wide enough angle and no error leaves a tenth.
    """
    points = unproject_depth(depths[i], cameras.Ks[i], cameras.cam_from_world[i])
    doubt = torch.ones_like(depths[i])
    count = torch.zeros(depths[i].shape, dtype=torch.int64)
    for j in views:
        error, relative = reprojection_error(depths[i], cameras[i], depths[j], cameras[j])
        agree = (error < config.max_reprojection_px) & (relative < config.max_depth_difference)
        good = torch.exp(-0.5 * (error / config.max_reprojection_px) ** 2)
        angle = _viewing_angle_deg(points, cameras.centers[i], cameras.centers[j])
        worth = 0.9 * good * angle / (angle + _PARALLAX_DEG)
        doubt = doubt * torch.where(agree, 1 - worth, torch.ones_like(doubt))
        count += agree
    return Agreement(1 - doubt, count)


def _viewing_angle_deg(points: Tensor, center_i: Tensor, center_j: Tensor) -> Tensor:
    a = torch.nn.functional.normalize(points - center_i, dim=-1)
    b = torch.nn.functional.normalize(points - center_j, dim=-1)
    return torch.rad2deg(2 * torch.asin(((a - b).norm(dim=-1) / 2).clamp(max=1)))


def confidence(matched: Matched, agreed: Agreement, noise: float) -> Float[Tensor, "H W"]:
    """In [0, 1]: agreement, lowered where the windows match badly or are flat."""
    match = (1.25 - matched.cost).clamp(0, 1)
    textured = 0.1 + 0.9 * matched.texture / (matched.texture + noise)
    raw = agreed.support * match * textured
    return torch.where(agreed.count > 0, raw, torch.zeros_like(raw))


def seen_through(
    i: int,
    depths: list[Tensor],
    confidences: list[Tensor],
    cameras: Cameras,
    views: tuple[int, ...],
    config: StereoConfig,
) -> Int[Tensor, "H W"]:
    """Other photos that surely see a surface behind each point of photo i, where it should have hidden it from them."""
    against = torch.zeros(depths[i].shape, dtype=torch.int64)
    for j in views:
        uv, z, inside = positions_in_view(depths[i], cameras[i], cameras[j])
        height, width = depths[j].shape
        column, row = (
            uv[..., 0].nan_to_num().clamp(0, width - 1).long(),
            uv[..., 1].nan_to_num().clamp(0, height - 1).long(),
        )
        sure = confidences[j][row, column] >= max(_SURE, config.min_confidence)
        against += inside & sure & (z < depths[j][row, column] * (1 - 2 * config.max_depth_difference))
    return against


def without_speckles(matched: Matched, confidence: Float[Tensor, "H W"], threshold: float) -> Float[Tensor, "H W"]:
    """The confidence with small islands of believed depth set to 0; sure ones may be smaller."""
    depth = depth_of(matched.planes)
    keep = _large_islands(depth, confidence >= threshold, _ISLAND_SHARE)
    keep |= _large_islands(depth, confidence >= max(_SURE, threshold), _SURE_ISLAND_SHARE)
    return torch.where(keep | (confidence < threshold), confidence, torch.zeros_like(confidence))


def _large_islands(depth: Float[Tensor, "H W"], believed: Bool[Tensor, "H W"], share: float) -> Bool[Tensor, "H W"]:
    believed = believed & (depth > 0)
    if not bool(believed.any()):
        return believed
    logs = torch.where(believed, depth, torch.ones_like(depth)).log()
    steps = (logs - logs[believed].min()) / _ISLAND_STEP * 16 + 1
    codes = torch.where(believed, steps.clamp(max=32000), torch.zeros_like(steps)).numpy().astype(np.int16)
    cv2.filterSpeckles(codes, 0, max(4, int(share * codes.size)), 16)
    return torch.from_numpy(codes != 0)
