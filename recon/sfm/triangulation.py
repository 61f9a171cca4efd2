"""Points for cameras that are already known."""

import tempfile
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from recon.sfm.database import Geometries, Photos, write_database
from recon.sfm.mapping import export_geometries, export_model, few_view_options
from recon.sfm.packing import Arrays

MAX_SAMPSON_PX = 3.0
CALIBRATED = int(pycolmap.TwoViewGeometryConfiguration.CALIBRATED)


def triangulate(arrays: Arrays) -> Arrays:
    """Triangulate the matches that agree with given cameras; the cameras stay exactly as they are.

    Args:
        arrays: the fields of `Photos` with one camera group per photo, `Ks` [V, 3, 3], `cam_from_world` [V, 4, 4]
            (NaN for photos without a pose), `seed`, `time_limit_s`.

    Returns:
        As `mapping.map_photos`, with the single model `model0`.
    """
    photos, Ks, poses = Photos.read(arrays), arrays["Ks"], arrays["cam_from_world"]
    geometries = _agreeing(photos, Ks, poses)
    cameras = [_pinhole(photos.sizes[index], K, index + 1) for index, K in enumerate(Ks)]
    model = _given_model(photos, cameras, poses)
    with tempfile.TemporaryDirectory(prefix="recon-triangulate-") as folder:
        path = Path(folder) / "database.db"
        write_database(path, photos, geometries, cameras)
        options = few_view_options(int(arrays["seed"]), float(arrays["time_limit_s"]))
        options.fix_existing_frames = True
        options.ba_refine_focal_length = False
        model = pycolmap.triangulate_points(model, path, folder, folder, clear_points=True, options=options)
    result = export_model(model, len(photos.keypoints), len(photos.sizes), "model0")
    result["model0_cam_from_world"] = poses  # not even the last digit of a given camera changes
    return export_geometries(photos, geometries) | result


def _pinhole(size: NDArray, K: NDArray, camera_id: int) -> pycolmap.Camera:
    return pycolmap.Camera(
        camera_id=camera_id,
        model=pycolmap.CameraModelId.PINHOLE,
        width=int(size[0]),
        height=int(size[1]),
        params=[K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
        has_prior_focal_length=True,
    )


def _given_model(photos: Photos, cameras: list[pycolmap.Camera], poses: NDArray) -> pycolmap.Reconstruction:
    model = pycolmap.Reconstruction()
    for index, (camera, pose) in enumerate(zip(cameras, poses)):
        model.add_camera_with_trivial_rig(camera)
        image = pycolmap.Image(
            name=f"{index:06d}",
            keypoints=photos.keypoints[index].astype(np.float64),
            camera_id=index + 1,
            image_id=index + 1,
        )
        known = np.isfinite(pose).all()
        model.add_image_with_trivial_frame(image, *([pycolmap.Rigid3d(pose[:3])] if known else []))
    return model


def _agreeing(photos: Photos, Ks: NDArray, poses: NDArray) -> Geometries:
    """Matches within `MAX_SAMPSON_PX` of the known epipolar geometry (Hartley & Zisserman 11.4.3)."""
    geometries = {}
    for (i, j), matches in photos.matches.items():
        geometry = pycolmap.TwoViewGeometry()
        if np.isfinite(poses[[i, j]]).all() and len(matches):
            relative = poses[j] @ np.linalg.inv(poses[i])
            t = relative[:3, 3]
            E = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]]) @ relative[:3, :3]
            F = np.linalg.inv(Ks[j]).T @ E @ np.linalg.inv(Ks[i])
            a, b = (
                np.concatenate([photos.keypoints[v][matches[:, side]], np.ones((len(matches), 1))], axis=1)
                for side, v in enumerate((i, j))
            )
            line_b, line_a = a @ F.T, b @ F
            slope = (line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1)
            good = np.abs((b * line_b).sum(1)) < MAX_SAMPSON_PX * np.sqrt(slope + 1e-30)
            geometry.config = CALIBRATED
            geometry.inlier_matches = matches[good].astype(np.uint32)
        geometries[i, j] = geometry
    return geometries
