"""Gaussians under optimisation: leaf tensors, their Adam state, and the one place where rows of both change."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.config import RateConfig
from recon.types import Splats


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

    def tensors(self) -> dict[str, Tensor]:
        return {group["name"]: group["params"][0] for group in self.optimizer.param_groups}

    def splats(self) -> Splats:
        """The Gaussians as they are now; gradients flow to the parameters."""
        return Splats(**self.tensors())

    def __len__(self) -> int:
        return int(self.tensors()["means"].shape[0])

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

    @torch.no_grad()
    def cap_scales(self, limit: Float[Tensor, " N"]) -> None:
        """Shrink Gaussians that extend beyond `limit` (world units) along an axis to it."""
        self.tensors()["log_scales"].clamp_(max=limit.clamp_min(1e-12).log()[:, None])

    def state_dict(self) -> dict[str, Any]:
        return {
            "tensors": {name: value.detach() for name, value in self.tensors().items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for group in self.optimizer.param_groups:
            group["params"] = [state["tensors"][group["name"]].clone().requires_grad_(True)]
        self.optimizer.load_state_dict(state["optimizer"])
