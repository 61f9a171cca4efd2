"""Bundle adjustment of cameras that something else has guessed: a feed-forward model, say, right within degrees."""

import tempfile
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from recon.sfm.database import Geometries, Photos, make_camera, verify, write_database
from recon.sfm.mapping import export_geometries, export_model, few_view_options
from recon.sfm.packing import Arrays

MIN_LINK = 30
"""Matches that a pair needs to tie its photos: fewer can all be wrong (measured as the second-best link of photos)."""
ROUNDS_PX = (64.0, 16.0, 4.0)
"""Reprojection errors that are still believed, round by round: 64 working pixels are some 4 degrees, as far as
feed-forward models are usually off; 4 is COLMAP's own limit."""
ROBUST_PX = 1.0
"""Scale of the loss: matches are good to about a pixel, and what is off by more must not pull quadratically."""


def refine(arrays: Arrays) -> Arrays:
    """Verify the matches, triangulate them with the given cameras, and adjust the cameras to them.

    Args:
        arrays: the fields of `Photos`; `cam_from_world` [V, 4, 4]; `start_focal_px` [C] per camera group;
            `refine_focal` (0 or 1; not done for fewer than three photos, which do not determine it); `seed`;
            `time_limit_s`.

    Returns:
        As `mapping.map_photos`: `model0` with the cameras as given, `model1` with those that are tied, adjusted,
        missing where there is too little to adjust; `tied` [V] (0 or 1), the photos of the largest group that strong
        pairs hold together.
    """
    photos, poses, focal_px = Photos.read(arrays), arrays["cam_from_world"], arrays["start_focal_px"]
    geometries = verify(photos, int(arrays["seed"]))
    tied = _largest_group(geometries, len(poses))
    solver = _Solver(photos, geometries, int(arrays["seed"]), float(arrays["time_limit_s"]))
    models = {"model0": solver.triangulate(poses, focal_px, ROUNDS_PX[-1])}
    if tied.any():
        start = np.where(tied[:, None, None], poses, np.nan)
        adjusted = solver.adjust(start, focal_px, bool(arrays["refine_focal"]) and tied.sum() >= 3)
        models |= {"model1": adjusted} if adjusted is not None else {}
    result = export_geometries(photos, geometries) | {"tied": tied.astype(np.int64)}
    for name, model in models.items():
        result |= export_model(model, len(poses), len(photos.sizes), name)
    return result


class _Solver:
    """Triangulation and adjustment of one set of matches."""

    def __init__(self, photos: Photos, geometries: Geometries, seed: int, seconds: float) -> None:
        self.photos, self.geometries, self.seed, self.seconds = photos, geometries, seed, seconds

    def adjust(self, poses: NDArray, focal_px: NDArray, refine_focal: bool) -> pycolmap.Reconstruction | None:
        """Alternate triangulation and adjustment, believing less and less error; None once too few points are left."""
        for limit_px in ROUNDS_PX:
            model = self.triangulate(poses, focal_px, limit_px)
            if model.num_points3D() < MIN_LINK:
                return None
            pycolmap.bundle_adjustment(model, _adjustment(refine_focal))
            poses, focal_px = _read_back(model, poses, focal_px)
        return self.triangulate(poses, focal_px, ROUNDS_PX[-1])

    def triangulate(self, poses: NDArray, focal_px: NDArray, limit_px: float) -> pycolmap.Reconstruction:
        """Points of all verified matches for fixed cameras, wherever the rays pass within `limit_px`."""
        sizes = self.photos.sizes
        cameras = [make_camera(size, f, camera_id=c + 1) for c, (size, f) in enumerate(zip(sizes, focal_px))]
        options = few_view_options(self.seed, self.seconds)
        options.fix_existing_frames = True
        options.ba_refine_focal_length = False
        options.mapper.filter_max_reproj_error = limit_px
        options.triangulation.complete_max_reproj_error = options.triangulation.merge_max_reproj_error = limit_px
        angle = float(np.degrees(np.arctan(limit_px / focal_px.min())))
        options.triangulation.create_max_angle_error = options.triangulation.continue_max_angle_error = angle
        with tempfile.TemporaryDirectory(prefix="recon-refine-") as folder:
            path = Path(folder) / "database.db"
            write_database(path, self.photos, self.geometries, cameras)
            model = self._at(poses, cameras)
            return pycolmap.triangulate_points(model, path, folder, folder, clear_points=True, options=options)

    def _at(self, poses: NDArray, cameras: list[pycolmap.Camera]) -> pycolmap.Reconstruction:
        """A reconstruction without points; photos whose pose is NaN are not registered in it."""
        model = pycolmap.Reconstruction()
        for camera in cameras:
            model.add_camera_with_trivial_rig(camera)
        for index, (keypoints, group, pose) in enumerate(zip(self.photos.keypoints, self.photos.camera_of, poses)):
            image = pycolmap.Image(
                name=f"{index:06d}",
                keypoints=keypoints.astype(np.float64),
                camera_id=int(group) + 1,
                image_id=index + 1,
            )
            known = np.isfinite(pose).all()
            model.add_image_with_trivial_frame(image, *([pycolmap.Rigid3d(pose[:3])] if known else []))
        return model


def _adjustment(refine_focal: bool) -> pycolmap.BundleAdjustmentOptions:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = refine_focal
    options.refine_extra_params = False
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.loss_function_scale = ROBUST_PX
    options.ceres.solver_options.num_threads = 1  # bundles this small only lose time to threads
    return options


def _read_back(model: pycolmap.Reconstruction, poses: NDArray, focal_px: NDArray) -> tuple[NDArray, NDArray]:
    """Poses [V, 4, 4] and focal lengths [C] of `model`; those it does not have stay."""
    poses, focal_px = poses.copy(), focal_px.copy()
    for image_id in model.reg_image_ids():
        poses[image_id - 1, :3] = model.image(image_id).cam_from_world().matrix()
        camera_id = model.image(image_id).camera_id
        focal_px[camera_id - 1] = model.camera(camera_id).mean_focal_length()
    return poses, focal_px


def _largest_group(geometries: Geometries, n: int) -> NDArray:
    """[V] bool: the largest set of photos connected by pairs of at least `MIN_LINK` verified matches."""
    group = np.arange(n)
    for (i, j), geometry in geometries.items():
        if len(geometry.inlier_matches) >= MIN_LINK:
            group[group == group[j]] = group[i]
    sizes = np.bincount(group, minlength=n)
    return (group == sizes.argmax()) & (sizes.max() > 1)
