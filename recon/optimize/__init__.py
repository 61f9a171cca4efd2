"""Splats from photos with cameras: the start, the losses, growth and pruning, and the loop."""

from recon.optimize.align import AlignConfig, align_camera
from recon.optimize.config import DensifyConfig, InitConfig, LossConfig, RateConfig, TrainConfig
from recon.optimize.init import splats_from_points
from recon.optimize.loop import Trainer, TrainResult, train
from recon.optimize.placing.config import PlacingConfig

__all__ = [
    "AlignConfig",
    "DensifyConfig",
    "InitConfig",
    "LossConfig",
    "PlacingConfig",
    "RateConfig",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "align_camera",
    "splats_from_points",
    "train",
]
