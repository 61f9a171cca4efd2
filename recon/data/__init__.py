"""Photos and cameras from files: folders, transforms.json, COLMAP, LLFF, DTU; and which photos to hold out."""

from recon.data.formats import Scene, open_scene
from recon.data.images import ImagesConfig, fingerprint, load_images, resize, save_images, select
from recon.data.known import KnownCameras, apply_known, camera_files, load_posed, match, own_cameras, undistort
from recon.data.splits import holdout_split

__all__ = [
    "ImagesConfig",
    "KnownCameras",
    "Scene",
    "apply_known",
    "camera_files",
    "fingerprint",
    "holdout_split",
    "load_images",
    "load_posed",
    "match",
    "open_scene",
    "own_cameras",
    "resize",
    "save_images",
    "select",
    "undistort",
]
