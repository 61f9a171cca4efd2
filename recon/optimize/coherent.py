"""Gaussians of one photo that move together in depth (CoherentGS, Paliwal et al. 2024, sec. 3.2).

Each Gaussian belongs to a photo, and besides its own freedom it moves along that photo's ray as a coarse grid over the
photo says: the grid holds changes of log depth, decodes bilinearly, and has a penalty on its total variation.
Gradients of whole regions add up in a cell, so that a surface at a wrong depth moves as a surface. Deviations:
CoherentGS decodes with a small convolutional network and has nothing but that freedom; its Gaussians sit on every
pixel of every photo, here they are those there are, each with the nearest photo that frames it. A Gaussian keeps its
footprint in that photo: its scale changes with its depth.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.geometry.projection import project
from recon.optimize.parameters import SplatParameters
from recon.types import Cameras


@dataclass(frozen=True)
class CoherentConfig:
    """Common changes of depth."""

    cell_px: float = 0.0
    """Size of a cell of the grid, in pixels of the photos; 0 turns the grid off."""
    rate: float = 1e-3
    """Learning rate of the changes of log depth; falls to a hundredth."""
    variation: float = 0.5
    """Weight of the mean absolute difference between neighbouring cells."""


@dataclass(frozen=True)
class Ties:
    """Which four cells move each Gaussian, and how much; weight 0 for a Gaussian that no photo frames."""

    center: Float[Tensor, "N 3"]
    """Of the camera of its photo."""
    cells: Int[Tensor, "N 4"]
    """Into the flat grids of all photos."""
    weights: Float[Tensor, "N 4"]

    def decode(self, grids: Float[Tensor, "V R C"]) -> Float[Tensor, " N"]:
        """The change of log depth of each Gaussian."""
        return (grids.reshape(-1)[self.cells] * self.weights).sum(dim=1)


class CoherentDepth:
    """The grids of all photos and their optimiser. `step` moves the Gaussians; nothing else need know."""

    def __init__(self, cameras: Cameras, config: CoherentConfig) -> None:
        self.cameras = cameras
        self.config = config
        self.births = cameras.centers.new_zeros(0, 3)
        self.ties: Ties | None = None
        self.cell_px = max(config.cell_px, 1.0)
        rows, columns = (int((side.max() / self.cell_px).ceil()) + 1 for side in (cameras.height, cameras.width))
        shape = (len(cameras), rows, columns) if config.cell_px > 0 else (0, 0, 0)
        self.grids = cameras.centers.new_zeros(shape).requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.grids], lr=config.rate, eps=1e-15)

    def step(self, parameters: SplatParameters, fraction: float) -> None:
        """Move all together by the gradient of the means, at `fraction` of the training; before the means' own step."""
        means, log_scales = parameters.tensors()["means"], parameters.tensors()["log_scales"]
        if self.config.cell_px <= 0 or means.grad is None:
            return
        ties = self._tied(parameters.births)
        rays = means.detach() - ties.center
        # mean = center + exp(change) * ray, so that d mean / d change is the ray.
        pull = (means.grad * rays).sum(dim=1)
        before = ties.decode(self.grids)
        loss = (before * pull).sum() + self.config.variation * total_variation(self.grids)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.param_groups[0]["lr"] = self.config.rate * 0.01**fraction
        self.optimizer.step()
        with torch.no_grad():
            change = ties.decode(self.grids) - before
            means.copy_(ties.center + change.exp()[:, None] * rays)
            log_scales += change[:, None]

    def _tied(self, births: Float[Tensor, "N 3"]) -> Ties:
        if self.ties is None or not torch.equal(births, self.births):
            self.births = births.clone()
            self.ties = tie(births, self.cameras, self.cell_px, self.grids.shape)
        return self.ties

    def state_dict(self) -> dict[str, Any]:
        return {"grids": self.grids.detach(), "optimizer": self.optimizer.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.grids.copy_(state["grids"])
        self.optimizer.load_state_dict(state["optimizer"])


def tie(births: Float[Tensor, "N 3"], cameras: Cameras, cell_px: float, shape: torch.Size) -> Ties:
    """Each place with the nearest photo that frames it, and the corners of its cell there (bilinear)."""
    uv, z = project(births, cameras.cam_from_world, cameras.Ks)
    size = torch.stack([cameras.width, cameras.height], dim=-1).to(uv)[:, None]
    framed = (z > 0) & (uv >= 0).all(-1) & (uv < size).all(-1)
    nearest, view = torch.where(framed, z, torch.inf).min(dim=0)
    place = uv.gather(0, view[None, :, None].expand(1, -1, 2))[0] / cell_px
    place = torch.where(nearest.isfinite()[:, None], place, torch.zeros_like(place))
    corner, part = place.floor().long(), place.frac()
    cells, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            cells.append((view * shape[1] + corner[:, 1] + dy) * shape[2] + corner[:, 0] + dx)
            weights.append((part[:, 1] if dy else 1 - part[:, 1]) * (part[:, 0] if dx else 1 - part[:, 0]))
    held = nearest.isfinite()[:, None]
    return Ties(cameras.centers[view], torch.stack(cells, 1), torch.stack(weights, 1) * held)


def total_variation(grids: Float[Tensor, "V R C"]) -> Float[Tensor, ""]:
    """Mean absolute difference between cells side by side and one below the other."""
    across, down = (grids[:, :, 1:] - grids[:, :, :-1]).abs(), (grids[:, 1:] - grids[:, :-1]).abs()
    return (across.sum() + down.sum()) / max(1, across.numel() + down.numel())
