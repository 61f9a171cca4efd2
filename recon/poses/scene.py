"""The hand-over to dense stereo and optimisation."""

import cv2
import torch

from recon.types import ImageSet, PosedScene, PoseResult


def make_scene(images: ImageSet, result: PoseResult, max_side: int) -> PosedScene:
    """The registered photos, resized so that the longest side is at most `max_side`, with their cameras and points.

    Photos are shrunk by area averaging and never enlarged; masks go with them. Cameras are rescaled to the exact new
    sizes, which keeps pixel centres at (0.5, 0.5).
    """
    keep = [v for v in range(len(images)) if result.cameras.registered[v]]
    photos, masks = [], []
    for v in keep:
        height, width = images.images[v].shape[:2]
        scale = min(1.0, max_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        photos.append(_resize(images.images[v], size))
        if images.masks is not None:
            masks.append(_resize(images.masks[v], size))
    widths = torch.tensor([photo.shape[1] for photo in photos])
    heights = torch.tensor([photo.shape[0] for photo in photos])
    return PosedScene(
        names=tuple(images.names[v] for v in keep),
        images=tuple(photos),
        cameras=result.cameras[keep].resized(widths, heights),
        points=result.points,
        masks=tuple(masks) if images.masks is not None else None,
    )


def _resize(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """To (width, height) by area averaging."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    return torch.from_numpy(cv2.resize(image.numpy(), size, interpolation=cv2.INTER_AREA))
