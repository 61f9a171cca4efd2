"""Do two photos look into each other? A small dense stereo of each pair tells right cameras from wrong ones.

Sparse matches can lie: look-alike corners agree with a wrong epipolar geometry by the dozen. But between wrongly placed
photos hardly any *surface* is found that carries one photo into the other and back, so the share of the textured,
commonly seen pixels on which a quick stereo agrees both ways is evidence that the matches did not have a say in.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from recon.poses.features import Pair, shrink
from recon.poses.matches import Model
from recon.stereo import StereoConfig, reconstruct
from recon.stereo.warp import positions_in_view
from recon.types import Cameras, ImageSet, PointCloud, PosedScene

SIDE = 160
"""Longest side of the photos that are compared: a pair takes a third of a second, and tells no less than at 256."""
STEREO = StereoConfig(max_side=SIDE, levels=1, coarse_iterations=2, max_planes=64, neighbours=1)
WINDOW = 7
MIN_DEVIATION = 4.0
"""Grey levels (of 255) of standard deviation in a window, below which it says nothing."""
MIN_COMMON = 60
"""Pixels that both of two depth maps must know before their scales are compared."""


@dataclass(frozen=True)
class DensePair:
    """The surface that two photos agree on, from these two alone."""

    share: float
    """Of the textured pixels that either photo should see of the other's, how many lie on an agreed surface."""
    depths: tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]
    """Of either photo, in the model's units; 0 where the photos do not agree."""


def compare(images: ImageSet, model: Model, pairs: Iterable[Pair]) -> dict[Pair, DensePair]:
    """Stereo of each of the given pairs, whose photos must have cameras in `model`."""
    photos = [shrink(photo, SIDE) for photo in images.images]
    seen_by = [set(model.observations[model.observations[:, 1] == v, 0].tolist()) for v in range(len(photos))]
    return {(i, j): _dense_pair(_scene(photos, model, (i, j), seen_by[i] & seen_by[j])) for i, j in pairs}


def scale_ratio(first: Float[Tensor, "H W"], second: Float[Tensor, "H W"]) -> float:
    """How many times deeper one photo's surface lies with one partner than with another; NaN without common pixels.

    1 where all three photos have their right places. A photo that hangs on one neighbour only may stand at any
    distance from it, and then this is anything.
    """
    both = (first > 0) & (second > 0)
    if int(both.sum()) < MIN_COMMON:
        return float("nan")
    return float((first[both] / second[both]).log().median().exp())


def _scene(photos: list[Tensor], model: Model, pair: Pair, points: set[int]) -> PosedScene:
    rows = list(pair)
    sizes = [torch.tensor([photos[v].shape[1 - k] for v in rows]) for k in range(2)]
    full = torch.from_numpy(np.round(2 * model.Ks[rows, :2, 2])).long()
    cameras = Cameras.create(
        torch.from_numpy(model.cam_from_world[rows]).float(), torch.from_numpy(model.Ks[rows]).float(), 1, 1
    )
    cameras = Cameras(
        cameras.cam_from_world, cameras.Ks, full[:, 0], full[:, 1], cameras.registered, cameras.confidence
    ).resized(*sizes)
    xyz = torch.from_numpy(model.xyz[sorted(points)].reshape(-1, 3)).float()
    cloud = PointCloud(xyz, torch.zeros_like(xyz), torch.ones(len(xyz)))
    return PosedScene(("first", "second"), tuple(photos[v] for v in rows), cameras, cloud)


def _dense_pair(scene: PosedScene) -> DensePair:
    maps, _ = reconstruct(scene, STEREO)
    depths, agreed, asked = [], 0, 0
    for a, b in ((0, 1), (1, 0)):
        sure = maps.confidence[a] >= STEREO.min_confidence
        in_view = positions_in_view(maps.depth[a], scene.cameras[a], scene.cameras[b])[2]
        useful = in_view & textured(scene.images[a])
        depths.append(torch.where(sure, maps.depth[a], torch.zeros_like(maps.depth[a])))
        agreed += int((sure & useful).sum())
        asked += int(useful.sum())
    return DensePair(agreed / max(asked, 1), (depths[0], depths[1]))


def textured(photo: Float[Tensor, "H W 3"]) -> Bool[Tensor, "H W"]:
    """Where a window of the photo has something to match."""
    grey: NDArray = photo.mean(dim=2).numpy() * 255
    mean, square = (cv2.boxFilter(x, -1, (WINDOW, WINDOW)) for x in (grey, grey * grey))
    return torch.from_numpy(square - mean * mean > MIN_DEVIATION**2)
