"""Cameras that somebody else estimated, and their match with the photos at hand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import InputError
from recon.types import Cameras, ImageSet, PointCloud

SAME_ASPECT = 0.01
"""Relative difference in aspect that rounding to whole pixels explains (a 100 pixel thumbnail is off by 0.5%)."""
SAME_SHAPE_TURNS = (2, 3, 4)
"""EXIF orientations that leave width and height as they are: mirrored, upside down, both."""


@dataclass(frozen=True)
class KnownCameras:
    """Cameras by photo name."""

    names: tuple[str, ...]
    """As the source writes them: file names, perhaps with folders, perhaps without a suffix."""
    cameras: Cameras
    """In pixels of the sizes that the source states."""
    points: PointCloud | None = None
    """Sparse points in the cameras' world."""
    distortion: Float[Tensor, "V 8"] | None = None
    """OpenCV's k1 k2 p1 p2 k3 k4 k5 k6 per camera; None when every lens is free of it."""
    masks: tuple[str | None, ...] | None = None
    """Mask file of each photo, relative to the source's folder, where the source names any."""
    warnings: tuple[str, ...] = ()
    photos: tuple[str | None, ...] | None = None
    """The photos that the cameras were made from, where the source says so (our `cameras.json`): `names` are then files
    made from them, upright and perhaps with another suffix."""
    turns: Mapping[str, int] = field(default_factory=dict)
    """EXIF orientation of photos that are turned upright while loading, by file name."""

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.cameras), "one name for each camera"
        assert self.photos is None or len(self.photos) == len(self.names), "one entry for each camera"


def match(known: KnownCameras, images: ImageSet) -> Cameras:
    """The cameras of `images`, in their order and at their sizes. Distortion is left as it is; see `apply_known`.

    Raises:
        InputError: a photo has no camera, or more than one, or another's, or its shape is not the camera's.
    """
    cameras = known.cameras[match_indices(known, images.names)]
    width = torch.tensor([image.shape[1] for image in images.images])
    height = torch.tensor([image.shape[0] for image in images.images])
    for i, name in enumerate(images.names):
        given, found = (int(cameras.width[i]), int(cameras.height[i])), (int(width[i]), int(height[i]))
        if not _same_shape(given, found):
            advice = _what_to_do(name, known.turns.get(name, 1), _same_shape(given, found[::-1]))
            raise InputError(
                f"The camera of {name} is for {given[0]} x {given[1]} pixels, but the photo has the shape "
                f"{found[0]} x {found[1]}. {advice}"
            )
    return cameras.resized(width, height)


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return abs((a[0] / a[1]) / (b[0] / b[1]) - 1) <= SAME_ASPECT


def _what_to_do(name: str, turn: int, fits_on_its_side: bool) -> str:
    if turn in (1, *SAME_SHAPE_TURNS) or not fits_on_its_side:
        return "Use the photos the cameras were made for: neither cropped nor rotated since."
    return (
        f"The likely cause is its EXIF orientation {turn}, by which it was turned upright, while the cameras are for "
        f"the pixels as stored. Remove the tag from a copy (exiftool -Orientation= {name}), or make the cameras from "
        "upright photos."
    )


def warn_of_turns(known: KnownCameras, turns: Mapping[str, int]) -> KnownCameras:
    """`known` with the EXIF orientations of the photos that it is for, and a warning of those that stay unnoticed.

    A camera for the pixels as stored has another shape after a quarter turn, which `match` sees. After half a turn, a
    mirroring, or any turn of a square photo it has the same shape, and may or may not fit.

    Args:
        turns: orientation by file name, of photos that are turned while loading.
    """
    doubtful = []
    for name, i in own_cameras(known, turns).items():
        width, height = int(known.cameras.width[i]), int(known.cameras.height[i])
        ours = known.photos is not None and known.photos[i] is not None  # made for what the loader returns
        if not ours and (turns[name] in SAME_SHAPE_TURNS or _same_shape((width, height), (height, width))):
            doubtful.append(f"{name} (EXIF orientation {turns[name]})")
    if not doubtful:
        return replace(known, turns=turns)
    warning = (
        f"Turned upright while loading: {_some(doubtful)}. If the given cameras are for the pixels as stored, they do "
        "not fit: then remove the tag from copies of the photos (exiftool -Orientation= FILE)."
    )
    return replace(known, turns=turns, warnings=(*known.warnings, warning))


def apply_known(known: KnownCameras, images: ImageSet) -> tuple[ImageSet, Cameras]:
    """Match, and straighten the photos where the lens bends lines, so that the pinhole cameras returned fit them.

    Raises:
        InputError: as `match`.
    """
    cameras = match(known, images)
    if known.distortion is None:
        return images, cameras
    return undistort(images, cameras, known.distortion[match_indices(known, images.names)]), cameras


def undistort(images: ImageSet, cameras: Cameras, distortion: Float[Tensor, "V 8"]) -> ImageSet:
    """Resample photos as the same pinhole camera without distortion would have taken them (Brown-Conrady, OpenCV).

    What lies outside the photo repeats its border pixel; masks are 0 there.
    """
    straight = list(images.images)
    masks = None if images.masks is None else list(images.masks)
    for i in range(len(images)):
        if not bool(distortion[i].any()):
            continue
        height, width = straight[i].shape[:2]
        # OpenCV's pixel centres are whole numbers, ours are at .5.
        K = cameras.Ks[i].double().numpy().copy()
        K[:2, 2] -= 0.5
        map_x, map_y = cv2.initUndistortRectifyMap(
            K, distortion[i].double().numpy(), None, K, (width, height), cv2.CV_32FC1
        )
        straight[i] = torch.from_numpy(
            cv2.remap(straight[i].numpy(), map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        ).clamp(0, 1)
        if masks is not None:
            masks[i] = torch.from_numpy(cv2.remap(masks[i].numpy(), map_x, map_y, cv2.INTER_LINEAR))
    return replace(images, images=tuple(straight), masks=None if masks is None else tuple(masks))


def match_indices(known: KnownCameras, names: tuple[str, ...]) -> list[int]:
    """For each photo name, the index of its camera: by the photo that the source says it is of, else by full name, else
    file name, else file name without suffix.

    Raises:
        InputError: a name fits none or several, or two names fit the same.
    """
    fits = [found for _, found in _fits(known, names)]
    for name, found in zip(names, fits):
        if len(found) > 1:
            candidates = ", ".join(known.names[i] for i in found[:3])
            raise InputError(f"Photo {name} fits several given cameras ({candidates}). Rename the photos apart.")
    if missing := [name for name, found in zip(names, fits) if not found]:
        have = ", ".join(known.names[:3]) + (", ..." if len(known.names) > 3 else "")
        raise InputError(
            f"No given camera for {_some(missing)} (cameras given: {have}). "
            "Remove these photos from the folder or add their cameras."
        )
    first: dict[int, str] = {}
    for name, (index,) in zip(names, fits):
        if (other := first.setdefault(index, name)) != name:
            raise InputError(
                f"Photos {other} and {name} both fit the given camera {known.names[index]}, which can be of only one. "
                "Remove the other from the folder, or add its camera under its full name."
            )
    return [found[0] for found in fits]


def own_cameras(known: KnownCameras, names: Iterable[str]) -> dict[str, int]:
    """The index of its camera for each of `names` that has one to itself, and a registered one.

    Where several names fit the same camera it is that of the name that fits best, as in `match_indices`; nobody's where
    two fit equally well.
    """
    claims: dict[int, list[tuple[int, str]]] = {}
    names = tuple(names)
    for name, (rank, found) in zip(names, _fits(known, names)):
        if len(found) == 1 and bool(known.cameras.registered[found[0]]):
            claims.setdefault(found[0], []).append((rank, name))
    owners = {}
    for index, by_rank in claims.items():
        best, *others = sorted(by_rank)
        if all(rank > best[0] for rank, _ in others):
            owners[best[1]] = index
    return owners


def _fits(known: KnownCameras, names: tuple[str, ...]) -> list[tuple[int, list[int]]]:
    """For each name how well it fits, 0 is best, and the cameras that it fits so."""
    sources = known.photos or (None,) * len(known.names)
    both = [[name] if source is None else [source, name] for name, source in zip(known.names, sources)]
    tables = [
        _index([[source] if source is not None else [] for source in sources]),
        _index([[name] for name in known.names]),
        _index([[_file_name(name)] for name in known.names]),
        _index([[_stem(name) for name in pair] for pair in both]),
    ]
    fits = []
    for name in names:
        found = [table.get(key, []) for table, key in zip(tables, (name, name, _file_name(name), _stem(name)))]
        fits.append(next(((rank, indices) for rank, indices in enumerate(found) if indices), (len(tables), [])))
    return fits


def _index(keys: list[list[str]]) -> dict[str, list[int]]:
    """For each key the places at which it stands."""
    places: dict[str, list[int]] = {}
    for i, here in enumerate(keys):
        for key in dict.fromkeys(here):
            places.setdefault(key, []).append(i)
    return places


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _file_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _stem(name: str) -> str:
    return PurePosixPath(_file_name(name)).stem
