"""A folder of photos to an `ImageSet`, whatever a user's folder may hold."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from recon.data.decode import Photo, UnreadablePhotoError, decode_photo, shrunk_size
from recon.data.duplicates import content_hash, same_picture, thumbnail
from recon.data.folder import SUPPORTED, list_photos
from recon.data.masks import AUTO, NONE, compute_masks, find_mask, is_folder, load_masks, require_folder
from recon.errors import InputError
from recon.events import EventSink, Progress, Warned, ignore
from recon.files import atomic_path
from recon.priors.segment import get
from recon.types import ImageSet

STAGE = "images"
SEGMENTER = "u2netp"
"""Computes masks where `masks` is `auto`."""


@dataclass(frozen=True)
class ImagesConfig:
    """How photos are read."""

    max_side: int = 1600
    """Longest side in pixels; larger photos are shrunk while loading."""
    masks: Path | None = None
    """Folder of object masks named like the photos, white on the object; overrides alpha channels. `auto` computes the
    masks of photos without alpha; `none` ignores alpha channels too."""
    min_photos: int = 2
    """Fewer usable photos than this is an error."""
    max_megapixels: float = 400.0
    """A larger photo is left out with a warning, rather than exhausting the memory."""
    drop_duplicates: bool = True
    """Leave out copies of a photo: byte for byte, or re-encoded."""

    def __post_init__(self) -> None:
        if self.max_side < 16:
            raise InputError(f"max_side is {self.max_side} pixels; photos need at least 16. Raise it.")


@dataclass(frozen=True)
class _Loaded:
    path: Path
    photo: Photo


def load_images(folder: Path | str, config: ImagesConfig = ImagesConfig(), emit: EventSink = ignore) -> ImageSet:
    """Read the photos directly in `folder`, in natural order of their names.

    Every file that is left out is named in a `Warned` event and in the result's `warnings`, with the reason.

    Raises:
        InputError: the folder cannot be used, fewer than `config.min_photos` photos can, or a mask does not fit.
        MissingDependencyError: masks shall be computed, and the network's weights are not there.
    """
    folder = Path(folder)
    warnings: list[str] = []

    def warn(messages: Iterable[str]) -> None:
        for message in messages:
            warnings.append(message)
            emit(Warned(message))

    paths, messages = list_photos(folder)
    warn(messages)
    if config.drop_duplicates:
        paths, messages = _drop_copies(paths)
        warn(messages)
    loaded, messages = _decode_all(paths, config, emit)
    warn(messages)
    if config.drop_duplicates:
        loaded, messages = _drop_reencoded(loaded)
        warn(messages)
    if len(loaded) < config.min_photos:
        raise InputError(_too_few(folder, loaded, config.min_photos, warnings))
    masks, messages = _masks(loaded, config)
    warn(messages)
    return ImageSet(
        names=tuple(item.path.name for item in loaded),
        images=tuple(item.photo.rgb for item in loaded),
        focal_px=torch.tensor([item.photo.focal_px for item in loaded], dtype=torch.float32),
        camera_ids=_camera_ids([item.photo for item in loaded]),
        masks=masks,
        warnings=tuple(warnings),
    )


def fingerprint(folder: Path | str, config: ImagesConfig = ImagesConfig()) -> str:
    """A hash of everything `load_images` would depend on: settings, and names and bytes of photos and masks.

    Equal fingerprints mean that a result in a run folder can be used again. Nothing is decoded.

    Raises:
        InputError: as `load_images`, when no photo or no mask folder is there.
    """
    paths, _ = list_photos(Path(folder))
    digest = hashlib.sha256(repr(replace(config, masks=None)).encode())
    folder_of_masks = config.masks if is_folder(config.masks) else None
    if folder_of_masks is not None:
        require_folder(folder_of_masks)
        digest.update(b"masks")
    elif config.masks is not None:
        digest.update(f"masks {config.masks}".encode())
    for path in paths:
        mask = None if folder_of_masks is None else find_mask(folder_of_masks, path.name)
        for file in (path, *([] if mask is None else [mask])):
            digest.update(f"\0{file.name}\0{_hash_or_reason(file)}".encode())
    return digest.hexdigest()


def resize(images: ImageSet, max_side: int) -> ImageSet:
    """Shrink every photo (by area average) so that its longest side is at most `max_side`; none is enlarged."""
    sizes = [shrunk_size(image.shape[1], image.shape[0], max_side) for image in images.images]
    scale = [max(size) / max(image.shape[:2]) for size, image in zip(sizes, images.images)]
    return replace(
        images,
        images=tuple(_shrink(image, size) for image, size in zip(images.images, sizes)),
        masks=None if images.masks is None else tuple(_shrink(m, size) for m, size in zip(images.masks, sizes)),
        focal_px=images.focal_px * torch.tensor(scale, dtype=images.focal_px.dtype),
    )


def select(images: ImageSet, indices: list[int]) -> ImageSet:
    """The photos at `indices`, in that order; warnings stay."""
    return replace(
        images,
        names=tuple(images.names[i] for i in indices),
        images=tuple(images.images[i] for i in indices),
        focal_px=images.focal_px[indices],
        camera_ids=images.camera_ids[indices],
        masks=None if images.masks is None else tuple(images.masks[i] for i in indices),
    )


def save_images(images: ImageSet, folder: Path | str, quality: int = 95) -> list[str]:
    """Write the photos as loaded (upright, sRGB, shrunk) to `folder`, as JPEG, or PNG with alpha where masked.

    Other programs then see the pixels that the cameras were made for. Returns the file names: the photos' own with the
    suffix changed, in full (`a.png.jpg`) where two photos differ in their suffix only.
    """
    suffix = ".jpg" if images.masks is None else ".png"
    stems = [Path(name).stem for name in images.names]
    names = [(s if stems.count(s) == 1 else name) + suffix for s, name in zip(stems, images.names)]
    for i, name in enumerate(names):
        pixels = images.images[i]
        if images.masks is not None:
            pixels = torch.cat([pixels, images.masks[i][..., None]], dim=2)
        picture = Image.fromarray((pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
        with atomic_path(Path(folder) / name) as temporary:
            picture.save(temporary, quality=quality, subsampling=0)  # PNG ignores both
    return names


def _drop_copies(paths: list[Path]) -> tuple[list[Path], list[str]]:
    """Keep the first of files with equal bytes. A file that cannot be read is left to the decoder to report."""
    first: dict[str, Path] = {}
    kept, warnings = [], []
    for path in paths:
        original = first.setdefault(_hash_or_reason(path), path)
        if original is path:
            kept.append(path)
        else:
            warnings.append(f"Left out {path.name}: it is an exact copy of {original.name}.")
    return kept, warnings


def _hash_or_reason(path: Path) -> str:
    try:
        return content_hash(path)
    except OSError as error:
        return f"{path.name}: {error}"


def _decode_all(paths: list[Path], config: ImagesConfig, emit: EventSink) -> tuple[list[_Loaded], list[str]]:
    loaded, warnings = [], []
    for i, path in enumerate(paths):
        emit(Progress(STAGE, i, len(paths), f"reading {path.name}"))
        try:
            loaded.append(_Loaded(path, decode_photo(path, config.max_side, config.max_megapixels)))
        except UnreadablePhotoError as error:
            warnings.append(f"Left out {path.name}: {error}.")
    emit(Progress(STAGE, len(paths), len(paths), f"{len(loaded)} photos"))
    return loaded, warnings


def _drop_reencoded(loaded: list[_Loaded]) -> tuple[list[_Loaded], list[str]]:
    """Keep the largest of pictures that show the same photo, the first among equals."""
    thumbnails = [thumbnail(item.photo.rgb) for item in loaded]
    kept: list[int] = []
    warnings = []
    for i, item in enumerate(loaded):
        twin = next(
            (
                k
                for k, j in enumerate(kept)
                if same_picture(item.photo.rgb, loaded[j].photo.rgb, thumbnails[i], thumbnails[j])
            ),
            None,
        )
        if twin is None:
            kept.append(i)
            continue
        better, worse = kept[twin], i
        if np.prod(item.photo.file_size) > np.prod(loaded[better].photo.file_size):
            better, worse = i, better
            kept[twin] = i
        warnings.append(f"Left out {loaded[worse].path.name}: it shows the same picture as {loaded[better].path.name}.")
    return [loaded[i] for i in sorted(kept)], warnings


def _masks(loaded: list[_Loaded], config: ImagesConfig) -> tuple[tuple[Float[Tensor, "_ _"], ...] | None, list[str]]:
    if config.masks == NONE:
        return None, []
    masks = [item.photo.alpha for item in loaded]
    warnings: list[str] = []
    if config.masks == AUTO:
        bare = [i for i, mask in enumerate(masks) if mask is None]
        photos = [loaded[i].photo.rgb for i in bare]
        computed, warnings = compute_masks([loaded[i].path.name for i in bare], photos, get(SEGMENTER))
        for i, mask in zip(bare, computed):
            masks[i] = mask
    elif config.masks is not None:
        names = [item.path.name for item in loaded]
        sizes = [(item.photo.rgb.shape[1], item.photo.rgb.shape[0]) for item in loaded]
        masks, warnings = load_masks(config.masks, names, sizes, config.max_megapixels)
    if all(mask is None for mask in masks):
        return None, warnings
    full = (torch.ones(item.photo.rgb.shape[:2]) for item in loaded)
    return tuple(ones if mask is None else mask for mask, ones in zip(masks, full)), warnings


def _camera_ids(photos: list[Photo]) -> Tensor:
    """One id for each distinct size and lens, in order of appearance."""
    keys = [(tuple(photo.rgb.shape), photo.file_size, photo.lens) for photo in photos]
    order = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return torch.tensor([order[key] for key in keys], dtype=torch.int64)


def _shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    if size == (image.shape[1], image.shape[0]):
        return image
    return torch.from_numpy(cv2.resize(image.numpy(), size, interpolation=cv2.INTER_AREA))


def _too_few(folder: Path, loaded: list[_Loaded], wanted: int, warnings: list[str]) -> str:
    found = len(loaded) or "none"
    reasons = f" {' '.join(warnings)}" if warnings else ""
    return (
        f"Need at least {wanted} photos, found {found} in {folder} (supported: {SUPPORTED}).{reasons} "
        "Add photos or pass --images another folder."
    )
