"""Pooled affine SIFT through the child process."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.poses.features import Features, as_gray, nearest_neighbours, shrink
from recon.poses.process import run_job
from recon.sfm.packing import pack, unpack


class SiftMatcher:
    """Domain-size-pooled, affine-adapted SIFT; needs no weights."""

    name = "sift"

    def __init__(self, max_side: int, seed: int, time_limit_s: float, max_features: int = 8192) -> None:
        self.max_side, self.max_features = max_side, max_features
        self.seed, self.time_limit_s = seed, time_limit_s

    def extract(self, photos: Sequence[Float[Tensor, "_ _ 3"]]) -> list[Features]:
        """Features of every photo, in its own pixels; photos are shrunk to `max_side` first."""
        small = [as_gray(shrink(photo, self.max_side)) for photo in photos]
        arrays = pack("gray", [gray.reshape(-1, 1) for gray in small], 1, np.uint8)
        arrays["sizes"] = np.array([[g.shape[1], g.shape[0]] for g in small])
        found = run_job(
            "extract",
            arrays | {"max_features": np.array(self.max_features)},
            seed=self.seed,
            time_limit_s=self.time_limit_s,
        )
        return [
            self._features(torch.from_numpy(uv), torch.from_numpy(d), photo, gray.shape)
            for uv, d, photo, gray in zip(unpack("keypoints", found), unpack("descriptors", found), photos, small)
        ]

    def match(self, a: Features, b: Features) -> Int[Tensor, "M 2"]:
        return nearest_neighbours(a.descriptors, b.descriptors, max_ratio=0.8, max_angle_rad=0.7)

    @staticmethod
    def _features(uv: Tensor, descriptors: Tensor, photo: Tensor, small: Sequence[int]) -> Features:
        height, width = photo.shape[:2]
        scale = torch.tensor([width / small[1], height / small[0]])
        # a keypoint with two orientations is two rows: COLMAP's way, and the matcher sorts them out
        return Features(uv * scale, torch.nn.functional.normalize(descriptors.float(), dim=1), (width, height))
