"""A photo laid over the rendering from its own place."""

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from recon.types import Cameras
from viewer.looks import Picture


def photo_over(
    picture: Picture,
    camera: Cameras,
    photo: UInt8[np.ndarray, "_ _ 3"],
    photo_camera: Cameras,
    share: float,
) -> Picture:
    """`picture`, as `camera` sees it, mixed with the photo where that reaches.

    Both cameras are in one place, so the pixels of one follow from those of the other by a homography.

    Args:
        share: how much of the photo, in [0, 1].
    """
    height, width = photo.shape[:2]
    there = photo_camera.resized(torch.tensor([width]), torch.tensor([height]))
    turn = camera.cam_from_world[0, :3, :3] @ there.cam_from_world[0, :3, :3].T
    H = (camera.Ks[0] @ turn @ torch.linalg.inv(there.Ks[0])).double().numpy()
    # Ours count pixel centres from 0.5, OpenCV's from 0.
    to_ours, to_theirs = _shift(0.5), _shift(-0.5)
    H = to_theirs @ H @ to_ours
    size = (picture.shape[1], picture.shape[0])
    warped = cv2.warpPerspective(photo, H, size, flags=cv2.INTER_AREA)
    reach = cv2.warpPerspective(np.full(photo.shape[:2], share, np.float32), H, size, flags=cv2.INTER_LINEAR)[..., None]
    return np.clip(picture * (1.0 - reach) + warped * reach + 0.5, 0, 255).astype(np.uint8)


def _shift(by: float) -> np.ndarray:
    return np.array([[1.0, 0.0, by], [0.0, 1.0, by], [0.0, 0.0, 1.0]])
