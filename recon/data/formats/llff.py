"""LLFF: `poses_bounds.npy` beside `images/`, often with shrunk copies in `images_4` and `images_8`.

Its axes are (down, right, backward), and its principal point the middle of the picture, width / 2 from the corner of
the first pixel: our convention. Cameras are stated at full size; the photos at hand may be smaller. Rows are in the
order of the photos' names sorted as text (LLFF's `load_colmap_data`): `IMG_10` comes before `IMG_9`.
"""

from pathlib import Path

from recon.data.formats.base import Format, Scene, fit_to_files, photos_in, reduced_copies
from recon.data.projections import read_poses_bounds
from recon.errors import InputError

FILE = "poses_bounds.npy"


def detect(path: Path) -> bool:
    """The file is there."""
    return (path / FILE).is_file()


def read(path: Path) -> Scene:
    """The scene in `path`; the n-th camera belongs to the n-th photo by name.

    Raises:
        InputError: a damaged file, or another number of photos than cameras.
    """
    cameras, bounds = read_poses_bounds(path / FILE)
    reduced = reduced_copies(path, len(cameras))
    photos = photos_in(path / "images")
    if not photos and reduced:
        photos = [file for file in next(iter(reduced.values())) if file is not None]
    if len(photos) != len(cameras):
        raise InputError(
            f"{path / FILE} has {len(cameras)} cameras, but {path / 'images'} holds {len(photos)} photos. "
            "Cameras are in the order of the photos' names, so all of them must be there, and nothing else."
        )
    return Scene(
        name=path.name,
        format=FORMAT.name,
        names=tuple(photo.name for photo in photos),
        image_paths=tuple(photos),
        cameras=fit_to_files(cameras, tuple(photos)),
        indices=tuple(range(len(photos))),
        bounds=bounds,
        reduced=reduced,
    )


FORMAT = Format("llff", "LLFF: poses_bounds.npy with images/, images_4/, images_8/", detect, read)
