"""Gaussians that must not lean on each other: some are left out of each step, or all are shaken.

Three kinds:
- `compensated`: DropGaussian (Park et al. 2025), eq. 5 and 6. A share is left out, the others are strengthened by
  1 / (1 - rate), so that the finished splats are rendered as they are.
- `plain`: Chen et al. 2025, "Quantifying and Alleviating Co-Adaptation in Sparse-View 3D Gaussian Splatting". A share
  is left out, nothing is strengthened; the finished splats are all rendered, with their opacity times (1 - rate).
- `noise`: from the same paper. All stay, each opacity is multiplied by 1 + sigma e, e normal; the rate is sigma.

Deviation: the paper's rates are constant from the start; ours grow with the training, as DropGaussian's (eq. 7).
"""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon.types import Splats

DropoutKind = Literal["compensated", "plain", "noise"]
MAX_OPACITY = 0.999


def drop_out(
    opacities: Float[Tensor, " N"], rate: float, kind: DropoutKind, generator: torch.Generator
) -> Float[Tensor, " N"]:
    """Opacities for one step of training. A rate of 0 or less leaves them as they are and draws no random number."""
    if rate <= 0:
        return opacities
    if kind == "noise":
        noise = torch.randn(len(opacities), generator=generator).to(opacities.device)
        return (opacities * (1 + rate * noise)).clamp(0.0, MAX_OPACITY)
    keep = torch.rand(len(opacities), generator=generator).to(opacities.device) >= rate
    if kind == "plain":
        return opacities * keep
    return (opacities * keep / (1 - rate)).clamp(max=MAX_OPACITY)


def compensate(splats: Splats, rate: float, kind: DropoutKind) -> Splats:
    """The finished splats as they are to be rendered without dropout: `plain` dims them to what training showed."""
    if kind != "plain" or rate <= 0:
        return splats
    return replace(splats, logit_opacities=torch.logit(splats.opacities * (1 - rate), eps=1e-6))
