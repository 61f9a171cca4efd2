"""How good: pictures against pictures, cameras against cameras. sRGB values in [0, 1], images `[H, W, 3]`."""

from recon.metrics.lpips import lpips
from recon.metrics.pose import PoseErrors, pose_errors
from recon.metrics.psnr import psnr
from recon.metrics.scores import ImageScores, score_image
from recon.metrics.ssim import ssim

__all__ = ["ImageScores", "PoseErrors", "lpips", "pose_errors", "psnr", "score_image", "ssim"]
