"""Object masks: from a folder (the photo's stem, any picture format, white on the object), or computed."""

from pathlib import Path

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.data.decode import UnreadablePhotoError, decode_photo
from recon.data.duplicates import SAME_ASPECT
from recon.data.folder import find_by_stem
from recon.errors import InputError
from recon.priors.segment import Segmenter, unsure_share

ANY_SIDE = 1 << 20
"""Masks are decoded at full size and shrunk to their photo's."""

AUTO, NONE = Path("auto"), Path("none")
"""In the place of a folder of masks: compute them; use none, not even alpha channels."""

MAX_UNSURE = 0.25
"""Share of undecided pixels above which a photo is taken to show no single object: see `unsure_share`."""
MIN_OBJECT = 0.01
"""Share of the photo below which what was found is no object."""


def find_mask(folder: Path, photo_name: str) -> Path | None:
    """The mask of a photo: `IMG_1.png` (any suffix) or, as COLMAP names them, `IMG_1.jpg.png`."""
    return find_by_stem(folder, (Path(photo_name).stem, photo_name))


def require_folder(folder: Path) -> None:
    """Raise InputError if the mask folder is not there."""
    if not folder.is_dir():
        raise InputError(f"There is no mask folder {folder}. Check the path given with --masks.")


def is_folder(masks: Path | None) -> bool:
    """Whether the setting `masks` names a folder, rather than being one of the two words or nothing."""
    return masks not in (None, AUTO, NONE)


def load_masks(
    folder: Path, names: list[str], sizes: list[tuple[int, int]], max_megapixels: float
) -> tuple[list[Float[Tensor, "_ _"] | None], list[str]]:
    """The masks of photos `names`, resampled to `sizes` (width, height); None where there is none; and warnings.

    Raises:
        InputError: no such folder, no mask matches any photo, a mask is damaged or of another shape than its photo.
    """
    require_folder(folder)
    paths = [find_mask(folder, name) for name in names]
    missing = [name for name, path in zip(names, paths) if path is None]
    if len(missing) == len(names):
        raise InputError(
            f"No mask in {folder} belongs to a photo (looked for {Path(names[0]).stem}.png and the like). "
            "Name each mask after its photo."
        )
    masks = [
        None if path is None else _load_mask(path, name, size, max_megapixels)
        for name, path, size in zip(names, paths, sizes)
    ]
    warnings = [f"No mask for {', '.join(missing)} in {folder}: the whole photo counts as object."] if missing else []
    for path, mask in zip(paths, masks):
        if path is not None and mask is not None and float(mask.max()) == 0:
            warnings.append(f"Mask {path.name} is black everywhere: its photo will not be used to colour anything.")
    return masks, warnings


def compute_masks(
    names: list[str], photos: list[Float[Tensor, "_ _ 3"]], segmenter: Segmenter
) -> tuple[list[Float[Tensor, "_ _"] | None], list[str]]:
    """What `segmenter` takes for the object of each photo, None where that is nothing clear; and a warning about those.

    Where most photos show no clear object there is none, and what was found in the others is chance: no masks at all.

    Raises:
        MissingDependencyError: the segmenter cannot run here.
    """
    masks: list[Float[Tensor, "_ _"] | None] = []
    for photo in photos:
        mask = segmenter.segment(photo)
        clear = (
            mask is not None and float((mask > 0.5).float().mean()) >= MIN_OBJECT and unsure_share(mask) < MAX_UNSURE
        )
        masks.append(mask if clear else None)
    unclear = [name for name, mask in zip(names, masks) if mask is None]
    if not unclear:
        return masks, []
    result = "the whole photo counts as object"
    if 2 * len(unclear) > len(masks):
        masks, result = [None] * len(masks), "all photos are used whole"
    advice = "Give masks of your own with --masks DIR where that is wrong."
    return masks, [f"No single object was found in {', '.join(unclear)}: {result}. {advice}"]


def _load_mask(path: Path, photo_name: str, size: tuple[int, int], max_megapixels: float) -> Float[Tensor, "H W"]:
    try:
        picture = decode_photo(path, ANY_SIDE, max_megapixels)
    except UnreadablePhotoError as error:
        raise InputError(f"Mask {path} cannot be used: {error}.") from error
    mask = picture.alpha if picture.alpha is not None else picture.rgb.mean(dim=2)
    # Some tools write labels 0 and 1 rather than black and white.
    largest = float(mask.max())
    if 0 < largest < 1.5 / 255:
        mask = mask / largest
    height, width = mask.shape
    if abs((width / height) / (size[0] / size[1]) - 1) > SAME_ASPECT:
        raise InputError(
            f"Mask {path} is {width} x {height} pixels, but {photo_name} has the shape {size[0]} x {size[1]}. "
            "Masks must cover their photo exactly."
        )
    if (width, height) != size:
        shrinks = width > size[0]
        resized = cv2.resize(mask.numpy(), size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        mask = torch.from_numpy(resized)
    return mask.clamp(0, 1)
