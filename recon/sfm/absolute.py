"""Placing a photo against known 3D points."""

import numpy as np
import pycolmap

from recon.sfm.database import make_camera
from recon.sfm.packing import Arrays, unpack


def locate(arrays: Arrays) -> Arrays:
    """Camera of each query from 2D-3D matches: RANSAC, then refinement over its inliers.

    Args:
        arrays: packed `uv` [M, 2] and `xyz` [M, 3] per query; `sizes` [Q, 2]; `focal_px` [Q]; `refine_focal` [Q]
            (1 where the focal length is a guess that the query may improve).

    Returns:
        `cam_from_world` [Q, 4, 4] (NaN where too few agreed), `focal_px` [Q], packed `inliers` [M, 1] (0 or 1).
    """
    poses = np.full((len(arrays["sizes"]), 4, 4), np.nan)
    focal_px = arrays["focal_px"].astype(np.float64).copy()
    flags = np.zeros((len(arrays["uv"]), 1), np.int64)
    offsets = arrays["uv_offsets"]
    for q, (uv, xyz) in enumerate(zip(unpack("uv", arrays), unpack("xyz", arrays))):
        refine = bool(arrays["refine_focal"][q])
        camera = make_camera(arrays["sizes"][q], focal_px[q], trusted=not refine)
        estimation = pycolmap.AbsolutePoseEstimationOptions()
        estimation.ransac.max_error = 6.0
        estimation.ransac.random_seed = int(arrays["seed"])
        estimation.estimate_focal_length = refine
        refinement = pycolmap.AbsolutePoseRefinementOptions()
        refinement.refine_focal_length = refine
        found = None
        if len(uv) >= 6:
            found = pycolmap.estimate_and_refine_absolute_pose(
                uv.astype(np.float64), xyz.astype(np.float64), camera, estimation, refinement
            )
        if found is None:
            continue
        poses[q] = np.vstack([found["cam_from_world"].matrix(), [0, 0, 0, 1]])
        flags[offsets[q] : offsets[q + 1], 0] = np.asarray(found["inlier_mask"])
        focal_px[q] = camera.mean_focal_length()
    return {"cam_from_world": poses, "focal_px": focal_px, "inliers": flags, "inliers_offsets": offsets}
