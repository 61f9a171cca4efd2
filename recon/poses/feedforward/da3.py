"""Depth Anything 3 (Lin et al. 2025), through the package `depth-anything-3`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon.assets import Checkpoint
from recon.poses.feedforward.backend import FeedForwardBackend
from recon.poses.feedforward.prediction import Canvas, Prediction, predicted

SIDE, PATCH = 504, 14
"""Longest side the model is asked at (the package's own default), and what sides must be multiples of."""


class Da3Backend(FeedForwardBackend):
    name = "da3"
    title = "Depth Anything 3"
    module = "depth_anything_3"
    # its own requirements would put older releases of numpy and OpenCV in the place of recon's
    install = "pip install '.[da3]' && pip install --no-deps depth-anything-3"
    checkpoints = (
        Checkpoint("depth-anything/DA3-BASE", "Apache-2.0", 540_000_000),
        Checkpoint("depth-anything/DA3-SMALL", "Apache-2.0", 140_000_000),
        Checkpoint("depth-anything/DA3-LARGE-1.1", "CC BY-NC 4.0: no commercial use", 1_640_000_000),
        Checkpoint("depth-anything/DA3-GIANT-1.1", "CC BY-NC 4.0: no commercial use", 5_400_000_000),
    )

    def load(self, folder: Path) -> Any:
        return self.package("depth_anything_3.api").DepthAnything3.from_pretrained(str(folder))

    def ask(self, model: Any, photos: Sequence[Float[Tensor, "_ _ 3"]], device: torch.device) -> Prediction:
        if device.type == "cpu":  # the package computes in float16 there, three times slower than float32
            model.forward = model.model.forward
        resized = [_resize(photo) for photo in photos]
        said = model.inference(resized, process_res=SIDE)
        canvas_size = said.depth.shape[1:]
        canvases = [_canvas(photo, picture, canvas_size) for photo, picture in zip(photos, resized)]
        outputs = (said.extrinsics, said.intrinsics, said.depth, said.conf)
        return predicted(photos, canvases, *(torch.from_numpy(np.asarray(values)) for values in outputs))


def _resize(photo: Float[Tensor, "H W 3"]) -> np.ndarray:
    """The photo as the package itself would resize it, uint8: longest side `SIDE`, both multiples of `PATCH`.

    Given such a photo it leaves it as it is, so the size is known here, whatever its release rounds like.
    """
    height, width = photo.shape[:2]
    scale = SIDE / max(height, width)
    size = [max(PATCH, PATCH * round(side * scale / PATCH)) for side in (width, height)]
    picture = (photo.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _canvas(photo: Tensor, resized: np.ndarray, canvas_size: Sequence[int]) -> Canvas:
    """Photos of different sizes are cropped, about their middle, to the smallest height and width."""
    (height, width), (resized_height, resized_width) = photo.shape[:2], resized.shape[:2]
    return Canvas(
        resized_width / width,
        resized_height / height,
        -((resized_width - canvas_size[1]) // 2),
        -((resized_height - canvas_size[0]) // 2),
    )
