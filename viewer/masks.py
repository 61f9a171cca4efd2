"""Where the object is in the photos of a run: their alpha channels, or what the network that ships takes for it."""

import logging

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from recon.priors import segment
from viewer.contents import Contents
from viewer.display import placed_indices

logger = logging.getLogger(__name__)


def object_masks(contents: Contents) -> list[Float[Tensor, "_ _"] | None]:
    """One mask per placed photo, 1 on the object; None where there is no photo or nothing clear in it.

    Raises:
        MissingDependencyError: the network's weights are not here.
    """
    from recon.data.masks import compute_masks

    placed = placed_indices(contents.cameras)
    masks: list[Float[Tensor, "_ _"] | None] = [None] * len(placed)
    open_ones, photos = [], []
    for row, index in enumerate(placed):
        file = contents.photo_files[index] if index < len(contents.photo_files) else None
        if file is None:
            continue
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
        pixels = torch.from_numpy(np.asarray(upright).astype(np.float32) / 255.0)
        if float(pixels[..., 3].min()) < 1.0:
            masks[row] = pixels[..., 3]
        else:
            open_ones.append(row)
            photos.append(pixels[..., :3].contiguous())
    names = [contents.names[placed[row]] for row in open_ones]
    found, warnings = compute_masks(names, photos, segment.get("u2netp"))
    for warning in warnings:
        logger.warning("%s", warning)
    for row, mask in zip(open_ones, found):
        masks[row] = mask
    return masks
