"""What every format of a data set is read into: a scene, its pictures still on disk until one is asked for."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.data.decode import Photo, UnreadablePhotoError, decode_photo, photo_size
from recon.data.depth_files import ANY_SIDE, MAX_MEGAPIXELS, read_depth, read_mask
from recon.data.duplicates import SAME_ASPECT
from recon.data.folder import list_photos
from recon.data.known_cameras import undistort
from recon.errors import InputError
from recon.types import Cameras, ImageSet, PointCloud

REDUCED_FACTORS = (2, 4, 8)
"""LLFF and mip-NeRF 360 ship copies of their photos, shrunk by these, in `images_2`, `images_4`, `images_8`."""

Paths = tuple[Path | None, ...]
"""One for each view; None where the data set keeps the file to itself."""


@dataclass(frozen=True)
class Scene:
    """V views of one scene. Files are named, not read; `image`, `mask` and `depth` read one."""

    name: str
    format: str
    names: tuple[str, ...]
    """File names of the photos, unique within the scene; folders in them where the format has several."""
    image_paths: Paths
    cameras: Cameras
    """Float64, in pixels of the size that `image` returns."""
    indices: tuple[int, ...]
    """What the splits of the data set call each view."""
    mask_paths: Paths | None = None
    depth_paths: Paths | None = None
    bounds: Float[Tensor, "V 2"] | None = None
    """Nearest and farthest depth of what each view shows, in world units."""
    lightings: Mapping[int, Paths] = field(default_factory=dict)
    """The same views in other light; `image_paths` is the one that is evaluated."""
    reduced: Mapping[int, Paths] = field(default_factory=dict)
    """Copies that the data set ships already shrunk, by factor."""
    points: PointCloud | None = None
    distortion: Float[Tensor, "V 8"] | None = None
    """OpenCV's k1 k2 p1 p2 k3 k4 k5 k6; `image` undoes it."""

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.image_paths) == len(self.indices) == len(self.cameras), "one for each view"

    def __len__(self) -> int:
        return len(self.names)

    def at(self, indices: Sequence[int]) -> "Scene":
        """The views that a split calls `indices`, in that order.

        Raises:
            InputError: the scene has no such view.
        """
        places = {index: i for i, index in enumerate(self.indices)}
        if missing := [index for index in indices if index not in places]:
            raise InputError(
                f"{self.name} has no views {', '.join(map(str, missing))}: it has {len(self)}, from "
                f"{min(self.indices)} to {max(self.indices)}. Is the download complete, and the split made for it?"
            )
        return self._select([places[index] for index in indices])

    def relit(self, lighting: int) -> "Scene":
        """The same views in another light.

        Raises:
            InputError: there are no such photos.
        """
        if lighting not in self.lightings:
            have = ", ".join(map(str, self.lightings)) or "one light only"
            raise InputError(f"{self.name} has no photos in lighting {lighting} (there are: {have}).")
        return replace(self, image_paths=self.lightings[lighting])

    def sized(self, width: int, height: int) -> "Scene":
        """The same views at the size of a protocol: copies that the data set ships in it, else shrunk when read.

        Raises:
            InputError: another shape than the photos', or larger.
        """
        for i in range(len(self)):
            own = int(self.cameras.width[i]), int(self.cameras.height[i])
            if width > own[0] or height > own[1]:
                raise InputError(f"{self.names[i]} is {own[0]} x {own[1]}, smaller than the {width} x {height} asked.")
            if abs((own[0] / own[1]) / (width / height) - 1) > SAME_ASPECT:
                raise InputError(f"{self.names[i]} is {own[0]} x {own[1]}: {width} x {height} has another shape.")
        shipped = next((paths for paths in self.reduced.values() if _all_of_size(paths, (width, height))), None)
        n = len(self)
        cameras = self.cameras.resized(torch.full((n,), width), torch.full((n,), height))
        return replace(self, cameras=cameras, image_paths=shipped or self.image_paths)

    def image(self, i: int) -> Float[Tensor, "H W 3"]:
        """Photo `i`: sRGB in [0, 1], on white where transparent, straightened, at its camera's size.

        Raises:
            InputError: the file is missing or damaged.
        """
        rgb = _shrink(self._photo(i).rgb, self._size(i))
        if self.distortion is None:
            return rgb
        one = ImageSet((self.names[i],), (rgb,), torch.tensor([math.nan]), torch.tensor([0]))
        return undistort(one, self.cameras[i], self.distortion[i : i + 1].float()).images[0]

    def mask(self, i: int) -> Float[Tensor, "H W"] | None:
        """1 on the object of photo `i`, from a mask file or the photo's transparency; None where it has neither.

        Raises:
            InputError: the file is damaged.
        """
        path = None if self.mask_paths is None else self.mask_paths[i]
        if path is not None:
            return _shrink(read_mask(path), self._size(i)).clamp(0, 1)
        if self.mask_paths is not None or self.image_paths[i] is None:
            return None
        alpha = self._photo(i).alpha
        return None if alpha is None else _shrink(alpha, self._size(i))

    def depth(self, i: int) -> Float[Tensor, "H W"] | None:
        """True depth of photo `i` along the optical axis, 0 where unknown; None where the data set has none.

        Raises:
            InputError: the file is damaged.
            MissingDependencyError: it is an OpenEXR file, and the package that reads them is not installed.
        """
        path = None if self.depth_paths is None else self.depth_paths[i]
        if path is None:
            return None
        # No mean over an edge: between near and far there is nothing.
        depth = cv2.resize(read_depth(path).numpy(), self._size(i), interpolation=cv2.INTER_NEAREST_EXACT)
        return torch.from_numpy(depth)

    def _photo(self, i: int) -> Photo:
        path = self.image_paths[i]
        if path is None:
            raise InputError(f"{self.name}: the photo {self.names[i]} is not there. The data set may keep it back.")
        try:
            return decode_photo(path, ANY_SIDE, MAX_MEGAPIXELS)
        except UnreadablePhotoError as error:
            raise InputError(f"{path} cannot be used: {error}.") from error

    def _size(self, i: int) -> tuple[int, int]:
        return int(self.cameras.width[i]), int(self.cameras.height[i])

    def _select(self, places: list[int]) -> "Scene":
        def of(values: Paths) -> Paths:
            return tuple(values[i] for i in places)

        return replace(
            self,
            names=tuple(self.names[i] for i in places),
            image_paths=of(self.image_paths),
            cameras=self.cameras[places],
            indices=tuple(self.indices[i] for i in places),
            mask_paths=None if self.mask_paths is None else of(self.mask_paths),
            depth_paths=None if self.depth_paths is None else of(self.depth_paths),
            bounds=None if self.bounds is None else self.bounds[places],
            lightings={light: of(paths) for light, paths in self.lightings.items()},
            reduced={factor: of(paths) for factor, paths in self.reduced.items()},
            distortion=None if self.distortion is None else self.distortion[places],
        )


@dataclass(frozen=True)
class Format:
    """How one layout of files is recognised and read. To add one: a module with a `FORMAT`, and its line in `FORMATS`.

    `detect` looks at which files there are and must not raise; `read` raises InputError for whatever is wrong in them.
    """

    name: str
    about: str
    detect: Callable[[Path], bool]
    read: Callable[[Path], Scene]


def fit_to_files(cameras: Cameras, paths: Paths) -> Cameras:
    """`cameras` at the exact sizes of their photos, which a data set may ship smaller than its cameras say.

    Raises:
        InputError: a photo cannot be read, or has another shape than its camera.
    """
    sizes = []
    for i, path in enumerate(paths):
        stated = int(cameras.width[i]), int(cameras.height[i])
        found = stated if path is None else file_size(path)
        if abs((found[0] / found[1]) / (stated[0] / stated[1]) - 1) > SAME_ASPECT:
            raise InputError(
                f"{path} is {found[0]} x {found[1]} pixels, but its camera is for {stated[0]} x {stated[1]}. "
                "Use the photos as they were downloaded."
            )
        sizes.append(found)
    width, height = torch.tensor(sizes).unbind(1)
    return cameras.resized(width, height)


def file_size(path: Path) -> tuple[int, int]:
    """Width and height of a photo, from its header.

    Raises:
        InputError: not a readable picture.
    """
    try:
        return photo_size(path)
    except UnreadablePhotoError as error:
        raise InputError(f"The size of {path} is needed, but it is {error}.") from error


def reduced_copies(root: Path, count: int) -> dict[int, Paths]:
    """The folders `images_<factor>` in `root` that hold as many photos as the scene has views, by name."""
    found: dict[int, Paths] = {}
    for factor in REDUCED_FACTORS:
        photos = photos_in(root / f"images_{factor}")
        if len(photos) == count:
            found[factor] = tuple(photos)
    return found


def photos_in(folder: Path) -> list[Path]:
    """The photos in `folder`, sorted as text, which is how LLFF and COLMAP count; none if it is no folder of photos."""
    try:
        return sorted(list_photos(folder)[0], key=lambda path: path.name)
    except InputError:
        return []


def _all_of_size(paths: Paths, size: tuple[int, int]) -> bool:
    return all(path is not None and file_size(path) == size for path in paths)


def _shrink(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """By area average, as RegNeRF shrinks DTU."""
    if size == (picture.shape[1], picture.shape[0]):
        return picture
    return torch.from_numpy(cv2.resize(picture.numpy(), size, interpolation=cv2.INTER_AREA))
