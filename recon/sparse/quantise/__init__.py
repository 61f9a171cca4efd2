"""Vector quantisation: k-means, residual codebooks, SimVQ."""

from recon.sparse.quantise.kmeans import Codebook, kmeans
from recon.sparse.quantise.nearest import nearest
from recon.sparse.quantise.residual import ResidualCodebook, residual_quantise
from recon.sparse.quantise.simvq import Quantised, SimVQ
from recon.sparse.quantise.usage import Usage, codebook_usage

__all__ = [
    "Codebook",
    "Quantised",
    "ResidualCodebook",
    "SimVQ",
    "Usage",
    "codebook_usage",
    "kmeans",
    "nearest",
    "residual_quantise",
]
