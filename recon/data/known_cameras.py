"""Cameras that somebody else estimated, and their match with the photos at hand."""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import InputError
from recon.types import Cameras, ImageSet, PointCloud

SAME_ASPECT = 0.01
"""Relative difference in aspect that rounding to whole pixels explains (a 100 pixel thumbnail is off by 0.5%)."""


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

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.cameras), "one name for each camera"


def match(known: KnownCameras, images: ImageSet) -> Cameras:
    """The cameras of `images`, in their order and at their sizes. Distortion is left as it is; see `apply_known`.

    Raises:
        InputError: a photo has no camera, or more than one, or its shape is not the camera's.
    """
    cameras = known.cameras[match_indices(known, images.names)]
    width = torch.tensor([image.shape[1] for image in images.images])
    height = torch.tensor([image.shape[0] for image in images.images])
    for i, name in enumerate(images.names):
        given, found = (int(cameras.width[i]), int(cameras.height[i])), (int(width[i]), int(height[i]))
        if abs((given[0] / given[1]) / (found[0] / found[1]) - 1) > SAME_ASPECT:
            raise InputError(
                f"The camera of {name} is for {given[0]} x {given[1]} pixels, but the photo has the shape "
                f"{found[0]} x {found[1]}. Use the photos the cameras were made for: neither cropped nor rotated since."
            )
    return cameras.resized(width, height)


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
    """For each photo name, the index of its camera: by full name, else file name, else file name without suffix.

    Raises:
        InputError: a name fits none or several.
    """
    exact, by_name, by_stem = _lookup(known.names)
    indices, missing = [], []
    for name in names:
        found = exact.get(name) or by_name.get(_file_name(name)) or by_stem.get(_stem(name)) or []
        if len(found) > 1:
            candidates = ", ".join(known.names[i] for i in found[:3])
            raise InputError(f"Photo {name} fits several given cameras ({candidates}). Rename the photos apart.")
        if found:
            indices.append(found[0])
        else:
            missing.append(name)
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        have = ", ".join(known.names[:3]) + (", ..." if len(known.names) > 3 else "")
        raise InputError(
            f"No given camera for {shown} (cameras given: {have}). "
            "Remove these photos from the folder or add their cameras."
        )
    return indices


def _lookup(names: tuple[str, ...]) -> tuple[dict[str, list[int]], dict[str, list[int]], dict[str, list[int]]]:
    exact: dict[str, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    by_stem: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        exact.setdefault(name, []).append(i)
        by_name.setdefault(_file_name(name), []).append(i)
        by_stem.setdefault(_stem(name), []).append(i)
    return exact, by_name, by_stem


def _file_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _stem(name: str) -> str:
    return PurePosixPath(_file_name(name)).stem
