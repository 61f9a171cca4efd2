"""Dense stereo: depth, normals and confidence of every photo, and the fused point cloud."""

from recon.stereo.config import StereoConfig
from recon.stereo.fuse import fuse
from recon.stereo.reconstruct import reconstruct
from recon.stereo.warp import reprojection_error, warp_to_view

__all__ = ["StereoConfig", "fuse", "reconstruct", "reprojection_error", "warp_to_view"]
