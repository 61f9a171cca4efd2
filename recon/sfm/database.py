"""What the mapper starts from: photos that share lenses, verified pairs, and a throw-away COLMAP database of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from recon.sfm.packing import Arrays, PairMatches, unpack, unpack_pairs

FALLBACK_FOCAL = 1.2
"""COLMAP's own guess for an unknown focal length, in longest sides (about a 45 degree view)."""

Geometries = dict[tuple[int, int], pycolmap.TwoViewGeometry]


@dataclass(frozen=True)
class Photos:
    """Everything known before mapping. COLMAP's image ids are photo indices + 1, its camera ids group indices + 1."""

    keypoints: list[NDArray]
    matches: PairMatches
    camera_of: NDArray
    """[V] group of each photo; the photos of a group share one camera."""
    sizes: NDArray
    """[C, 2] width and height per group."""
    focal_px: NDArray
    """[C]; NaN where unknown."""

    @staticmethod
    def read(arrays: Arrays) -> "Photos":
        matches = unpack_pairs("matches", arrays)
        return Photos(unpack("keypoints", arrays), matches, arrays["camera_of"], arrays["sizes"], arrays["focal_px"])

    def camera(self, group: int, focal_factor: float = FALLBACK_FOCAL) -> pycolmap.Camera:
        """The group's camera; an unknown focal length is `focal_factor` longest sides, and not trusted."""
        known = bool(np.isfinite(self.focal_px[group]))
        focal = self.focal_px[group] if known else focal_factor * self.sizes[group].max()
        return make_camera(self.sizes[group], focal, trusted=known, camera_id=int(group) + 1)


def make_camera(size: NDArray, focal_px: float, *, trusted: bool = True, camera_id: int = 1) -> pycolmap.Camera:
    """A pinhole with square pixels and its principal point in the middle: all that a few photos can determine."""
    width, height = int(size[0]), int(size[1])
    return pycolmap.Camera(
        camera_id=camera_id,
        model=pycolmap.CameraModelId.SIMPLE_PINHOLE,
        width=width,
        height=height,
        params=[float(focal_px), width / 2, height / 2],
        has_prior_focal_length=trusted,
    )


def verify(photos: Photos, seed: int) -> Geometries:
    """The geometry that each pair's matches agree on. Thresholds are few-view settings measured on nine scenes."""
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = 10
    options.detect_watermark = False  # an object on a plain turntable looks like a watermark
    options.compute_relative_pose = True
    options.ransac.max_error = 3.0
    options.ransac.max_num_trials = 20_000
    options.ransac.random_seed = seed
    points = [part.astype(np.float64) for part in photos.keypoints]
    cameras = [photos.camera(group) for group in photos.camera_of]
    return {
        (i, j): pycolmap.estimate_two_view_geometry(
            cameras[i], points[i], cameras[j], points[j], matches.astype(np.uint32), options
        )
        for (i, j), matches in photos.matches.items()
    }


def write_database(path: Path, photos: Photos, geometries: Geometries, cameras: list[pycolmap.Camera]) -> None:
    """A database with one trivial rig per camera and one frame per photo, as COLMAP's own readers would make it."""
    with pycolmap.Database.open(path) as database:
        for camera in cameras:
            database.write_camera(camera, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=camera.camera_id)
            rig.add_ref_sensor(camera.sensor_id)
            database.write_rig(rig, use_rig_id=True)
        for index, (points, group) in enumerate(zip(photos.keypoints, photos.camera_of)):
            _write_photo(database, index, int(group), points)
        for (i, j), geometry in geometries.items():
            database.write_matches(i + 1, j + 1, photos.matches[i, j].astype(np.uint32))
            database.write_two_view_geometry(i + 1, j + 1, geometry)


def _write_photo(database: pycolmap.Database, index: int, group: int, points: NDArray) -> None:
    image = pycolmap.Image(name=f"{index:06d}", camera_id=group + 1, image_id=index + 1)
    frame = pycolmap.Frame(frame_id=index + 1, rig_id=group + 1)
    frame.add_data_id(image.data_id)
    database.write_image(image, use_image_id=True)
    database.write_frame(frame, use_frame_id=True)
    database.write_keypoints(index + 1, points.astype(np.float32))
