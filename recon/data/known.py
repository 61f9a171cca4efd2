"""One door to given cameras: the path tells the format."""

from pathlib import Path

from recon.data.colmap import find_model, read_model
from recon.data.known_cameras import KnownCameras, apply_known, match, undistort
from recon.data.projections import position_files, read_llff, read_positions
from recon.data.transforms_json import read_transforms
from recon.errors import InputError

__all__ = ["KnownCameras", "apply_known", "load_posed", "match", "undistort"]

JSON_NAMES = ("transforms.json", "cameras.json", "transforms_train.json")
LLFF_NAME = "poses_bounds.npy"


def load_posed(path: Path | str, photos: Path | str | None = None) -> KnownCameras:
    """Read given cameras from a file or folder:

    a `transforms.json` or our `cameras.json` (or a folder with one), a COLMAP model folder (or one with `sparse/0`),
    LLFF's `poses_bounds.npy`, or a folder of DTU or SpaRe `pos_XXX.txt`. The last two do not name their photos: these
    are looked for beside the file, then in the folder `photos`.

    Raises:
        InputError: none of these, or damaged.
    """
    path = Path(path)
    photos = None if photos is None else Path(photos)
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
