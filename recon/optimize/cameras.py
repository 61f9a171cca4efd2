"""What is refined beside the splats: SE(3) increments of the poses, a colour per photo, a focal length per lens."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.geometry.se3 import exp_se3
from recon.optimize.config import RateConfig
from recon.types import Cameras


class CameraParameters:
    """Left-multiplied increments `exp(xi) @ cam_from_world`, and `gain * rgb + bias` per photo.

    Translations are optimised in units of the scene depth, so that one rate serves scenes of any scale. Exposures are
    used with their mean over the photos removed: a common brightness is not the cameras' to learn. Increments are used
    as they are: cameras and splats may drift together.

    Cameras of confidence 1 are given ones, and stay. All others move freely: letting them move only by 1 - confidence
    cost 0.4 dB in views that were held out (four demo photos, three seeds).

    Photos of one lens share the logarithm of a factor on their focal length. Rasterizers give no gradient to
    intrinsics, but a focal length times s is the same picture as the first two rows of `cam_from_world` times s: with
    x' = s x, y' = s y the mean falls on f x'/z, and the Jacobian of the projection (Zwicker et al. 2002, eq. 29) at
    (x', y', z) times the scaled rotation is the Jacobian for s f at (x, y, z) times the rotation. So the factor goes,
    exactly, into the matrix that does have a gradient.
    """

    def __init__(self, cameras: Cameras, rates: RateConfig, depth_unit: float) -> None:
        self.base = cameras
        self.rates = rates
        self.depth_unit = depth_unit
        n = len(cameras)
        zeros = cameras.cam_from_world.new_zeros(4, n, 3)
        self.rotations, self.translations, self.log_gains, self.biases = (
            zeros[k].clone().requires_grad_(True) for k in range(4)
        )
        self.freedom = (cameras.confidence < 1).to(cameras.cam_from_world)
        self.lenses = lens_groups(cameras)
        self.lens_freedom = torch.stack([self.freedom[self.lenses == g].min() for g in self.lenses.unique()])
        self.log_focals = zeros.new_zeros(int(self.lenses.max()) + 1).requires_grad_(True)
        self.poses = torch.optim.Adam(
            [
                {"params": [self.rotations], "lr": rates.pose_rotation},
                {"params": [self.translations], "lr": rates.pose_translation},
                {"params": [self.log_focals], "lr": rates.focal},
            ],
            eps=1e-15,
        )
        self.exposure = torch.optim.Adam([self.log_gains, self.biases], lr=rates.exposure, eps=1e-15)

    @torch.no_grad()
    def start_exposures(self, log_gains: Float[Tensor, "V 3"]) -> None:
        """Begin with these instead of none."""
        self.log_gains.copy_(log_gains)

    def viewmat(self, index: int) -> Float[Tensor, "4 4"]:
        """What a rasterizer takes for photo `index` together with the lens as given: pose and focal factor in one."""
        factor = (self.log_focals * self.lens_freedom)[self.lenses[index]].exp()
        one = torch.ones_like(factor)
        return torch.stack([factor, factor, one, one])[:, None] * self.cam_from_world(index)

    def cam_from_world(self, index: int) -> Float[Tensor, "4 4"]:
        """The present pose of photo `index`."""
        increment = torch.cat([self.translations[index] * self.depth_unit, self.rotations[index]])
        return exp_se3(increment * self.freedom[index]) @ self.base.cam_from_world[index]

    def expose(self, rgb: Float[Tensor, "H W 3"], index: int) -> Float[Tensor, "H W 3"]:
        """The colours as photo `index` would have recorded them."""
        gain = (self.log_gains[index] - self.log_gains.mean(0)).exp()
        return rgb * gain + (self.biases[index] - self.biases.mean(0))

    @torch.no_grad()
    def unexpose(self, rgb: Float[Tensor, "H W 3"], index: int) -> Float[Tensor, "H W 3"]:
        """The colours of the splats, from those that photo `index` recorded: `expose` undone."""
        gain = (self.log_gains[index] - self.log_gains.mean(0)).exp()
        return (rgb - (self.biases[index] - self.biases.mean(0))) / gain

    def step(self, fraction: float, poses: bool, exposure: bool) -> None:
        """Adam steps at `fraction` of the training; the rates of poses and focal lengths fall to a hundredth."""
        decay = 0.01**fraction
        rates = (self.rates.pose_rotation, self.rates.pose_translation, self.rates.focal)
        for group, rate in zip(self.poses.param_groups, rates, strict=True):
            group["lr"] = rate * decay
        if poses:
            self.poses.step()
        if exposure:
            self.exposure.step()
        self.poses.zero_grad(set_to_none=True)
        self.exposure.zero_grad(set_to_none=True)

    @torch.no_grad()
    def cameras(self) -> Cameras:
        """All cameras with their refined poses and focal lengths."""
        Ks = self.base.Ks.clone()
        Ks[:, :2, :2] *= (self.log_focals * self.lens_freedom).exp()[self.lenses, None, None]
        poses = torch.stack([self.cam_from_world(i) for i in range(len(self.base))])
        return replace(self.base, cam_from_world=poses, Ks=Ks)

    def state_dict(self) -> dict[str, object]:
        names = ("rotations", "translations", "log_gains", "biases", "log_focals")
        return {
            **{name: getattr(self, name).detach() for name in names},
            "poses": self.poses.state_dict(),
            "exposure": self.exposure.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        for name in ("rotations", "translations", "log_gains", "biases", "log_focals"):
            getattr(self, name).copy_(state[name])
        self.poses.load_state_dict(state["poses"])
        self.exposure.load_state_dict(state["exposure"])


def lens_groups(cameras: Cameras) -> Int[Tensor, " V"]:
    """Per camera, the number of its lens: cameras of one size and focal length (to a tenth of a percent) share one."""
    groups: list[int] = []
    firsts: list[int] = []
    for v in range(len(cameras)):
        same = (g for g, first in enumerate(firsts) if _one_lens(cameras, v, first))
        group = next(same, len(firsts))
        if group == len(firsts):
            firsts.append(v)
        groups.append(group)
    return torch.tensor(groups, device=cameras.Ks.device)


def _one_lens(cameras: Cameras, a: int, b: int) -> bool:
    same_size = bool(cameras.width[a] == cameras.width[b]) and bool(cameras.height[a] == cameras.height[b])
    return same_size and abs(float(cameras.Ks[a, 0, 0] / cameras.Ks[b, 0, 0]) - 1) < 1e-3
