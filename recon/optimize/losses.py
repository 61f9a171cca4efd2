"""What a rendering is measured against. Pure functions of tensors; every term is a mean, so that weights carry over
between image sizes."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.metrics import ssim
from recon.optimize.config import LossConfig


def photometric(rgb: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], ssim_weight: float) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM), 3DGS (Kerbl et al. 2023) eq. 7."""
    l1 = (rgb - target).abs().mean()
    if ssim_weight == 0:
        return l1
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - ssim(rgb, target))


def relative_depth(
    depth: Float[Tensor, "H W"], target: Float[Tensor, "H W"], confidence: Float[Tensor, "H W"]
) -> Float[Tensor, ""]:
    """Confidence-weighted mean of |log depth - log target|: scale-free, and mild on far surfaces.

    Pixels without a target (confidence 0) or without a hit (depth 0) do not count.
    """
    weight = confidence * (target > 0) * (depth.detach() > 0)
    distance = (depth.clamp_min(1e-6).log() - target.clamp_min(1e-6).log()).abs()
    # A stereo outlier must not drag the surface: beyond a tenth the pull no longer grows.
    return (weight * distance.clamp(max=0.1)).sum() / weight.sum().clamp_min(1.0)


def coverage(alpha: Float[Tensor, "H W"], mask: Float[Tensor, "H W"] | None) -> Float[Tensor, ""]:
    """How far alpha is from the mask, or from one where photos have no mask."""
    return (1 - alpha).mean() if mask is None else (alpha - mask).abs().mean()


def regularisers(
    scales: Float[Tensor, "N 3"], opacities: Float[Tensor, " N"], depth_unit: float, config: LossConfig
) -> Float[Tensor, ""]:
    """Opacity and scale penalties of 3DGS-MCMC (Kheradmand et al. 2024), eq. 9; scale in units of scene depth."""
    total = scales.new_zeros(())
    if config.opacity > 0:
        total = total + config.opacity * opacities.mean()
    if config.scale > 0:
        total = total + config.scale * (scales / depth_unit).mean()
    return total


def training_psnr(rgb: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> float:
    """PSNR of a training view in dB, for the progress line only."""
    with torch.no_grad():
        mse = (rgb.clamp(0, 1) - target).square().mean().clamp_min(1e-10)
        return float(-10 * mse.log10())
