"""Growth by the absolute screen-space gradient (AbsGS, Ye et al. 2024): where many pixels pull a Gaussian in
different directions, it covers detail that one Gaussian cannot show.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon.geometry.so3 import quat_to_rotmat
from recon.optimize.growth.base import Densifier
from recon.optimize.growth.config import DensifyConfig
from recon.optimize.parameters import SplatParameters
from recon.types import Cameras, Splats


class GradientDensifier(Densifier):
    """Gathers screen-space statistics at each step and acts on them at each refinement."""

    def __init__(self, config: DensifyConfig, n: int, cameras: Cameras, seed: int) -> None:
        super().__init__(config, n, cameras, seed)
        self._reset(n, cameras.cam_from_world.device)

    def _reset(self, n: int, device: torch.device) -> None:
        self.gradient = torch.zeros(n, device=device)
        self.seen = torch.zeros(n, device=device)
        self.radius_px = torch.zeros(n, device=device)

    @torch.no_grad()
    def observe(self, meta: dict, width: int, height: int) -> None:
        """Add one rendering's gradients of the projected means (`meta["means2d"].absgrad`)."""
        means2d = meta["means2d"]
        gradient = means2d.absgrad if getattr(means2d, "absgrad", None) is not None else means2d.grad
        scale = gradient.new_tensor([width / 2, height / 2])
        norm = (gradient * scale).norm(dim=-1).reshape(-1)
        radii = meta["radii"]
        radii = (radii.amax(-1) if radii.dim() > means2d.dim() - 1 else radii).float().reshape(-1)
        if meta.get("gaussian_ids") is not None:
            ids = meta["gaussian_ids"].long()
        else:
            ids = torch.arange(norm.numel(), device=norm.device) % self.gradient.numel()
        visible = radii > 0
        ids, norm, radii = ids[visible], norm[visible], radii[visible]
        self.gradient.index_add_(0, ids, norm)
        self.seen.index_add_(0, ids, torch.ones_like(norm))
        self.radius_px.scatter_reduce_(0, ids, radii, "amax")

    @torch.no_grad()
    def refine(self, parameters: SplatParameters, grow: bool) -> None:
        """Prune, shrink, then grow within the cap; the statistics start anew."""
        self._shrink(parameters)
        splats = parameters.splats().detach()
        causes = self._doomed(splats, self.config.prune_opacity)
        doomed = torch.stack(list(causes.values())).any(0)
        chosen = torch.zeros_like(doomed)
        if grow:
            mean_gradient = self.gradient / self.seen.clamp_min(1)
            room = self.config.max_gaussians - int((~doomed).sum())
            chosen = choose_to_grow(mean_gradient, ~doomed, self.config, room)
        gone, born = self._grow(splats, chosen)
        parameters.rewrite((~doomed & ~gone).nonzero()[:, 0], born)
        self._reset(len(parameters), splats.device)

    def _grow(self, splats: Splats, chosen: Bool[Tensor, " N"]) -> tuple[Bool[Tensor, " N"], Splats]:
        """(those replaced by their halves, those born) of the Gaussians chosen to grow."""
        # radii cover three standard deviations
        split = chosen & (self.radius_px > 3 * self.config.split_radius_px)
        clone = chosen & ~split
        self.account.add_born("cloned", int(clone.sum()))
        self.account.add_born("split", int(split.sum()))
        return split, Splats.cat([splats[clone], split_in_two(splats[split], self.generator)])

    @torch.no_grad()
    def remove(self, parameters: SplatParameters, doomed: Bool[Tensor, " N"], cause: str) -> None:
        super().remove(parameters, doomed, cause)
        self.gradient, self.seen, self.radius_px = (x[~doomed] for x in (self.gradient, self.seen, self.radius_px))

    def state_dict(self) -> dict[str, Any]:
        statistics = {"gradient": self.gradient, "seen": self.seen, "radius_px": self.radius_px}
        return {**super().state_dict(), **statistics}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.gradient, self.seen, self.radius_px = state["gradient"], state["seen"], state["radius_px"]


def choose_to_grow(
    gradient: Float[Tensor, " N"], alive: Bool[Tensor, " N"], config: DensifyConfig, room: int
) -> Bool[Tensor, " N"]:
    """The strongest gradients above the threshold, at most `grow_fraction` of all and never more than fit."""
    chosen = torch.zeros_like(alive)
    limit = min(room, int(config.grow_fraction * gradient.numel()))
    if limit <= 0:
        return chosen
    candidates: Int[Tensor, " M"] = (alive & (gradient > config.grow_grad)).nonzero()[:, 0]
    if candidates.numel() > limit:
        candidates = candidates[gradient[candidates].topk(limit).indices]
    chosen[candidates] = True
    return chosen


def split_in_two(splats: Splats, generator: torch.Generator) -> Splats:
    """Two smaller Gaussians drawn from each (3DGS sec. 5.2: scales over 1.6)."""
    if len(splats) == 0:
        return splats
    axes = quat_to_rotmat(splats.quats)
    halves = []
    for _ in range(2):
        noise = torch.randn(len(splats), 3, generator=generator).to(splats.means)
        offset = (axes @ (noise * splats.scales)[..., None])[..., 0]
        tensors = splats.tensors()
        tensors["means"] = splats.means + offset
        tensors["log_scales"] = (splats.scales / 1.6).log()
        halves.append(Splats(**tensors))
    return Splats.cat(halves)
