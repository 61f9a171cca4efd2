"""COLMAP models to and from `Cameras` and `PointCloud`. COLMAP's axes and pixel corner are ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.data.colmap_files import (
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    ColmapPoint,
    read_files,
    write_files,
)
from recon.data.known_cameras import KnownCameras
from recon.errors import InputError
from recon.geometry import make_se3, quat_to_rotmat, rotmat_to_quat
from recon.types import Cameras, PointCloud

SUBFOLDERS = ("", "sparse/0", "sparse", "colmap/sparse/0", "0")


@dataclass(frozen=True)
class Observations:
    """Which photo saw which point where: M sightings."""

    view: Int[Tensor, " M"]
    """Index into the cameras."""
    point: Int[Tensor, " M"]
    """Index into the points."""
    uv: Float[Tensor, "M 2"]
    """Pixels."""


def find_model(path: Path) -> Path | None:
    """The folder with the model's files: `path` itself or one of the usual places in it."""
    for sub in SUBFOLDERS:
        if any((path / sub / name).is_file() for name in ("cameras.bin", "cameras.txt")):
            return path / sub
    return None


def read_model(path: Path | str, dtype: torch.dtype = torch.float32) -> KnownCameras:
    """Read a COLMAP model (binary or text) from `path`, or from `sparse/0` and the like in it; cameras of type `dtype`.

    Point confidence is COLMAP's mean reprojection error e in pixels as 1 / (1 + e); 1 where not computed.

    Raises:
        InputError: no model there, damaged files, or a camera model other than pinhole with Brown-Conrady distortion.
    """
    folder = find_model(Path(path))
    if folder is None:
        raise InputError(
            f"{path} holds no COLMAP model (no cameras.bin or cameras.txt). Give a folder such as sparse/0."
        )
    model = read_files(folder)
    if not model.images:
        raise InputError(f"{folder} holds no images with poses. Give another COLMAP model.")
    images = sorted(model.images.values(), key=lambda image: image.name)
    lenses = [_camera_of(image, model, folder) for image in images]
    quats = torch.tensor([image.quat for image in images], dtype=torch.float64)
    t = torch.tensor([image.translation for image in images], dtype=torch.float64)
    if not bool(torch.isfinite(quats).all() & torch.isfinite(t).all() & (quats.norm(dim=1) > 0).all()):
        raise InputError(f"{folder} has a pose that is not a rotation and translation. Export the model again.")
    intrinsics = [_intrinsics(lens, folder) for lens in lenses]
    distortion = torch.stack([bend for _, bend in intrinsics])
    cameras = Cameras.create(
        make_se3(quat_to_rotmat(quats), t).to(dtype),
        torch.stack([K for K, _ in intrinsics]).to(dtype),
        torch.tensor([lens.width for lens in lenses]),
        torch.tensor([lens.height for lens in lenses]),
    )
    is_bent = bool(distortion.any())
    return KnownCameras(
        tuple(image.name for image in images),
        cameras,
        _point_cloud(model) if model.points else None,
        distortion if is_bent else None,
        None,
        (f"{folder} describes lens distortion: photos are straightened before use.",) if is_bent else (),
    )


def write_model(
    folder: Path | str,
    names: Sequence[str],
    cameras: Cameras,
    points: PointCloud,
    observations: Observations | None = None,
) -> None:
    """Write `cameras.bin`, `images.bin` and `points3D.bin` to `folder`; photos that were not placed are left out.

    Photos with equal intrinsics share a camera. Without `observations` the points have empty tracks, which viewers and
    splat trainers accept.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    placed = [i for i in range(len(names)) if bool(cameras.registered[i])]
    lenses = {i: _colmap_camera(cameras, i) for i in placed}
    camera_ids = {lens: k for k, lens in enumerate(dict.fromkeys(lenses.values()), start=1)}
    seen, tracks = _observations(observations, set(placed))
    quats = rotmat_to_quat(cameras.cam_from_world[:, :3, :3].double().cpu()).tolist()
    t = cameras.cam_from_world[:, :3, 3].double().cpu().tolist()
    images = {
        i + 1: ColmapImage(names[i], camera_ids[lenses[i]], tuple(quats[i]), tuple(t[i]), tuple(seen.get(i, ())))
        for i in placed
    }
    xyz = points.xyz.double().cpu().tolist()
    rgb = (points.rgb.clamp(0, 1) * 255).round().int().cpu().tolist()
    cloud = {
        k + 1: ColmapPoint(tuple(xyz[k]), tuple(rgb[k]), -1.0, tuple(tracks.get(k, ()))) for k in range(len(points))
    }
    write_files(Path(folder), ColmapModel({k: lens for lens, k in camera_ids.items()}, images, cloud))


def _observations(
    observations: Observations | None, placed: set[int]
) -> tuple[dict[int, list[tuple[float, float, int]]], dict[int, list[tuple[int, int]]]]:
    """Per view its sightings, and per point its track, with COLMAP's ids (from 1)."""
    seen: dict[int, list[tuple[float, float, int]]] = {}
    tracks: dict[int, list[tuple[int, int]]] = {}
    if observations is None:
        return seen, tracks
    uv = observations.uv.double().tolist()
    for view, point, (x, y) in zip(observations.view.tolist(), observations.point.tolist(), uv):
        if view in placed:
            of_view = seen.setdefault(view, [])
            tracks.setdefault(point, []).append((view + 1, len(of_view)))
            of_view.append((x, y, point + 1))
    return seen, tracks


def _camera_of(image: ColmapImage, model: ColmapModel, folder: Path) -> ColmapCamera:
    if image.camera_id not in model.cameras:
        raise InputError(f"{folder}: {image.name} uses camera {image.camera_id}, which is missing. Export it again.")
    return model.cameras[image.camera_id]


def _intrinsics(camera: ColmapCamera, folder: Path) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "8"]]:
    """K and OpenCV's k1 k2 p1 p2 k3 k4 k5 k6."""
    p = camera.params
    fxy, rest = {
        "SIMPLE_PINHOLE": ((p[0], p[0]), p[1:]),
        "SIMPLE_RADIAL": ((p[0], p[0]), p[1:]),
        "RADIAL": ((p[0], p[0]), p[1:]),
        "PINHOLE": (p[:2], p[2:]),
        "OPENCV": (p[:2], p[2:]),
        "FULL_OPENCV": (p[:2], p[2:]),
    }.get(camera.model, (None, p))
    if fxy is None:
        raise InputError(
            f"{folder}: camera model {camera.model} is not supported. Run `colmap image_undistorter` first and give "
            "its photos and sparse model."
        )
    (cx, cy), bend = rest[:2], rest[2:]
    sane = np.isfinite(p).all() and min(fxy) > 0 and 0 < camera.width < 1_000_000 and 0 < camera.height < 1_000_000
    if not sane:
        raise InputError(f"{folder}: camera {camera} makes no sense. Export the COLMAP model again.")
    K = torch.tensor([[fxy[0], 0.0, cx], [0.0, fxy[1], cy], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return K, torch.tensor([*bend, *[0.0] * (8 - len(bend))])


def _colmap_camera(cameras: Cameras, i: int) -> ColmapCamera:
    K = cameras.Ks[i].double().cpu()
    params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    return ColmapCamera("PINHOLE", int(cameras.width[i]), int(cameras.height[i]), params)


def _point_cloud(model: ColmapModel) -> PointCloud:
    points = [model.points[k] for k in sorted(model.points)]
    error = torch.tensor([point.error_px for point in points], dtype=torch.float32)
    xyz = torch.tensor([point.xyz for point in points], dtype=torch.float32)
    keep = torch.isfinite(xyz).all(1)
    confidence = torch.where(error >= 0, 1 / (1 + error.clamp_min(0)), torch.ones_like(error))
    rgb = (torch.tensor([point.rgb for point in points], dtype=torch.float32) / 255).clamp(0, 1)
    return PointCloud(xyz[keep], rgb[keep], confidence[keep])
