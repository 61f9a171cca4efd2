"""Adding and removing Gaussians, under a hard cap, every one accounted for.

Growth follows the absolute screen-space gradient (AbsGS, Ye et al. 2024): where many pixels pull a Gaussian in
different directions, it covers detail that one Gaussian cannot show.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon.geometry.projection import project
from recon.geometry.so3 import quat_to_rotmat
from recon.optimize.config import DensifyConfig
from recon.optimize.parameters import SplatParameters
from recon.types import Cameras, Splats


@dataclass
class Account:
    """Every Gaussian born or pruned, by cause."""

    cloned: int = 0
    split: int = 0
    pruned: dict[str, int] = field(default_factory=lambda: {"opacity": 0, "unseen": 0, "not finite": 0})


class Densifier:
    """Gathers screen-space statistics at each step and acts on them at each refinement."""

    def __init__(self, config: DensifyConfig, n: int, cameras: Cameras, seed: int) -> None:
        self.config = config
        self.cameras = cameras
        self.account = Account()
        self.generator = torch.Generator().manual_seed(seed)
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
        parameters.cap_scales(self.config.max_angle * self._distance(parameters.tensors()["means"].detach()))
        splats = parameters.splats().detach()
        doomed = self._doomed(splats)
        mean_gradient = self.gradient / self.seen.clamp_min(1)
        chosen = torch.zeros_like(doomed)
        if grow:
            room = self.config.max_gaussians - int((~doomed).sum())
            chosen = choose_to_grow(mean_gradient, ~doomed, self.config, room)
        # radii cover three standard deviations
        split = chosen & (self.radius_px > 3 * self.config.split_radius_px)
        clone = chosen & ~split
        born = [splats[clone], split_in_two(splats[split], self.generator)]
        self.account.cloned += int(clone.sum())
        self.account.split += int(split.sum())
        parameters.rewrite((~doomed & ~split).nonzero()[:, 0], Splats.cat(born))
        self._reset(len(parameters), splats.device)

    def state_dict(self) -> dict[str, Any]:
        return {
            "gradient": self.gradient,
            "seen": self.seen,
            "radius_px": self.radius_px,
            "account": asdict(self.account),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gradient, self.seen, self.radius_px = state["gradient"], state["seen"], state["radius_px"]
        self.account = Account(**state["account"])
        self.generator.set_state(state["generator"].cpu())

    def _distance(self, means: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """From each Gaussian to the nearest camera."""
        return torch.cdist(means, self.cameras.centers).amin(dim=1)

    def _unseen(self, means: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Centres in front of no camera, or outside of every photo's frame."""
        uv, z = project(means, self.cameras.cam_from_world, self.cameras.Ks)
        size = torch.stack([self.cameras.width, self.cameras.height], dim=-1).to(uv)[:, None]
        rim = self.config.margin * size
        inside = (z > 0) & (uv >= -rim).all(-1) & (uv <= size + rim).all(-1)
        return ~inside.any(dim=0)

    def _doomed(self, splats: Splats) -> Bool[Tensor, " N"]:
        finite = torch.stack([v.flatten(1).isfinite().all(1) for v in with_columns(splats)]).all(0)
        faint = splats.opacities < self.config.prune_opacity
        unseen = self._unseen(splats.means)
        self.account.pruned["not finite"] += int((~finite).sum())
        self.account.pruned["opacity"] += int((faint & finite).sum())
        self.account.pruned["unseen"] += int((unseen & finite & ~faint).sum())
        return ~finite | faint | unseen


def with_columns(splats: Splats) -> list[Tensor]:
    """The tensors as [N, -1] so that rows can be reduced; empty ones are left out."""
    return [v.reshape(len(splats), -1) for v in splats.tensors().values() if v.numel() > 0]


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
