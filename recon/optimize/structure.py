"""Gaussians that know their neighbours (SAGS, Ververas et al. 2024).

SAGS ties Gaussians by a graph network over the nearest neighbours of the points it starts from; what the network says
is a displacement of each point. Deviation: there is no network. The displacement is the Gaussian's own, as the
optimiser found it, and every few steps it is drawn towards the mean of its neighbours' (one step of diffusion on the
graph), which is what aggregation over the graph does to it. A Gaussian that wanders off alone is called back; a
surface that moves as a whole is let go.

The light variant (SAGS-Lite: half of the Gaussians stored, the rest made between neighbours) was tried and is not
here: on splats trained in full, mid-points win back less than the stored half made wider by the square root of two
(fern, 3 photos, held out: all 22.2 dB, half 19.4, with mid-points 20.8, half made wider 21.7).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from recon.optimize.parameters import SplatParameters


@dataclass(frozen=True)
class StructureConfig:
    """Smoothing of the displacements of the means over the graph of neighbours."""

    every: int = 0
    """Steps between two smoothings; 0 turns it off."""
    neighbours: int = 8
    strength: float = 0.5
    """How much of a displacement is replaced by its neighbours' mean."""


class DisplacementSmoother:
    """Call it with the parameters after a step. The graph is made anew when Gaussians came or went."""

    def __init__(self, config: StructureConfig) -> None:
        self.config = config
        self.births: Tensor | None = None
        self.graph: Tensor | None = None

    @torch.no_grad()
    def __call__(self, parameters: SplatParameters, step: int) -> None:
        """Smooth if it is due at `step`; moves the means in place."""
        if self.config.every <= 0 or step % self.config.every != 0:
            return
        if self.births is None or self.graph is None or not torch.equal(parameters.births, self.births):
            self.births = parameters.births.clone()
            self.graph = neighbour_graph(self.births, self.config.neighbours)
        means = parameters.tensors()["means"]
        moved = smoothed(means.detach() - self.births, self.graph, self.config.strength)
        means.copy_(self.births + moved)


def neighbour_graph(points: Float[Tensor, "N 3"], k: int) -> Int[Tensor, "N k"]:
    """The `k` nearest other points of each point (fewer if there are fewer)."""
    k = min(k, len(points) - 1)
    xyz = points.cpu().numpy()
    _, nearest = cKDTree(xyz).query(xyz, k=list(range(1, k + 2)))
    return torch.from_numpy(nearest[:, 1:]).long().to(points.device)


def smoothed(displacements: Float[Tensor, "N 3"], graph: Int[Tensor, "N k"], strength: float) -> Float[Tensor, "N 3"]:
    """Each displacement drawn to the mean of its neighbours': (1 - s) d_i + s mean_j d_j."""
    return torch.lerp(displacements, displacements[graph].mean(dim=1), strength)
