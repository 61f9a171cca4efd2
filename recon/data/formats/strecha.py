"""Strecha et al. 2008: a file `<photo>.camera` for each photo, or `<photo>.P` with its projection matrix.

A `.camera` file holds K (three lines), a line of distortion (zeros: the photos are straight), R (three lines), the
camera's centre C, and width and height. R is camera to world, P = K [R^T | -R^T C], axes as ours: so read, the
cameras of fountain-P11 fit the epipolar geometry of its photos. Where the first pixel's centre lies is not stated; K is
taken in our convention.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from recon.data.formats.base import Format, Scene, file_size, fit_to_files, photos_in
from recon.data.formats.text_cameras import checked_K, decode_numbers, read_text
from recon.data.projections import decompose
from recon.data.transforms_json import MAX_SIDE, rigid
from recon.errors import InputError
from recon.geometry import inverse_se3, make_se3
from recon.types import Cameras

CAMERA_FOLDERS = (".", "gt_dense_cameras", "cameras", "images", "urd")
PHOTO_FOLDERS = ("images", "urd", ".")
SUFFIXES = (".camera", ".P")
N_CAMERA = 9 + 3 + 9 + 3 + 2

View = tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"], tuple[int, int]]
"""K, camera from world, width and height."""


def detect(path: Path) -> bool:
    """Files of either kind are there."""
    return bool(_files(path))


def read(path: Path) -> Scene:
    """The scene in `path`: the photos that have a camera, in the order of their names.

    Raises:
        InputError: no cameras, a damaged file, or a camera without its photo.
    """
    files = _files(path)
    if not files:
        raise InputError(f"{path} holds no files <photo>.camera or <photo>.P. Give the folder of a scene.")
    photos = [photo for folder in PHOTO_FOLDERS for photo in photos_in(path / folder)]
    chosen = [_photo_of(file, photos) for file in files]
    views = [_read_camera(file, photo) for file, photo in zip(files, chosen)]
    width, height = torch.tensor([size for _, _, size in views]).unbind(1)
    cameras = Cameras.create(
        torch.stack([pose for _, pose, _ in views]), torch.stack([K for K, _, _ in views]), width, height
    )
    return Scene(
        name=path.name,
        format=FORMAT.name,
        names=tuple(photo.name for photo in chosen),
        image_paths=tuple(chosen),
        cameras=fit_to_files(cameras, tuple(chosen)),
        indices=tuple(range(len(files))),
    )


def _files(path: Path) -> list[Path]:
    """`.camera` files where there are any, since they also state the size, else `.P`."""
    for suffix in SUFFIXES:
        for folder in CAMERA_FOLDERS:
            if found := sorted((path / folder).glob(f"*{suffix}")):
                return found
    return []


def _photo_of(file: Path, photos: list[Path]) -> Path:
    """`0000.jpg.camera` belongs to `0000.jpg`, or, where that was converted, to `0000.png`."""
    name = file.name.removesuffix(file.suffix)
    found = next((photo for photo in photos if photo.name == name), None)
    found = found or next((photo for photo in photos if photo.stem == Path(name).stem), None)
    if found is None:
        raise InputError(f"{file} has no photo {name} in {', '.join(PHOTO_FOLDERS[:2])} or beside it. Add the photos.")
    return found


def _read_camera(file: Path, photo: Path) -> View:
    words = read_text(file).split()
    if file.suffix == ".P":
        P = torch.tensor(decode_numbers(words, str(file), 12), dtype=torch.float64).reshape(3, 4)
        K, pose = decompose(P, str(file))
        return checked_K(K, str(file)), pose, file_size(photo)
    values = torch.tensor(decode_numbers(words, str(file), N_CAMERA), dtype=torch.float64)
    if bool(values[9:12].any()):
        raise InputError(f"{file} states lens distortion, of which no model is documented. Give straightened photos.")
    width, height = int(values[24]), int(values[25])
    if not (0 < width < MAX_SIDE and 0 < height < MAX_SIDE):
        raise InputError(f"{file} states a size of {width} x {height} pixels. Download it again.")
    world_from_cam = rigid(make_se3(values[12:21].reshape(3, 3), values[21:24]), str(file))
    return checked_K(values[:9].reshape(3, 3), str(file)), inverse_se3(world_from_cam), (width, height)


FORMAT = Format("strecha", "Strecha: <photo>.camera or <photo>.P, with images/", detect, read)
