"""NeRF's Blender scenes: `transforms_train.json`, `_val` and `_test`, RGBA photos, one field of view for all.

OpenGL axes, camera to world; the principal point is the middle of the picture, our convention. A split counts the
views of train, val and test one after the other: of the published scenes, 0 to 99, 100 to 199 and 200 to 399.
"""

from pathlib import Path

import torch

from recon.data.formats.base import Format, Scene
from recon.data.formats.nerfstudio import concatenate, photo_of
from recon.data.transforms_json import read_transforms
from recon.errors import InputError

PARTS = ("train", "val", "test")


def detect(path: Path) -> bool:
    """The file of the training views is there."""
    return (path / "transforms_train.json").is_file()


def read(path: Path) -> Scene:
    """The scene in `path`, those parts that are there.

    Raises:
        InputError: a damaged file, or a photo that is missing or of another shape than stated.
    """
    if not detect(path):
        raise InputError(f"{path} has no transforms_train.json. Give the folder of a scene.")
    files = [file for part in PARTS if (file := path / f"transforms_{part}.json").is_file()]
    known = [read_transforms(file, torch.float64) for file in files]
    names = [name for part in known for name in part.names]
    photos = [photo_of(path, name) for name in names]
    return Scene(
        name=path.name,
        format=FORMAT.name,
        names=tuple(photo.relative_to(path).as_posix() for photo in photos),
        image_paths=tuple(photos),
        cameras=concatenate([part.cameras for part in known]),
        indices=tuple(range(len(names))),
    )


FORMAT = Format("blender", "NeRF's Blender scenes: transforms_train.json, _val, _test", detect, read)
