"""How much each Gaussian shows: what it may cost to leave it out.

With cameras, the exact share that rendering gives it, summed over views; without, its opacity times the area of its
shadow. Compare LightGaussian (Fan et al. 2024: opacity, volume and hits), RadSplat (Niemeyer et al. 2024: the largest
share), PUP-3DGS and Speedy-Splat (Hanson et al. 2025: second derivatives of the loss).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.render import Rasterizer, shares
from recon.render.looks import Looks
from recon.types import Splats


def shares_in(splats: Splats, looks: Looks, rasterizer: Rasterizer) -> Float[Tensor, " N"]:
    """Pixels' worth of colour that comes from each Gaussian, weighted and summed over the views."""
    total = torch.zeros(len(splats))
    for i in range(len(looks)):
        found, _ = shares(splats, looks.cameras[i], looks.weights[None], rasterizer)
        total += found[:, 0].cpu()
    return total


def visible_size(splats: Splats) -> Float[Tensor, " N"]:
    """Without cameras: opacity times the area of the largest ellipse that the Gaussian can show."""
    two = splats.log_scales.sort(dim=1).values[:, 1:].sum(dim=1)
    return splats.opacities * two.exp()
