"""SpaRe and DTU: photos numbered from 1, up to seven lightings, and a projection matrix for each number.

Layout (sparebenchmark.github.io, "Data structure"; DTU as RegNeRF reads it): a folder for each scene with
`cam_{i+1:03d}_{lighting}_0000.png` (SpaRe) or `rect_{i+1:03d}_{lighting}_r5000.png` (DTU; `r7000` from camera 50 on),
where i is the view's index in the splits; and, in the scene or beside it, `pos_{i+1:03d}.txt`: P = K [R | t] in
pixels. RegNeRF looks through pixel (x, y) along K^-1 (x + 0.5, y + 0.5, 1): the first pixel's centre is at (0.5, 0.5),
as ours.

SpaRe's calibration also lists the cameras in Blender's terms, in a file whose layout is not documented; only the
matrices are read.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from recon.data.formats.base import Format, Paths, Scene, file_size
from recon.data.projections import decompose, position_files, read_projection
from recon.errors import InputError
from recon.types import Cameras

PHOTO = re.compile(r"(cam|rect)_(\d{3})_([0-6])_(0000|r5000|r7000)\.png")
EVALUATED_LIGHTING = 3
"""All lights on."""
FIRST_HIGH_CAMERA = 50
"""Photos of DTU's cameras from this number on end in `r7000`."""
CALIBRATION = ("Calibration/cal18", "cal18", "calibration", "Calibration")
PACKED_CALIBRATION = {"rect": "dtu_calibration", "cam": "synth_calibration"}
"""What SpaRe's two archives of matrices are called."""
SUFFIXES = {"mask": (".png", ".exr"), "depth": (".exr", ".npz", ".npy", ".png")}
MASK_SETS = ("idrmasks", "DTU_mask", "masks")
"""Folders in which the papers' DTU masks are passed around, beside the scenes or one level up."""


def photo_name(kind: str, index: int, lighting: int = EVALUATED_LIGHTING) -> str:
    """The file name of view `index` (from 0), as data and submissions have it; `kind` is `cam` or `rect`."""
    number = index + 1
    if kind == "cam":
        return f"cam_{number:03d}_{lighting}_0000.png"
    return f"rect_{number:03d}_{lighting}_r{5000 if number < FIRST_HIGH_CAMERA else 7000}.png"


def detect(path: Path) -> bool:
    """Photos so named, and matrices in reach."""
    try:
        photos = {match[1] for entry in path.iterdir() if (match := PHOTO.fullmatch(entry.name))}
    except OSError:
        return False
    return any(_calibration(path, kind) is not None for kind in photos)


def read(path: Path) -> Scene:
    """The scene in `path`: one view for each matrix, whether its photo is there or kept back for evaluation.

    Raises:
        InputError: no photos, no matrices, a damaged file, photos of different sizes, or none in the lighting that is
            evaluated.
    """
    photos = _photos(path)
    kind = next(iter(photos))[0]
    if any(key[0] != kind for key in photos):
        raise InputError(f"{path} mixes photos of DTU (rect_...) and SpaRe (cam_...). Keep each in its own folder.")
    calibration = _calibration(path, kind)
    if calibration is None:
        raise InputError(
            f"Found no pos_001.txt for {path}. Unpack the set's matrices to {path.parent / PACKED_CALIBRATION[kind]}."
        )
    files = position_files(calibration)
    indices = tuple(int(file.stem.split("_")[1]) - 1 for file in files)
    present = sorted({lighting for _, _, lighting in photos})
    lightings = {light: tuple(photos.get((kind, index, light)) for index in indices) for light in present}
    if not any(lightings.get(EVALUATED_LIGHTING, ())):
        raise InputError(
            f"{path} has photos in lightings {', '.join(map(str, present))} of cameras {indices[0] + 1} to "
            f"{indices[-1] + 1}, but none in lighting {EVALUATED_LIGHTING}, which is evaluated. Add those."
        )
    image_paths = lightings[EVALUATED_LIGHTING]
    return Scene(
        name=path.name,
        format=FORMAT.name,
        names=tuple(photo_name(kind, index) for index in indices),
        image_paths=image_paths,
        cameras=_cameras(files, _common_size(image_paths)),
        indices=indices,
        mask_paths=_beside(path, "mask", indices),
        depth_paths=_beside(path, "depth", indices),
        lightings=lightings,
    )


def _photos(path: Path) -> dict[tuple[str, int, int], Path]:
    """(kind, index from 0, lighting) -> file."""
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise InputError(f"Could not list {path}: {error.strerror or error}. Give the folder of a scene.") from error
    found = {
        (match[1], int(match[2]) - 1, int(match[3])): entry
        for entry in entries
        if (match := PHOTO.fullmatch(entry.name))
    }
    if not found:
        raise InputError(
            f"{path} has no photos named cam_001_3_0000.png or rect_001_3_r5000.png. Give a scene's folder."
        )
    return found


def _calibration(path: Path, kind: str) -> Path | None:
    """The folder with the matrices: the scene itself, or one for all scenes beside it or a level further up (DTU)."""
    path = path.absolute()
    shared = (PACKED_CALIBRATION[kind], *CALIBRATION)
    for place in (path, *(root / name for root in (path.parent, path.parent.parent) for name in shared)):
        with contextlib.suppress(InputError):  # not allowed to look there
            if place.is_dir() and position_files(place):
                return place
    return None


def _cameras(files: list[Path], size: tuple[int, int]) -> Cameras:
    pairs = [decompose(read_projection(file), str(file)) for file in files]
    Ks = torch.stack([K for K, _ in pairs])
    if not bool((Ks[:, [0, 1], [0, 1]] > 0).all()):
        raise InputError(f"{files[0].parent} has a matrix without a positive focal length. Download it again.")
    return Cameras.create(torch.stack([pose for _, pose in pairs]), Ks, *size)


def _common_size(paths: Paths) -> tuple[int, int]:
    sizes = {file_size(path): path for path in paths if path is not None}
    if len(sizes) > 1:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"{first} is {a[0]} x {a[1]}, but {second} is {b[0]} x {b[1]}. Photos of a scene share a size."
        )
    return next(iter(sizes))


def _beside(path: Path, kind: str, indices: tuple[int, ...]) -> Paths | None:
    """The mask or depth file of each view; None when there are none at all."""
    found = tuple(next((file for file in _candidates(path, kind, index) if file.is_file()), None) for index in indices)
    return found if any(found) else None


def _candidates(path: Path, kind: str, index: int) -> Iterator[Path]:
    """Numbered as the photos are, beside them; masks also as the papers have DTU's: from 0."""
    for suffix in SUFFIXES[kind]:
        yield path / f"{kind}_{index + 1:03d}{suffix}"
        yield path / f"{kind}_{index + 1:04d}{suffix}"
    if kind == "mask":
        yield path / f"mask/{index:03d}.png"
        for root in path.absolute().parents[:2]:
            for name in MASK_SETS:
                yield root / name / path.name / f"{index:03d}.png"
                yield root / name / path.name / f"mask/{index:03d}.png"


FORMAT = Format("spare", "SpaRe and DTU: cam_001_3_0000.png or rect_001_3_r5000.png, with pos_001.txt", detect, read)
