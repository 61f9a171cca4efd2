"""Who passed by: parts of a photo that the other photos do not show are discounted.

RobustNeRF (Sabour et al. 2023), eq. 7 to 9: a pixel is an inlier if its residual is among the smaller ones; a 3x3 vote
removes lone pixels; and a neighbourhood that mostly agrees clears the block in its middle, so that thin detail, which
is always the last to be learnt, is not taken for a passer-by.

Deviations: the threshold is a multiple of the median residual of all photos, not a quantile, so that photos without
anybody in them lose next to nothing; residuals are of locally averaged colours, in which misplaced texture cancels and
a person does not (SpotLessSplats, Sabour et al. 2024, reaches for features of a network for this); blocks and
neighbourhoods are a share of the picture (8 and 16 pixels at 640), since training starts at a lower resolution.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

SAMPLES = 2048
"""Residuals kept per photo for the common threshold."""
AVERAGED = 0.015
"""Side of the square over which colours are averaged, as a share of the longer side."""
BLOCK = 1 / 80
"""Side of a block as a share of the longer side of the picture; the neighbourhood is twice as wide."""
CLEARED = 0.6
"""T_R of eq. 9: the share of inliers that clears a neighbourhood."""


@dataclass(frozen=True)
class RobustConfig:
    start: float = 0.05
    """Share of the training after which pixels are discounted: the first residuals say little."""
    threshold: float = 4.0
    """In units of the median residual of all photos."""


class RobustMask:
    """Remembers the residuals of every photo when it was last seen."""

    def __init__(self, photos: int, config: RobustConfig) -> None:
        self.config = config
        self.samples = torch.full((photos, SAMPLES), torch.nan)

    @torch.no_grad()
    def inliers(
        self,
        rgb: Float[Tensor, "H W 3"],
        target: Float[Tensor, "H W 3"],
        index: int,
        fraction: float,
        mask: Float[Tensor, "H W"] | None = None,
    ) -> Bool[Tensor, "H W"]:
        """Pixels of photo `index` that count, by its rendering and those of the other photos before.

        Where `mask` is 0 both show the same background: residuals there say nothing about the others.
        """
        residual = averaged_residual(rgb, target)
        told = residual if mask is None else torch.where(mask > 0, residual, torch.nan)
        spread = torch.linspace(0, residual.numel() - 1, SAMPLES, device=residual.device).long()
        self.samples[index] = told.reshape(-1)[spread].cpu()
        if fraction < self.config.start:
            return torch.ones_like(residual, dtype=torch.bool)
        block = 2 * max(1, round(BLOCK / 2 * max(residual.shape)))
        return vote(residual <= self.config.threshold * float(self.samples.nanmedian()), block)

    def state_dict(self) -> dict[str, Any]:
        return {"samples": self.samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples = state["samples"].cpu()


def averaged_residual(rgb: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
    """Length of the colour difference after averaging over a small square."""
    side = 2 * int(AVERAGED * max(rgb.shape[:2]) / 2) + 1
    difference = _box((rgb - target).permute(2, 0, 1), side)
    return difference.norm(dim=0)


def vote(inlier: Bool[Tensor, "H W"], block: int) -> Bool[Tensor, "H W"]:
    """Eq. 8 and 9: the majority of 3x3, or of the neighbourhood of the pixel's block (of an even side, in pixels)."""
    height, width = inlier.shape
    majority = _box(inlier.float()[None], 3)[0] >= 0.5
    half = block // 2
    padding = (half, half + -width % block, half, half + -height % block)
    share = F.avg_pool2d(F.pad(majority.float()[None, None], padding, mode="replicate"), 2 * block, stride=block)[0, 0]
    cleared = (share >= CLEARED).repeat_interleave(block, 0).repeat_interleave(block, 1)[:height, :width]
    return majority | cleared


def _box(planes: Float[Tensor, "C H W"], side: int) -> Float[Tensor, "C H W"]:
    """Mean over squares of an odd `side`; at the rim over what lies inside."""
    return F.avg_pool2d(planes[None], side, stride=1, padding=side // 2, count_include_pad=False)[0]
