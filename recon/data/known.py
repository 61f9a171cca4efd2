"""One door to given cameras: the path tells the format."""

import contextlib
from pathlib import Path

from recon.data.colmap import find_model, read_model
from recon.data.decode import UnreadablePhotoError, orientation
from recon.data.folder import list_photos
from recon.data.known_cameras import KnownCameras, apply_known, match, own_cameras, undistort, warn_of_turns
from recon.data.projections import position_files, read_llff, read_positions
from recon.data.transforms_json import read_transforms
from recon.errors import InputError

__all__ = ["KnownCameras", "apply_known", "camera_files", "load_posed", "match", "own_cameras", "undistort"]

JSON_NAMES = ("transforms.json", "cameras.json", "transforms_train.json")
LLFF_NAME = "poses_bounds.npy"


def load_posed(path: Path | str, photos: Path | str | None = None) -> KnownCameras:
    """Read given cameras from a file or folder:

    a `transforms.json` or our `cameras.json` (or a folder with one), a COLMAP model folder (or one with `sparse/0`),
    LLFF's `poses_bounds.npy`, or a folder of DTU or SpaRe `pos_XXX.txt`. The last two do not name their photos: these
    are looked for beside the file, then in the folder `photos`. Photos there that EXIF turns are warned of where the
    cameras may be for the pixels as stored.

    Raises:
        InputError: none of these, or damaged.
    """
    photos = None if photos is None else Path(photos)
    known = _read(Path(path), photos)
    return known if photos is None else warn_of_turns(known, _turns(photos))


def _turns(folder: Path) -> dict[str, int]:
    """EXIF orientation of those photos in `folder` that are turned while loading, by file name."""
    found = {}
    with contextlib.suppress(InputError):  # who loads the photos says what is wrong with the folder
        for path in list_photos(folder)[0]:
            with contextlib.suppress(UnreadablePhotoError):
                found[path.name] = orientation(path)
    return {name: turn for name, turn in found.items() if turn != 1}


def _read(path: Path, photos: Path | None) -> KnownCameras:
    if not path.exists():
        raise InputError(f"There are no cameras at {path}. Check the path given with --poses.")
    if path.is_file():
        return _load_file(path, photos)
    for name in JSON_NAMES:
        if (path / name).is_file():
            return read_transforms(path / name)
    if find_model(path) is not None:
        return read_model(path)
    if (path / LLFF_NAME).is_file():
        return read_llff(path / LLFF_NAME, photos)
    if position_files(path):
        return read_positions(path, photos)
    raise InputError(
        f"{path} holds no cameras that can be read: looked for {', '.join(JSON_NAMES)}, a COLMAP model, {LLFF_NAME} "
        "and pos_XXX.txt. Give the file or its folder."
    )


def camera_files(path: Path) -> list[Path]:
    """The files that `load_posed` reads cameras from; none where it would refuse."""
    if path.is_file():
        model = path.suffix.lower() in (".bin", ".txt") and path.stem in ("cameras", "images", "points3D")
        if path in (positions := position_files(path.parent)):
            return positions
        return _model_files(path.parent) if model else [path]
    named = [path / name for name in JSON_NAMES if (path / name).is_file()]
    if named:
        return named[:1]
    folder = find_model(path)
    if folder is not None:
        return _model_files(folder)
    return [path / LLFF_NAME] if (path / LLFF_NAME).is_file() else position_files(path)


def _model_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in (".bin", ".txt"))


def _load_file(path: Path, photos: Path | None) -> KnownCameras:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_transforms(path)
    if suffix == ".npy":
        return read_llff(path, photos)
    if suffix == ".txt" and path in position_files(path.parent):
        return read_positions(path.parent, photos)
    if suffix in (".bin", ".txt") and path.stem in ("cameras", "images", "points3D"):
        return read_model(path.parent)
    raise InputError(
        f"{path} is not a camera file that can be read. Give a transforms.json, cameras.json, poses_bounds.npy, "
        "a COLMAP model folder or a folder of pos_XXX.txt."
    )
