"""Placing a camera against finished splats by moving the camera only.

This is how a held-out photo gets its pose when poses are estimated: the splats never see it (InstantSplat and
SparseAGS evaluate in the same way).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import exp_se3
from recon.optimize.targets import resample
from recon.render import Rasterizer
from recon.types import Cameras, Splats


@dataclass(frozen=True)
class AlignConfig:
    """Camera-only refinement by damped Gauss-Newton."""

    iterations: int = 10
    """At each resolution."""
    scales: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Resolutions, coarse first, as shares of the photo's size."""
    difference: float = 1e-3
    """Step of the numeric derivatives: radians, and share of the median depth."""
    huber: float = 0.1
    """Colour difference from which a pixel counts linearly: an occluder must not pull the camera."""


def align_camera(
    splats: Splats,
    image: Float[Tensor, "H W 3"],
    camera: Cameras,
    rasterizer: Rasterizer,
    config: AlignConfig | None = None,
) -> Cameras:
    """Refine the pose of one camera (V = 1) so that the rendered splats match `image`.

    Only the camera moves. The six numbers of a pose are few enough for numeric derivatives: seven renderings give a
    Gauss-Newton step, which settles in a handful of steps where gradient descent creeps along the valley between a
    small turn and a small shift. Returns the best pose found, the given one included.
    """
    config = config or AlignConfig()
    view = _View(splats.detach().to(rasterizer.device), image, camera, rasterizer, config)
    pose = view.camera.cam_from_world[0]
    first = view.cost(pose, 1.0)
    refined = pose
    for scale in config.scales:
        start = min(pose, refined, key=lambda p: view.cost(p, scale))
        refined = _gauss_newton(view, start, scale)
    best = refined if view.cost(refined, 1.0) < first else pose
    return replace(camera, cam_from_world=best[None].to(camera.cam_from_world))


@torch.no_grad()
def _gauss_newton(view: "_View", pose: Tensor, scale: float) -> Tensor:
    """Levenberg-Marquardt on one resolution; a step is taken only if it lowers the cost."""
    units = torch.tensor([view.depth_unit] * 3 + [1.0] * 3, device=pose.device)
    damping, cost = 1e-3, view.cost(pose, scale)
    for _ in range(view.config.iterations):
        residual, weight = view.residual(pose, scale)
        columns = []
        for axis in range(6):
            step = torch.zeros(6, device=pose.device)
            step[axis] = view.config.difference
            moved, _ = view.residual(exp_se3(step * units) @ pose, scale)
            columns.append((moved - residual) / view.config.difference)
        J = torch.stack(columns, dim=-1).reshape(-1, 6)
        JtW = (J * weight.reshape(-1, 1)).T
        H, g = JtW @ J, JtW @ residual.reshape(-1)
        H = H + damping * torch.diag(H.diagonal()) + 1e-9 * torch.eye(6, device=H.device)
        step = -torch.linalg.solve(H, g)
        candidate = exp_se3(step * units) @ pose
        candidate_cost = view.cost(candidate, scale)
        if candidate_cost < cost:
            settled = cost - candidate_cost < 1e-4 * cost
            pose, cost, damping = candidate, candidate_cost, damping * 0.3
            if settled:
                break
        else:
            damping *= 10
    return pose


class _View:
    """One photo at several sizes, and its distance to the rendered splats as a function of the pose."""

    def __init__(
        self, splats: Splats, image: Tensor, camera: Cameras, rasterizer: Rasterizer, config: AlignConfig
    ) -> None:
        self.splats, self.rasterizer, self.config = splats, rasterizer, config
        self.camera = camera.to(rasterizer.device)
        self.height, self.width = image.shape[:2]
        image = image.to(rasterizer.device)
        self.photos = {scale: self.resized(image, scale) for scale in {*config.scales, 1.0}}
        _, alpha, depth = self.render(self.camera.cam_from_world[0], config.scales[0])
        hit = depth[alpha > 0.5]
        self.depth_unit = float(hit.median()) if hit.numel() else 1.0

    def resized(self, picture: Tensor, scale: float) -> Tensor:
        """A picture [H, W, C] of the photo's size at `scale` of it."""
        size = (max(16, round(self.height * scale)), max(16, round(self.width * scale)))
        return resample(picture.permute(2, 0, 1), size, "area").permute(1, 2, 0)

    @torch.no_grad()
    def render(self, pose: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """(rgb, alpha, depth) at `scale` of the photo's size.

        Splats are drawn at full size and the picture is made small, as the photo was. Drawn small they would be
        thicker and softer than it (each is widened by a share of a pixel), and what fits best there can be a minimum
        pixels away from the right place.
        """
        s = self.splats
        out, alpha, _ = self.rasterizer(
            s.means, s.quats, s.scales, s.opacities, s.colors, pose[None], self.camera.Ks, self.width, self.height,
            sh_degree=s.sh_degree, render_mode="RGB+ED",
        )  # fmt: skip
        drawn = self.resized(torch.cat([out[0], alpha[0]], dim=-1), scale)
        return drawn[..., :3], drawn[..., 4], drawn[..., 3]

    def residual(self, pose: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Colour differences [H, W, 3] where splats cover the photo, and their robust weights (Huber)."""
        rgb, alpha, _ = self.render(pose, scale)
        residual = rgb - alpha[..., None] * self.photos[scale]
        weight = alpha[..., None] * (self.config.huber / residual.abs().clamp_min(self.config.huber))
        return residual, weight

    def cost(self, pose: Tensor, scale: float) -> float:
        """Mean robust difference; uncovered area costs as much as a wrong colour, or looking away would be free."""
        rgb, alpha, _ = self.render(pose, scale)
        distance = (rgb - alpha[..., None] * self.photos[scale]).abs()
        k = self.config.huber
        robust = torch.where(distance < k, 0.5 * distance**2, k * (distance - 0.5 * k)).mean()
        return float(robust + 0.5 * k**2 * (1 - alpha).mean())
