"""Settings of growth: what all strategies share, and what only one of them reads."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class McmcConfig:
    """3D Gaussian splatting as Markov chain Monte Carlo."""

    dead_opacity: float = 0.005
    """Gaussians below are moved onto others."""
    noise: float = 5e5
    """Strength of the noise on the means, on top of their learning rate; 0 turns it off."""


@dataclass(frozen=True)
class CandidatesConfig:
    """Growth out of a pool of pruned places."""

    reach: float = 3.0
    """How far a place of the pool may be from the Gaussian that needs help, in units of its largest standard
    deviation."""


@dataclass(frozen=True)
class FloaterConfig:
    """Removal of what stands, half transparent, in front of the surface that a photo shows."""

    at: tuple[float, ...] = ()
    """Fractions of the training at which it is done; none turns it off. SparseGS takes two thirds and five sixths."""
    difference: float = 0.15
    """How far, relative to it, the mean depth of a pixel may be in front of its mode. Depths nearer to each other count
    as one peak."""
    max_side: int = 200
    """Longest side, in pixels, at which the distribution of depth is looked at."""


@dataclass(frozen=True)
class DensifyConfig:
    """Where Gaussians are added and removed while training."""

    strategy: Literal["gradient", "mcmc", "candidates"] = "gradient"
    """`gradient` splits and clones where the picture pulls, `mcmc` moves faint Gaussians onto strong ones (it wants
    the penalties of `loss.opacity` and `loss.scale`, 0.01 each in its paper), `candidates` grows as `gradient` does,
    but first at places where Gaussians were pruned before."""
    start: float = 0.1
    """First refinement, as a fraction of all steps."""
    stop: float = 0.6
    every: int = 100
    max_gaussians: int = 160_000
    """Growth ends at so many. The start has as many as `init.max_gaussians` says; `budget` limits the result."""
    grow_fraction: float = 0.05
    """At most this share of the present Gaussians is split or cloned in one refinement."""
    grow_grad: float = 8e-4
    """Mean absolute screen-space gradient (normalised device units, AbsGS) above which one is split or cloned."""
    split_radius_px: float = 4.0
    """Gaussians with a larger footprint are split, smaller ones cloned."""
    prune_opacity: float = 0.02
    max_angle: float = 0.03
    """Largest standard deviation over the distance to the nearest camera. A handful of Gaussians that reach out of the
    photos, where nothing holds them, is enough to fill every other view with fog."""
    margin: float = 0.02
    """Gaussians whose centres no photo shows, not even this share of its size beyond its rim, are removed."""
    mcmc: McmcConfig = field(default_factory=McmcConfig)
    candidates: CandidatesConfig = field(default_factory=CandidatesConfig)
    floaters: FloaterConfig = field(default_factory=FloaterConfig)
