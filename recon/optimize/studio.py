"""What a loss term may ask for beyond its own photo: the other photos, and the splats from anywhere."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.cameras import CameraParameters
from recon.optimize.targets import Target, Targets
from recon.optimize.terms.base import View
from recon.render import Rasterizer
from recon.types import Cameras, Splats


@dataclass(frozen=True)
class StepStudio:
    """`recon.optimize.terms.base.Studio` at one step."""

    index: int
    """The step's photo."""
    level: float
    """The step's share of full resolution."""
    sh_degree: int
    """Bands that are released at this step."""
    exposed: bool
    """Whether photos have exposures of their own."""
    splats: Splats
    cameras: CameraParameters
    targets: Targets
    rasterizer: Rasterizer

    def photo(self, index: int) -> Target:
        return self.targets.at(index, self.level)

    def camera(self, index: int) -> Cameras:
        target = self.photo(index)
        width, height = (torch.tensor([side], device=target.K.device) for side in target.size)
        with torch.no_grad():
            refined = self.cameras.cameras()[index]
        return replace(refined.resized(width, height), cam_from_world=refined.cam_from_world.clone())

    def render(self, camera: Cameras) -> View:
        s = self.splats
        image, alpha, _ = self.rasterizer(
            s.means,
            s.quats,
            s.scales,
            s.opacities,
            s.colors if self.sh_degree > 0 else s.sh0,
            camera.cam_from_world,
            camera.Ks,
            int(camera.width[0]),
            int(camera.height[0]),
            sh_degree=self.sh_degree,
            render_mode="RGB+ED",
        )
        rgb = image[0, ..., :3]
        if self.exposed:
            rgb = self.cameras.expose(rgb, self.index)
        return View(rgb, alpha[0, ..., 0], image[0, ..., 3])

    def recolor(self, rgb: Float[Tensor, "*s 3"], index: int) -> Float[Tensor, "*s 3"]:
        if not self.exposed:
            return rgb
        black, gain = self._exposure(index)
        our_black, our_gain = self._exposure(self.index)
        return (rgb - black) / gain * our_gain + our_black

    @torch.no_grad()
    def _exposure(self, index: int) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
        """(bias, gain) of a photo."""
        ends = torch.tensor([0.0, 1.0], device=self.splats.device)[:, None, None].expand(2, 1, 3)
        black, white = self.cameras.expose(ends, index)[:, 0]
        return black, white - black
