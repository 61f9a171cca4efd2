"""Sparsity for optimisers and compressors: tensor in, tensor out; knows nothing of splats.

Criteria score values, masks keep exactly so many of the best, schedules say how many at which step. Further: vector
quantisation, a hash-grid encoding with tables that can be pruned, and sparse products. Each piece names its paper and
has a naive loop in `tests/reference/`.
"""

from recon.sparse.admm import Admm
from recon.sparse.criteria import gradient_times_value, group_norms, magnitude, random_scores
from recon.sparse.envelope import group_envelope, prox_group_envelope
from recon.sparse.hashgrid import HashGrid, HashGridConfig
from recon.sparse.masks import keep_count, keep_density, keep_global, keep_groups, keep_n_of_m
from recon.sparse.patterns import ProgressivePattern, adaptive_decay
from recon.sparse.products import Blocks, Csr, NOfM
from recon.sparse.quantise import (
    Codebook,
    Quantised,
    ResidualCodebook,
    SimVQ,
    Usage,
    codebook_usage,
    kmeans,
    nearest,
    residual_quantise,
)
from recon.sparse.rewinding import iterative_magnitude
from recon.sparse.saliency import HollowGrid, SaliencyMask
from recon.sparse.schedules import Cubic, DensitySchedule, OneShot, SoftShrinkage
from recon.sparse.sharing import RandomSharing
from recon.sparse.soups import sparse_soup

__all__ = [
    "Admm",
    "Blocks",
    "Codebook",
    "Csr",
    "Cubic",
    "DensitySchedule",
    "HashGrid",
    "HashGridConfig",
    "HollowGrid",
    "NOfM",
    "OneShot",
    "ProgressivePattern",
    "Quantised",
    "RandomSharing",
    "ResidualCodebook",
    "SaliencyMask",
    "SimVQ",
    "SoftShrinkage",
    "Usage",
    "adaptive_decay",
    "codebook_usage",
    "gradient_times_value",
    "group_envelope",
    "group_norms",
    "iterative_magnitude",
    "keep_count",
    "keep_density",
    "keep_global",
    "keep_groups",
    "keep_n_of_m",
    "kmeans",
    "magnitude",
    "nearest",
    "prox_group_envelope",
    "random_scores",
    "residual_quantise",
    "sparse_soup",
]
