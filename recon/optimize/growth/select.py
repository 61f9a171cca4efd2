"""The strategies by name."""

from recon.optimize.growth.base import Densifier
from recon.optimize.growth.candidates import CandidateDensifier
from recon.optimize.growth.config import DensifyConfig
from recon.optimize.growth.gradient import GradientDensifier
from recon.optimize.growth.mcmc import McmcDensifier
from recon.types import Cameras

STRATEGIES: dict[str, type[Densifier]] = {
    "gradient": GradientDensifier,
    "mcmc": McmcDensifier,
    "candidates": CandidateDensifier,
}


def make_densifier(config: DensifyConfig, n: int, cameras: Cameras, seed: int) -> Densifier:
    """The strategy that `config` names, for `n` Gaussians seen by `cameras`."""
    return STRATEGIES[config.strategy](config, n, cameras, seed)
