"""Keypoints with descriptors, and the exact nearest-neighbour matcher shared by every kind of them."""

from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Pair = tuple[int, int]

MOST_ENLARGED, LEAST_ENLARGED = 2.0, 1.5
"""Photos well below the working size are enlarged, up to twice: of four scenes of 400 pixels, two gave 2.2 times the
nearest-neighbour matches and two hardly more; three times gave no clear gain over twice. That enlarging by less than
1.5 is not worth its cost is a guess."""


@dataclass(frozen=True)
class Features:
    """Local features of one photo."""

    keypoints: Float[Tensor, "N 2"]
    """Pixels of the photo, first pixel's centre at (0.5, 0.5)."""
    descriptors: Float[Tensor, "N D"]
    """Unit length."""
    size: tuple[int, int]
    """Width and height of the photo, pixels."""
    turns: int = 0
    """Quarter turns, counter-clockwise as `torch.rot90`, that the photo was given before the network saw it."""

    def __len__(self) -> int:
        return len(self.keypoints)

    def strongest(self, n: int) -> "Features":
        """The first n keypoints; extractors return them strongest first."""
        return replace(self, keypoints=self.keypoints[:n], descriptors=self.descriptors[:n])

    def as_seen(self) -> tuple[Float[Tensor, "N 2"], tuple[int, int]]:
        """Keypoints and size in the turned photo, for matchers that look at positions."""
        width, height = self.size
        x, y = self.keypoints.unbind(1)
        turned = {0: (x, y), 1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[self.turns]
        return torch.stack(turned, dim=1), (width, height) if self.turns % 2 == 0 else (height, width)


def turn_back(keypoints: Float[Tensor, "N 2"], size: tuple[int, int], turns: int) -> Float[Tensor, "N 2"]:
    """Keypoints of a photo of `size` (width, height) that was turned, in the photo itself."""
    width, height = size
    x, y = keypoints.unbind(1)
    back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns]
    return torch.stack(back, dim=1)


def work_factor(longest: int, max_side: int) -> float:
    """Working pixels per pixel of a photo whose longest side is `longest`."""
    factor = min(MOST_ENLARGED, max_side / longest)
    return factor if factor >= LEAST_ENLARGED else min(1.0, factor)


def at_work_size(photo: Float[Tensor, "H W 3"], max_side: int) -> Float[Tensor, "h w 3"]:
    """The photo as features are found in it: shrunk to `max_side`, or enlarged if it is much smaller."""
    height, width = photo.shape[:2]
    factor = work_factor(max(height, width), max_side)
    if factor <= 1:
        return shrink(photo, max_side)
    size = (round(width * factor), round(height * factor))
    return torch.from_numpy(cv2.resize(photo.numpy(), size, interpolation=cv2.INTER_CUBIC)).clamp(0, 1)


def shrink(photo: Float[Tensor, "H W 3"], max_side: int, multiple: int = 1) -> Float[Tensor, "h w 3"]:
    """The photo with its longest side at most `max_side`, by area averaging; sides rounded to `multiple` pixels."""
    height, width = photo.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = [max(multiple, round(side * scale / multiple) * multiple) for side in (width, height)]
    if size == [width, height]:
        return photo
    return torch.from_numpy(cv2.resize(photo.numpy(), size, interpolation=cv2.INTER_AREA))


def nearest_neighbours(
    a: Float[Tensor, "N D"], b: Float[Tensor, "M D"], *, max_ratio: float, max_angle_rad: float
) -> Int[Tensor, "K 2"]:
    """Mutual nearest neighbours that pass the ratio test on angles (Lowe 2004, section 7.1) both ways.

    The same rule as COLMAP's exhaustive matcher, as one matrix product instead of integer loops (ten times faster).
    """
    if len(a) < 2 or len(b) < 2:
        return torch.zeros((0, 2), dtype=torch.int64)
    similarity = a @ b.T
    forward, forward_index = similarity.topk(2, dim=1)
    backward, backward_index = similarity.topk(2, dim=0)
    angle, angle_back = (s.clamp(-1, 1).acos() for s in (forward, backward.T))
    good = (angle[:, 0] < max_ratio * angle[:, 1]) & (angle[:, 0] < max_angle_rad)
    good_back = angle_back[:, 0] < max_ratio * angle_back[:, 1]
    nearest = forward_index[:, 0]
    rows = torch.arange(len(a))
    keep = good & good_back[nearest] & (backward_index[0][nearest] == rows)
    return torch.stack([rows[keep], nearest[keep]], dim=1)


def all_pairs(n: int) -> list[Pair]:
    """Every pair of n photos; a handful of photos needs no retrieval."""
    return list(combinations(range(n), 2))


def as_gray(photo: Float[Tensor, "H W 3"]) -> np.ndarray:
    """Luma (Rec. 601) as uint8 [H, W]."""
    weights = torch.tensor([0.299, 0.587, 0.114])
    return ((photo @ weights).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
