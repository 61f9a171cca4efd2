"""Gaussians under optimisation: leaf tensors, their Adam state, and the one place where rows of both change."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.types import Splats


@dataclass(frozen=True)
class RateConfig:
    """Learning rates of Adam. Means move in units of the median scene depth."""

    means: float = 1.0e-4
    means_final: float = 1.0e-6
    quats: float = 1e-3
    scales: float = 5e-3
    opacities: float = 3e-2
    sh0: float = 2.5e-3
    shN: float = 1.25e-4
    pose_rotation: float = 2e-4
    """Radians per step; decays to a hundredth."""
    pose_translation: float = 2e-4
    """In units of the median scene depth."""
    focal: float = 0.0
    """Of the logarithm of each lens's focal length, refined with the poses. Off: with 3 photos the splats absorb an
    error of 4% and the focal length stays where it is, at 0.2 dB less on held-out photos."""
    exposure: float = 1e-3


class SplatParameters:
    """The stored tensors of `Splats` as parameters of one fused Adam, one group per tensor."""

    def __init__(self, splats: Splats, rates: RateConfig, depth_unit: float) -> None:
        self.rates = rates
        self.depth_unit = depth_unit
        rate_of = {
            "means": rates.means * depth_unit,
            "quats": rates.quats,
            "log_scales": rates.scales,
            "logit_opacities": rates.opacities,
            "sh0": rates.sh0,
            "shN": rates.shN,
        }
        groups = [
            {"params": [value.detach().clone().requires_grad_(True)], "lr": rate_of[name], "name": name}
            for name, value in splats.tensors().items()
        ]
        # eps far below torch's default: gradients of a mean over a whole image are tiny (3DGS uses 1e-15 as well).
        self.optimizer = torch.optim.Adam(groups, eps=1e-15, betas=(0.9, 0.99), fused=True)
        self.births = splats.means.detach().clone()
        """Where each Gaussian stood when it was made, [N, 3]."""

    def tensors(self) -> dict[str, Tensor]:
        return {group["name"]: group["params"][0] for group in self.optimizer.param_groups}

    def splats(self) -> Splats:
        """The Gaussians as they are now; gradients flow to the parameters."""
        return Splats(**self.tensors())

    def __len__(self) -> int:
        return int(self.tensors()["means"].shape[0])

    @property
    def means_rate(self) -> float:
        """The learning rate of the means at the last step, in world units."""
        return next(group["lr"] for group in self.optimizer.param_groups if group["name"] == "means")

    def step(self, fraction: float) -> None:
        """One Adam step at `fraction` in [0, 1] of the training; the rate of the means decays log-linearly."""
        decay = (self.rates.means_final / self.rates.means) ** fraction
        for group in self.optimizer.param_groups:
            if group["name"] == "means":
                group["lr"] = self.rates.means * self.depth_unit * decay
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def rewrite(self, keep: Tensor, born: Splats | None = None) -> None:
        """Keep the rows `keep` (indices), append `born`; Adam's moments follow, new rows start from zero."""
        for group in self.optimizer.param_groups:
            old = group["params"][0]
            rows = [old.detach()[keep]]
            fresh = None if born is None else born.tensors()[group["name"]].to(old)
            if fresh is not None:
                rows.append(fresh)
            new = torch.cat(rows).contiguous().requires_grad_(True)
            state = self.optimizer.state.pop(old, None)
            if state:
                for key in ("exp_avg", "exp_avg_sq"):
                    moments = [state[key][keep]]
                    if fresh is not None:
                        moments.append(torch.zeros_like(fresh))
                    state[key] = torch.cat(moments).contiguous()
                self.optimizer.state[new] = state
            group["params"] = [new]
        fresh_births = self.births[:0] if born is None else born.means.to(self.births)
        self.births = torch.cat([self.births[keep], fresh_births])

    @torch.no_grad()
    def overwrite(self, rows: Int[Tensor, " M"], splats: Splats) -> None:
        """Put `splats` in the place of `rows`, which are made anew: Adam's moments start from zero."""
        for name, value in self.tensors().items():
            value[rows] = splats.tensors()[name].to(value)
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in self.optimizer.state.get(value, {}):
                    self.optimizer.state[value][moment][rows] = 0
        self.births[rows] = splats.means.to(self.births)

    @torch.no_grad()
    def cap_scales(self, limit: Float[Tensor, " N"]) -> None:
        """Shrink Gaussians that extend beyond `limit` (world units) along an axis to it."""
        self.tensors()["log_scales"].clamp_(max=limit.clamp_min(1e-12).log()[:, None])

    def state_dict(self) -> dict[str, Any]:
        return {
            "tensors": {name: value.detach() for name, value in self.tensors().items()},
            "optimizer": self.optimizer.state_dict(),
            "births": self.births,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for group in self.optimizer.param_groups:
            group["params"] = [state["tensors"][group["name"]].clone().requires_grad_(True)]
        self.optimizer.load_state_dict(state["optimizer"])
        self.births = state["births"]
