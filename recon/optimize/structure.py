"""Gaussians that know their neighbours (SAGS, Ververas et al. 2024).

SAGS ties Gaussians by a graph network over the nearest neighbours of the points it starts from; what the network says
is a displacement of each point. Deviation: there is no network. The displacement is the Gaussian's own, as the
optimiser found it, and every few steps it is drawn towards the mean of its neighbours' (one step of diffusion on the
graph), which is what aggregation over the graph does to it. A Gaussian that wanders off alone is called back; a
surface that moves as a whole is let go.

The light variant stores half of the Gaussians and makes the rest between neighbours (SAGS-Lite's mid-points). SAGS
trains in this form; on splats trained in full, mid-points win back half of what the missing half costs, and the
stored half made wider by the square root of two shows as much or more (fern, 3 photos, held out: all 22.2 dB, half
19.4, with mid-points 20.8, half made wider 21.7).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from recon.optimize.init import z_order
from recon.optimize.parameters import SplatParameters
from recon.types import Splats


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
        self.births = torch.zeros(0, 3)
        self.graph = torch.zeros(0, 0, dtype=torch.int64)

    @torch.no_grad()
    def __call__(self, parameters: SplatParameters, step: int) -> None:
        """Smooth if it is due at `step`; moves the means in place."""
        if self.config.every <= 0 or step % self.config.every != 0:
            return
        if not torch.equal(parameters.births, self.births):
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


def every_second(splats: Splats) -> Splats:
    """Half of the Gaussians, evenly over space: every second along a Morton curve. `with_midpoints` adds the rest."""
    return splats[z_order(splats.means.cpu())[::2].to(splats.device)]


def with_midpoints(splats: Splats) -> Splats:
    """`splats`, and as many Gaussians half way between nearest and, once those are used up, second nearest neighbours.

    Attributes are the mean of the two as stored; differentiable.
    """
    if len(splats) < 3:
        return splats
    a, b = _edges(neighbour_graph(splats.means.detach(), 2))[: len(splats)].unbind(1)
    ours, theirs = splats[a].tensors(), splats[b].tensors()
    # q and -q are one rotation: without the sign, the mean of two that agree may vanish.
    sign = (ours["quats"] * theirs["quats"]).sum(dim=1, keepdim=True).sign()
    theirs["quats"] = theirs["quats"] * torch.where(sign == 0, 1.0, sign)
    middle = Splats(**{name: 0.5 * (ours[name] + theirs[name]) for name in ours})
    return Splats.cat([splats, middle])


def _edges(graph: Int[Tensor, "N 2"]) -> Int[Tensor, "E 2"]:
    """Each pair of neighbours once, the nearest first; there are N at least, since none is listed more than twice."""
    n = len(graph)
    ends = torch.stack([torch.arange(n, device=graph.device).repeat(2), graph.T.reshape(-1)], dim=1).sort(dim=1).values
    _, inverse = (ends[:, 0] * n + ends[:, 1]).unique(return_inverse=True)
    order = torch.arange(2 * n, device=graph.device)
    first = torch.full_like(order, 2 * n).scatter_reduce_(0, inverse, order, "amin")
    return ends[first[first < 2 * n].sort().values]
