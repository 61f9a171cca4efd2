"""k-means clustering (Lloyd 1982, "Least squares quantization in PCM").

Many centres start where coarse ones represent points badly (one round of k-means||, Bahmani et al. 2012, "Scalable
K-Means++"), and a point then looks for a better centre among the neighbours of the one it has (Agustsson, Timofte and
Van Gool 2017, "k2-means for fast and accurate large scale clustering"): the cost of a round hardly depends on how many
centres there are.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon.native import vq
from recon.sparse.quantise.nearest import nearest

_FEW = 256  # up to as many centres, every point looks at all of them
_NEIGHBOURS = 32
_CELL_SAMPLE = 64  # points per coarse cell that place the cells


@dataclass(frozen=True)
class Codebook:
    """Centres, and which of them stands for each point."""

    centers: Float[Tensor, "K D"]
    labels: Int64[Tensor, " N"]


def kmeans(
    points: Float[Tensor, "N D"],
    count: int,
    *,
    weights: Float[Tensor, " N"] | None = None,
    rounds: int = 10,
    seed: int = 0,
) -> Codebook:
    """Cluster points around `count` centres (all of the points, if there are fewer).

    Clusters that lose all points start again at the points that are worst represented. With more than 256 centres on
    the CPU a label is the best centre that a local search found, which for a percent or so of the points is not the
    nearest of all: `nearest` says that one.

    Args:
        weights: how much each point counts; ones by default.
        rounds: updates of the centres, each followed by an assignment.

    Raises:
        ValueError: no points, a count below 1, or negative weights.
    """
    if len(points) == 0 or count < 1:
        raise ValueError(f"Cannot make {count} clusters of {len(points)} points; both must be at least 1.")
    if weights is None:
        weights = points.new_ones(len(points))
    if bool((weights < 0).any()):
        raise ValueError("Weights of points must not be negative.")
    points, weights, count = points.detach().contiguous(), weights.detach(), min(count, len(points))
    generator = torch.Generator().manual_seed(seed)
    if count > _FEW:
        cells = _cells(points, weights, count, generator)
        centers = _badly_represented(points, weights, cells, count, generator)
        if vq.available(points):
            return _local(points, weights, centers, cells, rounds)
    else:
        centers = points[_drawn(weights, count, generator)]
    labels = nearest(points, centers)
    for _ in range(rounds):
        centers = _update(points, weights, labels, centers)
        labels = nearest(points, centers)
    return Codebook(centers, labels)


def _local(points: Tensor, weights: Tensor, centers: Tensor, cells: Codebook, rounds: int) -> Codebook:
    """Rounds in which each point looks only among the neighbours of the centre it has."""
    by_cell = _grouped(cells.labels, len(cells.centers))
    home = nearest(centers, cells.centers)
    labels = vq.nearest_among(points, centers, vq.Groups(*by_cell, *_reachable(cells.centers, home, 2 * _NEIGHBOURS)))
    for i in range(rounds):
        centers = _update(points, weights, labels, centers)
        if i & (i - 1) == 0:  # neighbours change less and less: look again in rounds 0, 1, 2, 4, 8 ...
            neighbours = _neighbours(centers, cells.centers)
        starts = torch.arange(len(centers) + 1) * neighbours.shape[1]
        groups = vq.Groups(*_grouped(labels, len(centers)), neighbours.flatten(), starts)
        labels = vq.nearest_among(points, centers, groups)
    return Codebook(centers, labels)


def _neighbours(centers: Tensor, cells: Tensor) -> Tensor:
    """For each centre its nearest ones, itself among them, int32: those in cells around its own are looked at."""
    home = nearest(centers, cells)
    reach = _reachable(cells, home, 16 * _NEIGHBOURS)
    count = min(_NEIGHBOURS, len(centers))
    return vq.neighbours_among(centers, centers, vq.Groups(*_grouped(home, len(cells)), *reach), count)


def _cells(points: Tensor, weights: Tensor, count: int, generator: torch.Generator) -> Codebook:
    """The points in about sqrt(count) coarse cells, placed by a sample of the points."""
    n_cells = round(count**0.5)
    sample = _drawn(weights, min(len(points), _CELL_SAMPLE * n_cells), generator)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    cells = kmeans(points[sample], n_cells, rounds=5, seed=seed).centers
    return Codebook(cells, nearest(points, cells))


def _badly_represented(points: Tensor, weights: Tensor, cells: Codebook, count: int, g: torch.Generator) -> Tensor:
    """Points drawn with a chance proportional to their squared distance to the centre of their cell."""
    errors = (points - cells.centers[cells.labels]).square().sum(1)
    return points[_drawn(weights * errors, count, g)]


def _drawn(chances: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices drawn without replacement (Efraimidis and Spirakis 2006): the largest of log(chance) + Gumbel noise."""
    noise = -torch.empty(len(chances)).exponential_(generator=generator).log()
    return ((chances + 1e-30).log() + noise.to(chances)).topk(count).indices


def _grouped(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The indices sorted by label, and where each label starts among them."""
    starts = torch.zeros(count + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(labels, minlength=count), 0, out=starts[1:])
    return labels.argsort(stable=True), starts


def _reachable(cells: Tensor, home: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """For each cell the members (`home` is each one's cell) of the cells nearest to it that hold `wanted` together."""
    members, starts = _grouped(home, len(cells))
    sizes = starts.diff()
    order = torch.cdist(cells, cells).argsort(1)
    held = sizes[order]
    taken = held.cumsum(1) - held < wanted
    which = order[taken]
    counts = sizes[which]
    ends = counts.cumsum(0)
    within = torch.arange(int(ends[-1])) - (ends - counts).repeat_interleave(counts)
    reach_starts = torch.zeros(len(cells) + 1, dtype=torch.int64)
    torch.cumsum((held * taken).sum(1), 0, out=reach_starts[1:])
    return members[starts[which].repeat_interleave(counts) + within].int(), reach_starts


def _update(points: Tensor, weights: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Weighted means of the clusters; an empty one moves onto one of the points worst represented."""
    mass = torch.zeros(len(centers), dtype=points.dtype, device=points.device).index_add_(0, labels, weights)
    sums = torch.zeros_like(centers).index_add_(0, labels, points * weights[:, None])
    means = torch.where(mass[:, None] > 0, sums / mass.clamp_min(1e-30)[:, None], centers)
    empty = (mass == 0).nonzero()[:, 0]
    if len(empty):
        errors = weights * (points - centers[labels]).square().sum(1)
        means[empty] = points[errors.topk(len(empty)).indices]
    return means
