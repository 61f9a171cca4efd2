"""Photos and made-up scenes for the tests of poses."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from recon.types import Cameras, ImageSet

TESTS = Path(__file__).parents[1]
DEMO = TESTS.parent / "assets" / "demo"
REFERENCE = json.loads((TESTS / "data" / "door_poses.json").read_text())["photos"]
NAMES = tuple(sorted(REFERENCE))


def image_set(
    photos: Sequence[torch.Tensor], names: Sequence[str] | None = None, focal: float = float("nan")
) -> ImageSet:
    """Photos of one lens (photos of another size get another camera id)."""
    sizes = [tuple(photo.shape) for photo in photos]
    return ImageSet(
        names=tuple(names or (f"{v}.jpg" for v in range(len(photos)))),
        images=tuple(photos),
        focal_px=torch.full((len(photos),), focal),
        camera_ids=torch.tensor([sizes.index(size) for size in sizes]),
    )


def door_photo(name: str, max_side: int = 640) -> torch.Tensor:
    bgr = cv2.imread(str(DEMO / name))
    scale = max_side / max(bgr.shape[:2])
    if scale < 1:
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)).float() / 255


def door(names: Sequence[str] = NAMES, max_side: int = 640) -> ImageSet:
    """Demo photos, unknown focal length."""
    return image_set([door_photo(name, max_side) for name in names], names)


def door_truth(names: Sequence[str] = NAMES, max_side: int = 640) -> Cameras:
    """Cameras of the demo photos from the dense reconstruction of all twelve."""
    poses = torch.eye(4).repeat(len(names), 1, 1)
    poses[:, :3] = torch.tensor([REFERENCE[name]["cam_from_world"] for name in names])
    height, width = door_photo(names[0], max_side).shape[:2]
    f = REFERENCE[names[0]]["focal_longest_sides"] * max(width, height)
    K = torch.tensor([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1]])
    return Cameras.create(poses, K.repeat(len(names), 1, 1), width, height)


def texture(seed: int, height: int = 400, width: int = 268) -> torch.Tensor:
    """A random picture with detail at many scales that looks like nothing else."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.random((height // k + 2, width // k + 2, 3)).astype(np.float32), (width, height))
        for k in (2, 4, 8, 16, 32)
    ]
    return torch.from_numpy(np.mean(layers, axis=0)).clamp(0, 1)


def pairwise_rotation_errors(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Degrees between the relative rotations of [V, 4, 4] poses, over all pairs."""
    out = []
    for i in range(len(a)):
        for j in range(i):
            ra = (a[i, :3, :3] @ a[j, :3, :3].T).double()
            rb = (b[i, :3, :3] @ b[j, :3, :3].T).double()
            out.append(torch.linalg.matrix_norm(ra - rb) / 2**0.5)  # 2 sin(angle / 2) * sqrt(2) / sqrt(2)
    return torch.stack(out).rad2deg()
