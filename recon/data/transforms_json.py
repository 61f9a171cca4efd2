"""nerfstudio's `transforms.json`, which instant-ngp and Blender data share: read it with care, write it to the letter.

Its `transform_matrix` is camera-to-world with OpenGL axes (x right, y up, z backward); ours is camera from world with
OpenCV axes (x right, y down, z forward). Its `cx`, `cy` count from the corner of the first pixel, as ours do.
"""

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.data.decode import UnreadablePhotoError, photo_size
from recon.data.folder import find_by_stem
from recon.data.known_cameras import KnownCameras
from recon.errors import InputError
from recon.files import write_json
from recon.geometry import inverse_se3
from recon.plyio import read_points
from recon.types import Cameras, PointCloud

log = logging.getLogger(__name__)

OPENCV_FROM_OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "PERSPECTIVE", "SIMPLE_RADIAL", "RADIAL", "")
DISTORTION_KEYS = ("k1", "k2", "p1", "p2", "k3")
RIGID_TOLERANCE = 1e-3
"""How far R R^T may be from the identity, after taking out a common scale: files keep six digits or more."""
MAX_SIDE = 1_000_000

Frame = Mapping[str, Any]


def read_transforms(path: Path | str, dtype: torch.dtype = torch.float32) -> KnownCameras:
    """Read `transforms.json` (or our `cameras.json`), given the file or its folder; cameras of type `dtype`.

    Sizes that the file leaves out (Blender data) are read from the photos beside it. Poses and points stay in the
    file's world; `applied_transform` only documents how that came about. A file of points that is not there is done
    without.

    Raises:
        InputError: missing or malformed; says which frame and which key.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "transforms.json"
    meta = _load(path)
    frames = _frames(meta, path)
    unplaced = [frame for frame in meta.get("unregistered_frames", []) if isinstance(frame, dict)]
    parsed = [_Frame(path, meta, frame, i) for i, frame in enumerate(frames)]
    parsed += [_Frame(path, meta, frame, i, placed=False) for i, frame in enumerate(unplaced)]
    distortion = torch.tensor([frame.distortion() for frame in parsed])
    sizes = [frame.size() for frame in parsed]
    cameras = Cameras(
        torch.stack([frame.cam_from_world() for frame in parsed]).to(dtype),
        torch.stack([frame.K(size) for frame, size in zip(parsed, sizes)]).to(dtype),
        torch.tensor([size[0] for size in sizes]),
        torch.tensor([size[1] for size in sizes]),
        torch.tensor([frame.placed and bool(frame.values.get("registered", True)) for frame in parsed]),
        torch.tensor([frame.number("confidence", 1.0 if frame.placed else 0.0) for frame in parsed], dtype=dtype),
    )
    masks = tuple(frame.values.get("mask_path") for frame in parsed)
    photos = tuple(frame.photo for frame in parsed)
    points = meta.get("ply_file_path")
    is_bent = bool(distortion.any())
    return KnownCameras(
        tuple(frame.name for frame in parsed),
        cameras,
        None if points is None else _points(path.parent / str(points)),
        distortion if is_bent else None,
        masks if any(masks) else None,
        (f"{path.name} describes lens distortion: photos are straightened before use.",) if is_bent else (),
        photos if any(photos) else None,
    )


def _points(path: Path) -> PointCloud | None:
    try:
        return read_points(path)
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise
        log.warning("Points left out: there is no %s.", path)
        return None


def read_frames(path: Path) -> list[Frame]:
    """The frames of the file `path` as they stand there, in its order.

    Raises:
        InputError: missing or malformed.
    """
    return list(_frames(_load(path), path))


def write_transforms(
    path: Path | str,
    names: Sequence[str],
    cameras: Cameras,
    *,
    images: Path | str = ".",
    points: Path | str | None = None,
    extra: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write `cameras` of the photos `names` as a `transforms.json` that nerfstudio opens as it is, atomically.

    `images` is the folder of the photos and `points` a PLY file, both absolute, or relative to the file's folder; the
    pictures there must have the cameras' sizes. `extra` adds keys to each frame. Photos that could not be placed go to
    `unregistered_frames`, where other programs do not look.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    path = Path(path)
    opengl = cameras.world_from_cam.double().cpu() @ OPENCV_FROM_OPENGL
    placed: list[dict[str, Any]] = []
    unplaced: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        frame = {"file_path": _relative(Path(images) / name, path.parent), **_intrinsics(cameras, i)}
        registered = bool(cameras.registered[i])
        if registered:
            frame["transform_matrix"] = opengl[i].tolist()
        frame |= {"registered": registered, "confidence": round(float(cameras.confidence[i]), 6)}
        frame |= extra[i] if extra is not None else {}
        (placed if registered else unplaced).append(frame)
    meta: dict[str, Any] = {"camera_model": "OPENCV"}
    if points is not None:
        meta["ply_file_path"] = _relative(Path(points), path.parent)
    meta["frames"] = placed
    if unplaced:
        meta["unregistered_frames"] = unplaced
    write_json(path, meta)


class _Frame:
    """One frame with the file's shared values behind its own."""

    def __init__(self, path: Path, meta: Frame, frame: Frame, index: int, placed: bool = True) -> None:
        self.path, self.placed = path, placed
        self.values: dict[str, Any] = {**{k: v for k, v in meta.items() if k != "frames"}, **frame}
        self.where = f"{path}, frame {index}"
        name = frame.get("file_path")
        if not isinstance(name, str) or not name:
            raise InputError(f"{self.where} has no file_path. Add the photo's name.")
        self.name = name.removeprefix("./")
        photo = frame.get("photo")
        self.photo = photo if isinstance(photo, str) and photo else None
        self.where += f" ({self.name})"

    def number(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{self.where}: {key} is {value!r}, a finite number is needed.")
        return float(value)

    def size(self) -> tuple[int, int]:
        """Width and height: stated, or read from the photo."""
        if "w" in self.values and "h" in self.values:
            size = (round(self.number("w")), round(self.number("h")))
            if min(size) < 1 or max(size) > MAX_SIDE:
                raise InputError(f"{self.where}: w and h are {size[0]} and {size[1]}; need 1 to {MAX_SIDE} pixels.")
            return size
        photo = self.path.parent / self.name
        found = photo if photo.is_file() else find_by_stem(photo.parent, (photo.name,))
        if found is None:
            raise InputError(f"{self.where} states no w and h, and there is no photo {photo} to read them from.")
        try:
            return photo_size(found)
        except UnreadablePhotoError as error:
            raise InputError(f"{self.where} states no w and h, and its photo cannot be read: {error}.") from error

    def K(self, size: tuple[int, int]) -> Float[Tensor, "3 3"]:
        """Intrinsics in pixels: `fl_x`, else `camera_angle_x` in radians."""
        if "fl_x" in self.values:
            fx = self.number("fl_x")
        elif "camera_angle_x" in self.values:
            fx = 0.5 * size[0] / math.tan(0.5 * self.number("camera_angle_x"))
        else:
            raise InputError(f"{self.where} has neither fl_x nor camera_angle_x. Add the focal length in pixels.")
        if "fl_y" in self.values:
            fy = self.number("fl_y")
        elif "camera_angle_y" in self.values:
            fy = 0.5 * size[1] / math.tan(0.5 * self.number("camera_angle_y"))
        else:
            fy = fx
        if not (fx > 0 and fy > 0):
            raise InputError(f"{self.where}: the focal lengths are {fx:g} and {fy:g}; both must be positive.")
        cx, cy = self.number("cx", 0.5 * size[0]), self.number("cy", 0.5 * size[1])
        return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def distortion(self) -> list[float]:
        """OpenCV's eight coefficients."""
        model = str(self.values.get("camera_model", ""))
        if model.upper() not in PINHOLE_MODELS:
            raise InputError(
                f"{self.where}: camera model {model} is not supported (supported: {', '.join(PINHOLE_MODELS[:-1])}). "
                "Undistort the photos to pinhole cameras first."
            )
        if self.number("k4", 0.0) != 0.0:
            raise InputError(f"{self.where}: distortion k4 is not supported. Undistort the photos first.")
        return [self.number(key, 0.0) for key in DISTORTION_KEYS] + [0.0, 0.0, 0.0]

    def cam_from_world(self) -> Float[Tensor, "4 4"]:
        """OpenCV camera from world; the identity for a photo that was not placed."""
        if not self.placed:
            return torch.eye(4, dtype=torch.float64)
        if "transform_matrix" not in self.values:
            raise InputError(f"{self.where} has no transform_matrix. Add the 4 x 4 camera-to-world matrix.")
        world_from_opengl = self._matrix(self.values["transform_matrix"])
        return inverse_se3(world_from_opengl @ OPENCV_FROM_OPENGL)

    def _matrix(self, value: Any) -> Float[Tensor, "4 4"]:
        try:
            matrix = torch.tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.where}: transform_matrix is not a 4 x 4 matrix of numbers.") from error
        if matrix.shape == (3, 4):
            matrix = torch.cat([matrix, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)])
        if matrix.shape != (4, 4) or not bool(torch.isfinite(matrix).all()):
            raise InputError(f"{self.where}: transform_matrix must be 4 x 4 finite numbers, got {list(matrix.shape)}.")
        return rigid(matrix, self.where)


def rigid(matrix: Float[Tensor, "4 4"], where: str) -> Float[Tensor, "4 4"]:
    """A rotation with a common scale divided out (some exporters leave one in), polished to full precision.

    Raises:
        InputError: sheared, mirrored or singular.
    """
    A = matrix[:3, :3]
    determinant = float(torch.linalg.det(A))
    R = A / (determinant if determinant > 0 else math.nan) ** (1 / 3)
    if not float((R @ R.T - torch.eye(3, dtype=R.dtype)).abs().max()) < RIGID_TOLERANCE:
        kind = "mirrored or singular" if not determinant > 0 else "sheared"
        raise InputError(f"{where}: the camera's rotation is {kind} (determinant {determinant:.3g}). Check its axes.")
    U, _, Vh = torch.linalg.svd(R)
    out = matrix.clone()
    out[:3, :3] = U @ Vh
    return out


def _load(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}). Export it again.") from error
    if not isinstance(meta, dict):
        raise InputError(f"{path} holds a {type(meta).__name__}, not an object with `frames`. Give a transforms.json.")
    return meta


def _frames(meta: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    frames = meta.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{path} has no list of `frames` (keys found: {', '.join(meta) or 'none'}).")
    return frames


def _intrinsics(cameras: Cameras, i: int) -> dict[str, Any]:
    K = cameras.Ks[i].double().cpu()
    values = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    size = {"w": int(cameras.width[i]), "h": int(cameras.height[i])}
    return size | {key: float(value) for key, value in values.items()}


def _relative(target: Path, folder: Path) -> str:
    """`target` as nerfstudio wants it: with forward slashes, relative to the file's folder."""
    if target.is_absolute():
        target = Path(os.path.relpath(target, folder.resolve()))
    return target.as_posix()
