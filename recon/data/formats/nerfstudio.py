"""nerfstudio's `transforms.json`: photos, masks, depth and points by path; a lens that may bend lines.

OpenGL axes, camera to world; `cx`, `cy` count from the corner of the first pixel, as ours do.
"""

from pathlib import Path

import torch

from recon.data.folder import find_by_stem
from recon.data.formats.base import Format, Paths, Scene, fit_to_files, reduced_copies
from recon.data.transforms_json import read_frames, read_transforms
from recon.errors import InputError
from recon.types import Cameras

FILE = "transforms.json"


def detect(path: Path) -> bool:
    """The file is there."""
    return (path / FILE).is_file()


def read(path: Path) -> Scene:
    """The scene in `path`: the frames that have a camera.

    Raises:
        InputError: a damaged file, or a photo, mask or depth map that it names and that is missing.
    """
    known = read_transforms(path / FILE, torch.float64)
    frames = read_frames(path / FILE)
    placed = [i for i in range(len(known.names)) if bool(known.cameras.registered[i])]
    if not placed:
        raise InputError(f"{path / FILE} has no frame with a camera. Give another scene.")
    photos = tuple(photo_of(path, known.names[i]) for i in placed)
    return Scene(
        name=path.name,
        format=FORMAT.name,
        names=tuple(known.names[i] for i in placed),
        image_paths=photos,
        cameras=fit_to_files(known.cameras[placed], photos),
        indices=tuple(range(len(placed))),
        mask_paths=_named(path, [frames[i].get("mask_path") for i in placed]),
        depth_paths=_named(path, [frames[i].get("depth_file_path") for i in placed]),
        reduced=reduced_copies(path, len(placed)),
        points=known.points,
        distortion=None if known.distortion is None else known.distortion[placed],
    )


def photo_of(root: Path, name: str) -> Path:
    """The file that `name` means, which may leave its suffix away.

    Raises:
        InputError: there is none.
    """
    photo = root / name
    found = photo if photo.is_file() else find_by_stem(photo.parent, (photo.name,))
    if found is None:
        raise InputError(f"The cameras in {root} are for a photo {name}, which is not there. Is the download complete?")
    return found


def concatenate(parts: list[Cameras]) -> Cameras:
    """The cameras of all parts, one after the other."""
    fields = ("cam_from_world", "Ks", "width", "height", "registered", "confidence")
    return Cameras(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def _named(root: Path, values: list[object]) -> Paths | None:
    if not any(values):
        return None
    paths = tuple(root / value if isinstance(value, str) and value else None for value in values)
    if missing := [path for path in paths if path is not None and not path.is_file()]:
        raise InputError(f"{root / FILE} names {missing[0]}, which is not there. Is the download complete?")
    return paths


FORMAT = Format("nerfstudio", "nerfstudio: transforms.json", detect, read)
