"""How much each Gaussian shows: what it may cost to leave it out.

With cameras, the exact share that rendering gives it, summed over views; without, its opacity times the area of its
shadow. Compare LightGaussian (Fan et al. 2024: opacity, volume and hits), RadSplat (Niemeyer et al. 2024: the largest
share), PUP-3DGS and Speedy-Splat (Hanson et al. 2025: second derivatives of the loss).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.compress.views import Looks
from recon.render import Rasterizer
from recon.types import Splats


def shares(splats: Splats, looks: Looks, rasterizer: Rasterizer) -> Float[Tensor, " N"]:
    """Pixels' worth of colour that comes from each Gaussian, weighted and summed over the views.

    A rendering is linear in the colours: with colour 1 for one Gaussian and 0 for all others, the sum over the pixels
    is its share. So that sum's gradient by the colours holds every Gaussian's share at once.
    """
    splats, total = splats.detach().to(rasterizer.device), torch.zeros(len(splats))
    for i in range(len(looks)):
        camera = looks.cameras[i].to(rasterizer.device)
        colors = torch.zeros(len(splats), 3, device=rasterizer.device, requires_grad=True)
        image, _, _ = rasterizer(
            splats.means,
            splats.quats,
            splats.scales,
            splats.opacities,
            colors,
            camera.cam_from_world,
            camera.Ks,
            int(camera.width[0]),
            int(camera.height[0]),
            render_mode="RGB",
        )
        (image[0, ..., 0] * looks.weights).sum().backward()
        assert colors.grad is not None, "the rasterizer differentiates by the colours"
        total += colors.grad[:, 0].cpu()
    return total


def visible_size(splats: Splats) -> Float[Tensor, " N"]:
    """Without cameras: opacity times the area of the largest ellipse that the Gaussian can show."""
    two = splats.log_scales.sort(dim=1).values[:, 1:].sum(dim=1)
    return splats.opacities * two.exp()
