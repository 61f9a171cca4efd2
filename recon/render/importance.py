"""What each Gaussian is worth: how much less views would show without it.

The product of two sums over the views' pixels, each from one backward pass:

- its share in them, sum of T alpha: opacity, area, how many pixels it hits and how freely these see it, all in one and
  exact. LightGaussian (Fan et al. 2024) multiplies opacity, volume and hits; RadSplat (Niemeyer et al. 2024) takes the
  largest T alpha;
- how the pixels' colours change with it, o dC/do: to first order what leaving it out takes away. A Gaussian of the
  colour of what lies behind it changes nothing. PUP 3D-GS (Hanson et al. 2025) sums squared derivatives by position
  and scale, Speedy-Splat (Hanson et al. 2025) by opacity: where the error is small, its second derivative is that sum.

Half of a trained scene's Gaussians left out by each, the rest fitted for 48 steps, on six held-out photos: the product
31.31 dB, the share alone 31.24, its maximum 31.24, the change alone 30.67.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.render.base import Rasterizer
from recon.render.looks import Looks
from recon.render.share import shares
from recon.types import Cameras, Splats


def importance(splats: Splats, looks: Looks, rasterizer: Rasterizer, seed: int) -> Float[Tensor, " N"]:
    """Share times change of colour (root of the sum of squares) over the views; on the rasterizer's device."""
    generator = torch.Generator().manual_seed(seed)
    change = torch.zeros(len(splats), device=rasterizer.device)
    for i in range(len(looks)):
        change += changes(splats, looks.cameras[i], looks.weights, rasterizer, generator)
    return shares_in(splats, looks, rasterizer) * change.sqrt()


def shares_in(splats: Splats, looks: Looks, rasterizer: Rasterizer) -> Float[Tensor, " N"]:
    """Pixels' worth of colour that comes from each Gaussian, weighted and summed over the views; on the rasterizer's
    device."""
    total = torch.zeros(len(splats), device=rasterizer.device)
    for i in range(len(looks)):
        total += shares(splats, looks.cameras[i], looks.weights[None], rasterizer)[0][:, 0]
    return total


def visible_size(splats: Splats) -> Float[Tensor, " N"]:
    """Without cameras: opacity times the area of the largest ellipse that the Gaussian can show."""
    two = splats.log_scales.sort(dim=1).values[:, 1:].sum(dim=1)
    return splats.opacities * two.exp()


def changes(
    splats: Splats,
    camera: Cameras,
    weights: Float[Tensor, "H W"],
    rasterizer: Rasterizer,
    generator: torch.Generator,
) -> Float[Tensor, " N"]:
    """One estimate of the weighted sum of (o dC/do)^2 over the pixels and channels of a camera.

    The square of a sum with random signs is on average the sum of the squares (Hutchinson 1990): one backward pass does
    for what would need one for each pixel.
    """
    splats, camera = splats.detach().to(rasterizer.device), camera.to(rasterizer.device)
    height, width = weights.shape
    opacities = splats.opacities.requires_grad_(True)
    image, _, _ = rasterizer(
        splats.means,
        splats.quats,
        splats.scales,
        opacities,
        splats.colors,
        camera.cam_from_world,
        camera.Ks,
        width,
        height,
        sh_degree=splats.sh_degree,
        render_mode="RGB",
    )
    signs = 2 * torch.randint(0, 2, image.shape, generator=generator).to(image) - 1
    (image * signs * weights.sqrt().to(image)[..., None]).sum().backward()
    assert opacities.grad is not None, "the rasterizer differentiates by the opacities"
    return (opacities.detach() * opacities.grad).square()
