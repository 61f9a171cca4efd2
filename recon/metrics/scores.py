"""All picture metrics of one rendered view."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import InputError
from recon.metrics.lpips import MIN_SIDE, lpips
from recon.metrics.psnr import psnr
from recon.metrics.ssim import ssim

EQUAL_DB = 100.0
"""PSNR written for equal images, where it would be infinite."""


@dataclass(frozen=True)
class ImageScores:
    """One view; None where a metric does not apply (no mask, or too few pixels for LPIPS)."""

    name: str
    width: int
    height: int
    psnr: float
    """dB."""
    ssim: float
    lpips: float | None
    psnr_masked: float | None = None
    """dB over the mask's pixels."""
    ssim_masked: float | None = None
    """In the mask's tight bounding box."""
    lpips_masked: float | None = None
    """In the mask's tight bounding box."""


METRICS = ("psnr", "ssim", "lpips", "psnr_masked", "ssim_masked", "lpips_masked")


@torch.no_grad()
def score_image(
    name: str,
    predicted: Float[Tensor, "_ _ 3"],
    true: Float[Tensor, "H W 3"],
    mask: Float[Tensor, "_ _"] | None = None,
) -> ImageScores:
    """Score a rendering against the photo, both sRGB in [0, 1] (values outside are clamped).

    Args:
        mask: 1 on the object; above one half counts. The masked figures follow SpaRe's evaluation: PSNR over the
            object's pixels, SSIM and LPIPS in its tight bounding box, background included.

    Raises:
        InputError: the sizes differ.
        MissingDependencyError: the LPIPS weights are not installed.
    """
    if predicted.shape != true.shape or (mask is not None and mask.shape != true.shape[:2]):
        raise InputError(
            f"Cannot score {name}: the rendering is {predicted.shape[1]}x{predicted.shape[0]} pixels, the photo "
            f"{true.shape[1]}x{true.shape[0]}{'' if mask is None else f', the mask {mask.shape[1]}x{mask.shape[0]}'}. "
            "Render at the photo's size."
        )
    predicted, true = predicted.float().clamp(0, 1), true.float()
    height, width = true.shape[:2]
    whole = (decibels(psnr(predicted, true)), float(ssim(predicted, true)), lpips_or_none(predicted, true))
    return ImageScores(name, width, height, *whole, *masked_scores(predicted, true, mask))


def masked_scores(
    predicted: Float[Tensor, "H W 3"], true: Float[Tensor, "H W 3"], mask: Float[Tensor, "H W"] | None
) -> tuple[float | None, float | None, float | None]:
    """PSNR on the mask, SSIM and LPIPS in its bounding box; None of an absent or empty mask."""
    if mask is None or not (mask > 0.5).any():
        return None, None, None
    on = mask > 0.5
    rows, columns = bounding_box(on)
    a, b = predicted[rows, columns].contiguous(), true[rows, columns].contiguous()
    return decibels(psnr(predicted, true, on.to(true.dtype))), float(ssim(a, b)), lpips_or_none(a, b)


def bounding_box(on: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around the True pixels of `[H, W]`; at least one is True."""
    rows, columns = on.any(1).nonzero()[:, 0], on.any(0).nonzero()[:, 0]
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def lpips_or_none(a: Tensor, b: Tensor) -> float | None:
    """LPIPS, or None of a picture that is too small for it."""
    return float(lpips(a, b)) if min(a.shape[:2]) >= MIN_SIDE else None


def decibels(value: Tensor) -> float:
    """A finite number for JSON."""
    return EQUAL_DB if math.isinf(float(value)) else float(value)
