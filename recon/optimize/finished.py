"""The finished splats, drawn small from the photos' places and from between: what is added after training asks this."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import interpolate_poses
from recon.optimize.gaps import Surface, neighbour_pairs
from recon.render import Rasterizer, render, shares
from recon.types import SH_C0, Cameras, Splats

COVERED = 0.9
"""Alpha from which a pixel of the finished splats counts as covered."""
BETWEEN = (0.25, 0.5, 0.75)
SURFACE_SIDE, CONFLICT_SIDE = 128, 200
"""Longest side, in pixels, of the views that say where surfaces are and which Gaussians are in the way."""
SIZE = 0.7
"""Standard deviation of added Gaussians in units of their spacing."""


class FinishedScene:
    """Finished splats and the cameras that they were trained with. Depth, alpha and surfaces are on the CPU."""

    def __init__(self, splats: Splats, cameras: Cameras, rasterizer: Rasterizer) -> None:
        self.splats = splats
        self.cameras = cameras
        self.rasterizer = rasterizer

    def camera(self, index: int, side: int, margin: float = 0.0) -> tuple[Cameras, int]:
        """Camera of a photo for a picture with the longest side `side`, and a frame of so many pixels around it."""
        full = self.cameras[index]
        scale = side / float(torch.maximum(full.width, full.height))
        size = [(edge * scale).round().long() for edge in (full.width, full.height)]
        frame = round(margin * side)
        small = full.resized(*size)
        Ks = small.Ks.clone()
        Ks[:, :2, 2] += frame
        width, height = (int(edge) + 2 * frame for edge in size)
        return Cameras.create(small.cam_from_world, Ks, width, height), frame

    def depth(self, camera: Cameras) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
        """(depth, alpha) on the CPU."""
        with torch.no_grad():
            drawn = render(self.splats, camera.to(self.rasterizer.device), self.rasterizer)
        return drawn.depth[0].cpu(), drawn.alpha[0].cpu()

    def surface(self, camera: Cameras) -> Surface:
        """What is covered, as a surface that must not be hidden."""
        depth, alpha = self.depth(camera)
        return Surface(torch.where(alpha > COVERED, depth, torch.inf), camera.cam_from_world[0], camera.Ks[0])

    def surfaces(self) -> list[Surface]:
        return [self.surface(self.camera(i, SURFACE_SIDE)[0]) for i in range(len(self.cameras))]

    def surfaces_between(self) -> list[Surface]:
        surfaces = []
        for i, j in neighbour_pairs(self.cameras):
            camera, _ = self.camera(i, SURFACE_SIDE)
            for fraction in BETWEEN:
                pose = interpolate_poses(self.cameras.cam_from_world[i], self.cameras.cam_from_world[j], fraction)
                size = int(camera.width[0]), int(camera.height[0])
                surfaces.append(self.surface(Cameras.create(pose[None], camera.Ks, *size)))
        return surfaces

    def taken_from_covered(self, coat: Splats) -> Float[Tensor, " M"]:
        """Share of a photo's pixels that each Gaussian of `coat` takes where the splats cover, over all photos."""
        everything, first = Splats.cat([self.splats, coat]), len(self.splats)
        taken = torch.zeros(len(coat), device=coat.means.device)
        for i in range(len(self.cameras)):
            camera = self.camera(i, CONFLICT_SIDE)[0]
            covered = (self.depth(camera)[1] > COVERED).float()
            found, _ = shares(everything, camera, covered[None], self.rasterizer)
            taken += found[first:, 0].to(taken) / covered.numel()
        return taken


def balls(
    xyz: Float[Tensor, "P 3"],
    spacing: Float[Tensor, " P"],
    rgb: Float[Tensor, "P 3"],
    opacity: Float[Tensor, " P"],
    sh_rest: int,
) -> Splats:
    """Round: seen from the side, discs would look like a comb."""
    n = len(xyz)
    return Splats(
        means=xyz,
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
        log_scales=(SIZE * spacing).clamp_min(1e-9).log()[:, None].repeat(1, 3),
        logit_opacities=opacity.logit(),
        sh0=((rgb - 0.5) / SH_C0)[:, None],
        shN=torch.zeros(n, sh_rest, 3),
    )
