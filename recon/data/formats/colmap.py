"""COLMAP models with their photos, as mip-NeRF 360 ships them: `sparse/0`, `images`, `images_2`, and so on.

COLMAP's axes and pixel corner are ours. Views are in the order of their names.
"""

from pathlib import Path

import torch

from recon.data.colmap import find_model, read_model
from recon.data.formats.base import Format, Scene, fit_to_files, photos_in, reduced_copies
from recon.errors import InputError


def detect(path: Path) -> bool:
    """A model is there, binary or text."""
    return find_model(path) is not None


def read(path: Path) -> Scene:
    """The scene in `path`: the photos that the model places.

    Raises:
        InputError: a damaged model, a lens it cannot describe, or a photo that is missing.
    """
    known = read_model(path, torch.float64)
    count = len(known.names)
    reduced = reduced_copies(path, count)
    photos = [path / "images" / name for name in known.names]
    if not (path / "images").is_dir():
        photos = [file for file in next(iter(reduced.values()), tuple(photos_in(path))) if file is not None]
    missing = [photo for photo in photos if not photo.is_file()]
    if missing or len(photos) != count:
        what = missing[0] if missing else path / "images"
        raise InputError(
            f"The model in {path} is for {count} photos, but {what} is not there. Is the download complete?"
        )
    return Scene(
        name=path.name,
        format=FORMAT.name,
        names=known.names,
        image_paths=tuple(photos),
        cameras=fit_to_files(known.cameras, tuple(photos)),
        indices=tuple(range(count)),
        reduced=reduced,
        points=known.points,
        distortion=known.distortion,
    )


FORMAT = Format("colmap", "COLMAP, mip-NeRF 360: sparse/0 with images/, images_2/, images_4/, images_8/", detect, read)
