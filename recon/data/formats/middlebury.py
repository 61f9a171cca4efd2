"""Middlebury's multi-view sets (Seitz et al. 2006): one `<name>_par.txt` beside the photos.

Its first line is the number of photos, then a line each: file name, K by rows, R by rows, t; P = K [R | t]. "The image
origin is top-left": taken as the corner of the first pixel, our convention; whether its centre was meant is
not stated.
"""

from pathlib import Path

import torch

from recon.data.formats.base import Format, Scene, file_size
from recon.data.formats.text_cameras import checked_K, decode_numbers, read_text
from recon.data.transforms_json import rigid
from recon.errors import InputError
from recon.geometry import make_se3
from recon.types import Cameras

NUMBERS = 9 + 9 + 3


def detect(path: Path) -> bool:
    """One such file is there."""
    return len(_files(path)) == 1


def read(path: Path) -> Scene:
    """The scene in `path`, its views in the order of the file.

    Raises:
        InputError: no or several such files, a damaged one, or a photo that is missing.
    """
    files = _files(path)
    if len(files) != 1:
        raise InputError(f"{path} holds {len(files)} files named <name>_par.txt; give the folder with one of them.")
    header, *lines = [line for line in read_text(files[0]).splitlines() if line.strip()] or [""]
    if header.strip() != str(len(lines)):
        raise InputError(
            f"{files[0]} announces {header.strip()[:20]!r} photos and lists {len(lines)}. Download it again."
        )
    names, Ks, poses = [], [], []
    for i, line in enumerate(lines, start=2):
        name, *words = line.split()
        where = f"{files[0]}, line {i}"
        values = torch.tensor(decode_numbers(words, where, NUMBERS), dtype=torch.float64)
        names.append(name)
        Ks.append(checked_K(values[:9].reshape(3, 3), where))
        poses.append(rigid(make_se3(values[9:18].reshape(3, 3), values[18:]), where))
    if not names:
        raise InputError(f"{files[0]} lists no photos. Download it again.")
    photos = [path / name for name in names]
    if missing := [photo for photo in photos if not photo.is_file()]:
        raise InputError(f"{files[0].name} lists {missing[0].name}, which is not in {path}. Is the download complete?")
    if len(set(names)) != len(names):
        raise InputError(f"{files[0]} lists a photo twice. Download it again.")
    width, height = torch.tensor([file_size(photo) for photo in photos]).unbind(1)
    return Scene(
        name=path.name,
        format=FORMAT.name,
        names=tuple(names),
        image_paths=tuple(photos),
        cameras=Cameras.create(torch.stack(poses), torch.stack(Ks), width, height),
        indices=tuple(range(len(names))),
    )


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*_par.txt"))


FORMAT = Format("middlebury", "Middlebury multi-view: <name>_par.txt", detect, read)
