"""Cameras as bare numbers beside the photos: DTU and SpaRe projection matrices, LLFF's `poses_bounds.npy`.

Neither states photo names, and the former no sizes, so both are read together with the photos: those beside
them, or those in a folder that the caller names.
"""

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon.data.arrays import read_array
from recon.data.decode import UnreadablePhotoError, photo_size
from recon.data.folder import list_photos, natural_key
from recon.data.known_cameras import KnownCameras
from recon.data.transforms_json import MAX_SIDE, rigid
from recon.errors import InputError
from recon.geometry import inverse_se3
from recon.types import Cameras

POSITION_FILE = re.compile(r"pos_(\d+)\.txt", re.IGNORECASE)
PHOTO_FOLDERS = ("images", "image", "rgb", ".", "../images", "../image")
"""Where photos lie relative to the numbers, in the order of search; what the caller names comes after them."""
LLFF_COLUMNS = 17
# LLFF's camera axes are (down, right, backward); these columns are OpenCV's (right, down, forward).
LLFF_FROM_OPENCV = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]], dtype=torch.float64)


def position_files(folder: Path) -> list[Path]:
    """The `pos_XXX.txt` files in `folder`, by number."""
    try:
        files = [path for path in folder.iterdir() if POSITION_FILE.fullmatch(path.name)]
    except OSError as error:
        raise InputError(f"Could not list {folder}: {error.strerror or error}. Check its permissions.") from error
    return sorted(files, key=lambda path: natural_key(path.name))


def read_positions(folder: Path, photos: Path | None = None) -> KnownCameras:
    """Read DTU's or SpaRe's `pos_XXX.txt`: a 3 x 4 projection matrix P = K [R | t] each, in pixels, OpenCV axes.

    A matrix belongs to the photo whose first number is its own (`pos_001.txt`: `rect_001_3_r5000.png`,
    `cam_001_3_0000.png`); among several, such as DTU's lightings, to each of them.

    Raises:
        InputError: no photos, a file that is not such a matrix, or one without a photo.
    """
    files = position_files(folder)
    if not files:
        raise InputError(f"{folder} holds no pos_XXX.txt. Give the folder with the projection matrices.")
    by_number: dict[int, list[Path]] = {}
    for path in _photo_lists(folder, photos)[0]:
        if numbers := re.findall(r"\d+", path.stem):
            by_number.setdefault(int(numbers[0]), []).append(path)
    names: list[str] = []
    poses, Ks, sizes = [], [], []
    for file in files:
        number = int(file.stem.split("_")[1])
        for path in by_number.get(number, []):
            K, cam_from_world = decompose(read_projection(file), str(file))
            names.append(path.name)
            poses.append(cam_from_world)
            Ks.append(K)
            sizes.append(_size(path))
    if not names:
        raise InputError(f"No photo has the number of any of the {len(files)} pos files in {folder}. Check the names.")
    return _known(names, torch.stack(poses), torch.stack(Ks), sizes)


def read_llff(path: Path, photos: Path | None = None) -> KnownCameras:
    """Read LLFF's `poses_bounds.npy`, whose rows are in the order of the photos' names as text.

    Raises:
        InputError: not such a file, or another number of photos.
    """
    cameras, _ = read_poses_bounds(path)
    lists = _photo_lists(path.parent, photos)
    found = next((photos for photos in lists if len(photos) == len(cameras)), None)
    if found is None:
        counts = ", ".join(f"{len(photos)} in {photos[0].parent}" for photos in lists)
        raise InputError(
            f"{path} has cameras for {len(cameras)} photos, but there are {counts}. "
            "The cameras are in the order of the photos' names, so every photo must be there."
        )
    float32 = replace(
        cameras, **{name: getattr(cameras, name).float() for name in ("cam_from_world", "Ks", "confidence")}
    )
    return KnownCameras(tuple(sorted(photo.name for photo in found)), float32)


def read_poses_bounds(path: Path) -> tuple[Cameras, Float[Tensor, "V 2"]]:
    """The cameras (float64) and the nearest and farthest depths in LLFF's `poses_bounds.npy`.

    A row of 17 numbers is a 3 x 5 matrix [R | t | (height, width, focal)], camera to world with axes (down, right,
    backward), and the two depths. The principal point is the middle of the picture.

    Raises:
        InputError: not such a file.
    """
    rows = read_array(path)
    if rows.ndim != 2 or rows.shape[1] != LLFF_COLUMNS or not np.isfinite(rows).all():
        raise InputError(f"{path} must hold rows of {LLFF_COLUMNS} numbers, found shape {list(rows.shape)}.")
    if len(rows) == 0:
        raise InputError(f"{path} holds no cameras. Export it again.")
    matrices = torch.from_numpy(rows[:, :15].astype(np.float64)).reshape(-1, 3, 5)
    height, width, focal = matrices[:, :, 4].unbind(1)
    if not bool(((focal > 0) & (width >= 1) & (height >= 1) & (width.maximum(height) < MAX_SIDE)).all()):
        raise InputError(f"{path} has a focal length or size that makes no sense. Export it again.")
    world_from_cam = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    world_from_cam[:, :3, :3] = matrices[:, :, :3] @ LLFF_FROM_OPENCV
    world_from_cam[:, :3, 3] = matrices[:, :, 3]
    poses = torch.stack([inverse_se3(rigid(m, f"{path}, row {i}")) for i, m in enumerate(world_from_cam)])
    Ks = torch.zeros(len(rows), 3, 3, dtype=torch.float64)
    Ks[:, 0, 0] = Ks[:, 1, 1] = focal
    Ks[:, 0, 2], Ks[:, 1, 2], Ks[:, 2, 2] = width / 2, height / 2, 1
    cameras = Cameras.create(poses, Ks, width.round().long(), height.round().long())
    return cameras, torch.from_numpy(rows[:, 15:].astype(np.float64))


def decompose(P: Float[Tensor, "3 4"], where: str = "P") -> tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]]:
    """Split P = s K [R | t] into K (upper triangular, K[2, 2] = 1) and cam_from_world (Hartley and Zisserman 6.2.4).

    Skew, which a pinhole camera here cannot have, must be negligible. Float64.

    Raises:
        InputError: singular, or with a skew above a thousandth of the focal length.
    """
    P = P.double()
    M = P[:, :3]
    determinant = float(torch.linalg.det(M))
    if not np.isfinite(determinant) or abs(determinant) < 1e-12 * float(M.norm()) ** 3 or determinant == 0:
        raise InputError(f"{where} is not a camera: its left 3 x 3 part is singular. Check the file.")
    P = P * (1.0 if determinant > 0 else -1.0)  # P and -P project alike; only one has a proper rotation
    # RQ decomposition of M by the QR decomposition of its rows in reverse order.
    Q, U = torch.linalg.qr(P[:, :3].flip(0).T)
    K, R = U.T.flip(0, 1), Q.T.flip(0)
    signs = torch.sign(torch.diagonal(K))
    K, R = K * signs, signs[:, None] * R
    t = torch.linalg.solve(K, P[:, 3])
    K = K / K[2, 2]
    if abs(float(K[0, 1])) > 1e-3 * float(K[0, 0]):
        raise InputError(
            f"{where} has a skew of {float(K[0, 1]):.3g} pixels, which is not supported. Rectify the photos."
        )
    K[0, 1] = 0.0
    cam_from_world = torch.eye(4, dtype=torch.float64)
    cam_from_world[:3, :3], cam_from_world[:3, 3] = R, t
    return K, cam_from_world


def _photo_lists(folder: Path, photos: Path | None) -> list[list[Path]]:
    """The photos in each place that has any: beside the numbers, which were made for those, then in `photos`."""
    places = [folder / sub for sub in PHOTO_FOLDERS] + ([] if photos is None else [photos])
    lists = []
    for place in places:
        with contextlib.suppress(InputError):  # the next place may hold them
            lists.append(list_photos(place)[0])
    if not lists:
        raise InputError(f"Found no photos beside the cameras in {folder}. Put them in {folder / 'images'}.")
    return lists


def read_projection(path: Path) -> Float[Tensor, "3 4"]:
    """The 3 x 4 projection matrix in a text file, float64.

    Raises:
        InputError: not such a file.
    """
    try:
        values = np.array(path.read_text(encoding="utf-8").split(), np.float64)
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check its permissions.") from error
    except ValueError as error:
        raise InputError(f"{path} holds something other than numbers ({error}). Give a 3 x 4 matrix.") from error
    if values.size != 12 or not np.isfinite(values).all():
        raise InputError(f"{path} holds {values.size} numbers; a 3 x 4 projection matrix has 12 finite ones.")
    return torch.from_numpy(values.reshape(3, 4))


def _size(path: Path) -> tuple[int, int]:
    try:
        return photo_size(path)
    except UnreadablePhotoError as error:
        raise InputError(f"The size of {path} is needed, but it is {error}.") from error


def _known(names: list[str], poses: Tensor, Ks: Tensor, sizes: list[tuple[int, int]]) -> KnownCameras:
    width, height = torch.tensor(sizes).unbind(1)
    return KnownCameras(tuple(names), Cameras.create(poses.float(), Ks.float(), width, height))
