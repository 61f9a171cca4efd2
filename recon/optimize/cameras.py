"""What is refined per photo beside the splats: an SE(3) increment of its pose and an affine colour."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import exp_se3
from recon.optimize.config import RateConfig
from recon.types import Cameras


class CameraParameters:
    """Left-multiplied increments `exp(xi) @ cam_from_world`, and `gain * rgb + bias` per photo.

    Translations are optimised in units of the scene depth, so that one rate serves scenes of any scale. Increments and
    exposures are used with their mean over the photos removed: neither a drift of the whole scene nor a common
    brightness is the cameras' to learn.
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
        self.poses = torch.optim.Adam(
            [
                {"params": [self.rotations], "lr": rates.pose_rotation},
                {"params": [self.translations], "lr": rates.pose_translation},
            ],
            eps=1e-15,
        )
        self.exposure = torch.optim.Adam([self.log_gains, self.biases], lr=rates.exposure, eps=1e-15)

    def cam_from_world(self, index: int) -> Float[Tensor, "4 4"]:
        """The present pose of photo `index`."""
        increment = torch.cat([self.translations[index] * self.depth_unit, self.rotations[index]])
        return exp_se3(increment) @ self.base.cam_from_world[index]

    def expose(self, rgb: Float[Tensor, "H W 3"], index: int) -> Float[Tensor, "H W 3"]:
        """The colours as photo `index` would have recorded them."""
        gain = (self.log_gains[index] - self.log_gains.mean(0)).exp()
        return rgb * gain + (self.biases[index] - self.biases.mean(0))

    def step(self, fraction: float, poses: bool, exposure: bool) -> None:
        """Adam steps at `fraction` of the training; the pose rates fall to a hundredth."""
        decay = 0.01**fraction
        for group, rate in zip(
            self.poses.param_groups, (self.rates.pose_rotation, self.rates.pose_translation), strict=True
        ):
            group["lr"] = rate * decay
        if poses:
            self.poses.step()
        if exposure:
            self.exposure.step()
        self.poses.zero_grad(set_to_none=True)
        self.exposure.zero_grad(set_to_none=True)

    @torch.no_grad()
    def cameras(self) -> Cameras:
        """All cameras with their refined poses."""
        return replace(self.base, cam_from_world=torch.stack([self.cam_from_world(i) for i in range(len(self.base))]))

    def state_dict(self) -> dict[str, object]:
        names = ("rotations", "translations", "log_gains", "biases")
        return {
            **{name: getattr(self, name).detach() for name in names},
            "poses": self.poses.state_dict(),
            "exposure": self.exposure.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        for name in ("rotations", "translations", "log_gains", "biases"):
            getattr(self, name).copy_(state[name])
        self.poses.load_state_dict(state["poses"])
        self.exposure.load_state_dict(state["exposure"])
