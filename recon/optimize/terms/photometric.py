"""The rendering against the photo: 3DGS's own loss, the one term that is always there."""

from jaxtyping import Float
from torch import Tensor

from recon.metrics import ssim


def photometric(rgb: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], ssim_weight: float) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM), 3DGS (Kerbl et al. 2023) eq. 7."""
    l1 = (rgb - target).abs().mean()
    if ssim_weight == 0:
        return l1
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - ssim(rgb, target))


def discounted(
    rgb: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], weight: Float[Tensor, "H W"]
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W 3"]]:
    """Rendering and photo such that pixels count by their `weight` in [0, 1].

    As it falls, the photo moves to what is rendered and the rendering loses its gradient: L1 between the two is the
    weighted L1 exactly, with its gradient, and SSIM sees no difference where the weight is 0.
    """
    weight, fixed = weight[..., None], rgb.detach()
    return weight * rgb + (1 - weight) * fixed, weight * target + (1 - weight) * fixed
