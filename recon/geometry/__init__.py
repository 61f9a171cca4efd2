"""Pure geometry: rotations, rigid motions, similarities, pinhole projection, two and more views.

Functions of tensors without state; batched over leading dimensions, differentiable, float32 or float64. Frames are
named in the order in which they compose, `a_from_b @ b_from_c`; see `recon.types` for axes and pixels.
"""

from recon.geometry.cameras import focus_point, fov_rad, normalizing_sim3, scene_center, viewing_angles
from recon.geometry.epipolar import (
    epipolar_distance,
    essential_from_poses,
    fundamental_from_cameras,
    sampson_distance,
)
from recon.geometry.projection import (
    directions_in_camera,
    pixel_grid,
    pixel_rays,
    project,
    unproject,
    unproject_depth,
)
from recon.geometry.se3 import (
    adjoint,
    exp_se3,
    interpolate_poses,
    inverse_se3,
    log_se3,
    look_at,
    make_se3,
    transform_points,
)
from recon.geometry.sim3 import Sim3, umeyama
from recon.geometry.so3 import exp_so3, hat, log_so3, quat_to_rotmat, rotation_angle, rotmat_to_quat
from recon.geometry.triangulation import angle_between, max_parallax, parallax_angles, triangulate_dlt

__all__ = [
    "Sim3",
    "adjoint",
    "angle_between",
    "directions_in_camera",
    "epipolar_distance",
    "essential_from_poses",
    "exp_se3",
    "exp_so3",
    "focus_point",
    "fov_rad",
    "fundamental_from_cameras",
    "hat",
    "interpolate_poses",
    "inverse_se3",
    "log_se3",
    "log_so3",
    "look_at",
    "make_se3",
    "max_parallax",
    "normalizing_sim3",
    "parallax_angles",
    "pixel_grid",
    "pixel_rays",
    "project",
    "quat_to_rotmat",
    "rotation_angle",
    "rotmat_to_quat",
    "sampson_distance",
    "scene_center",
    "transform_points",
    "triangulate_dlt",
    "umeyama",
    "unproject",
    "unproject_depth",
    "viewing_angles",
]
