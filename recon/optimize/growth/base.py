"""What every strategy of growth does alike: removing Gaussians, and accounting for each one born or pruned."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import project
from recon.optimize.growth.config import DensifyConfig
from recon.optimize.parameters import SplatParameters
from recon.types import Cameras, Splats


@dataclass
class Account:
    """Every Gaussian born or pruned, by cause: those at the start, plus born, minus pruned, are those there now.

    A split counts once: of its two halves, one takes the place of the old Gaussian.
    """

    born: dict[str, int] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)

    def add_born(self, cause: str, n: int) -> None:
        self.born[cause] = self.born.get(cause, 0) + n

    def add_pruned(self, cause: str, n: int) -> None:
        self.pruned[cause] = self.pruned.get(cause, 0) + n


class Densifier(ABC):
    """Watches each step and acts at each refinement, under a hard cap.

    Args:
        n: how many Gaussians there are at the start.
        cameras: of the photos, in pixels of any size; on the device of the Gaussians.
    """

    def __init__(self, config: DensifyConfig, n: int, cameras: Cameras, seed: int) -> None:
        self.config = config
        self.cameras = cameras
        self.account = Account()
        self.generator = torch.Generator().manual_seed(seed)

    def observe(self, meta: dict, width: int, height: int) -> None:  # noqa: B027 - not every strategy looks
        """See what the rasterizer says of one rendering, after its backward pass."""

    def after_step(self, parameters: SplatParameters) -> None:  # noqa: B027 - nor acts between refinements
        """Act after each step of the optimiser."""

    @abstractmethod
    def refine(self, parameters: SplatParameters, grow: bool) -> None:
        """Shrink and remove, then grow within the cap if `grow`."""

    @torch.no_grad()
    def remove(self, parameters: SplatParameters, doomed: Bool[Tensor, " N"], cause: str) -> None:
        """Remove the Gaussians that someone else found to be wrong."""
        self.account.add_pruned(cause, int(doomed.sum()))
        parameters.rewrite((~doomed).nonzero()[:, 0])

    def state_dict(self) -> dict[str, Any]:
        return {"account": asdict(self.account), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.account = Account(**state["account"])
        self.generator.set_state(state["generator"].cpu())

    def _shrink(self, parameters: SplatParameters) -> None:
        """No Gaussian may look larger than `max_angle` from its nearest camera."""
        means = parameters.tensors()["means"].detach()
        parameters.cap_scales(self.config.max_angle * torch.cdist(means, self.cameras.centers).amin(dim=1))

    def _unseen(self, means: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Centres in front of no camera, or outside of every photo's frame."""
        uv, z = project(means, self.cameras.cam_from_world, self.cameras.Ks)
        size = torch.stack([self.cameras.width, self.cameras.height], dim=-1).to(uv)[:, None]
        rim = self.config.margin * size
        inside = (z > 0) & (uv >= -rim).all(-1) & (uv <= size + rim).all(-1)
        return ~inside.any(dim=0)

    def _doomed(self, splats: Splats, min_opacity: float) -> dict[str, Bool[Tensor, " N"]]:
        """Whom to prune, by cause; no Gaussian has two. Put on the account."""
        finite = torch.stack([v.flatten(1).isfinite().all(1) for v in with_columns(splats)]).all(0)
        faint = finite & (splats.opacities < min_opacity)
        unseen = finite & ~faint & self._unseen(splats.means)
        doomed = {"not finite": ~finite, "opacity": faint, "unseen": unseen}
        for cause, rows in doomed.items():
            self.account.add_pruned(cause, int(rows.sum()))
        return doomed


def with_columns(splats: Splats) -> list[Tensor]:
    """The tensors as [N, -1] so that rows can be reduced; empty ones are left out."""
    return [v.reshape(len(splats), -1) for v in splats.tensors().values() if v.numel() > 0]
