"""At what size the photos are compared at a moment of the training."""

from recon.optimize.config import TrainConfig

# Resolutions are quantised: each level is resampled once, and buffers keep their size for a while.
LEVELS = (0.25, 0.35, 0.5, 0.7, 1.0)


def level_at(fraction: float, config: TrainConfig) -> float:
    """The resolution, as a share of full, at a fraction of the training (DashGaussian's idea, in fixed levels)."""
    if fraction >= config.coarse_until or config.coarse_scale >= 1.0:
        return 1.0
    wanted = config.coarse_scale + (1.0 - config.coarse_scale) * fraction / config.coarse_until
    allowed = [level for level in LEVELS if config.coarse_scale <= level <= wanted + 1e-9]
    return allowed[-1] if allowed else config.coarse_scale
