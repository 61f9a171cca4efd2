"""VGGT (Wang et al., CVPR 2025), through its package `vggt`."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.assets import Checkpoint
from recon.poses.feedforward.backend import FeedForwardBackend
from recon.poses.feedforward.prediction import Canvas, Prediction, predicted

SIDE, PATCH = 518, 14
"""Width the model was trained at, and what sides must be multiples of."""


class VggtBackend(FeedForwardBackend):
    name = "vggt"
    title = "VGGT"
    module = "vggt"
    # not on PyPI; its own requirements would put an older numpy in the place of recon's
    install = "pip install '.[vggt]' && pip install --no-deps git+https://github.com/facebookresearch/vggt"
    checkpoints = (
        Checkpoint(
            "facebook/VGGT-1B-Commercial",
            "VGGT License v1: any use but military",
            5_030_000_000,
            files=("vggt_1B_commercial.pt",),
            note="access must be asked for on its page",
        ),
        Checkpoint("facebook/VGGT-1B", "CC BY-NC 4.0: no commercial use", 5_030_000_000),
    )
    has_default = False

    def load(self, folder: Path) -> Any:
        model_class = self.package("vggt.models.vggt").VGGT
        if (folder / "model.safetensors").is_file():
            return model_class.from_pretrained(str(folder))
        files = sorted(folder.glob("*.pt"))
        if not files:
            raise FileNotFoundError("neither model.safetensors nor a .pt file")
        model = model_class()
        model.load_state_dict(torch.load(files[0], map_location="cpu", weights_only=True))
        return model

    def ask(self, model: Any, photos: Sequence[Float[Tensor, "_ _ 3"]], device: torch.device) -> Prediction:
        decode = self.package("vggt.utils.pose_enc").pose_encoding_to_extri_intri
        images, canvases = lay_out(photos)
        with _half_precision() if device.type == "cuda" else nullcontext():
            said = model(images.to(device))
        cam_from_world, Ks = decode(said["pose_enc"], images.shape[-2:])
        return predicted(photos, canvases, cam_from_world[0], Ks[0], said["depth"][0, ..., 0], said["depth_conf"][0])


def _half_precision() -> torch.autocast:
    return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


def lay_out(photos: Sequence[Float[Tensor, "_ _ 3"]]) -> tuple[Float[Tensor, "V 3 h w"], list[Canvas]]:
    """Photos as the package's loader lays them out: 518 wide, or in squares of 518 if one of them is upright.

    Its `load_and_preprocess_images` reads files and says nothing of where a photo went; this is its rule ("crop" where
    nothing is cropped, else "pad"), white where there is no photo.
    """
    upright = any(photo.shape[0] > photo.shape[1] for photo in photos)
    sizes = [_size(photo) for photo in photos]
    height = SIDE if upright else max(h for _, h in sizes)
    images = torch.ones(len(photos), 3, height, SIDE)
    canvases = []
    for image, photo, (w, h) in zip(images, photos, sizes):
        shrinks = w < photo.shape[1]
        resized = cv2.resize(photo.numpy(), (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        left, top = (SIDE - w) // 2, (height - h) // 2
        image[:, top : top + h, left : left + w] = torch.from_numpy(resized).permute(2, 0, 1).clamp(0, 1)
        canvases.append(Canvas(w / photo.shape[1], h / photo.shape[0], left, top))
    return images, canvases


def _size(photo: Tensor) -> tuple[int, int]:
    """Width and height: the longest side `SIDE`, the other in whole patches."""
    height, width = photo.shape[:2]
    scale = SIDE / max(height, width)
    w, h = (max(PATCH, PATCH * round(side * scale / PATCH)) for side in (width, height))
    return w, h
