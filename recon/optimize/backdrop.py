"""A backdrop that stereo cannot see: the same flat colour behind the scene in most of the photos.

A clear sky, a studio's sweep, the black box of a data set: nothing can be matched there, so its depth is carried over
from what stands in front of it, and Gaussians of its colour hang beside the object and hide it from other sides. A
flat colour looks the same at any distance; far behind everything it can hide nothing.

Not from a paper. A flat region of a single photo is left alone: it may be a wall, and its carried-over depth right.
"""

import logging
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from recon.optimize.gaps import SAME_SURFACE, Surface, photo_surface
from recon.types import DepthMaps, PosedScene

logger = logging.getLogger(__name__)

WINDOW_PX = 9
FLAT = 3.0 / 255
"""Standard deviation of the colour in that window below which a pixel is flat."""
SAME_COLOR = 10.0 / 255
"""Largest difference, in any channel, of two regions' mean colours that are one backdrop."""
SURE = 0.5
"""Confidence of the depths that say where the scene ends."""
RIM_PX = 9
"""This near the backdrop's rim objects are too wide: stereo's windows reach 4 pixels, and twice as far at half size."""


@dataclass(frozen=True)
class BackdropConfig:
    """When a flat colour counts as the backdrop, and where it goes."""

    distance: float = 1.1
    """In units of the scene's depth (95% of the sure depths are nearer than one): just behind the scene. Farther away,
    views from aside see past its rims and between it and the scene: 12 made scenes have 1.5 dB less with 3.
    Nearer than 1, it hides the scene. 0 turns it off."""
    min_area: float = 0.02
    """Smallest region, as a share of the photo; it must reach an upper or side rim of the photo, and not the lower."""
    in_photos: float = 0.6
    """Smallest share of the photos that must show it."""


@dataclass(frozen=True)
class Region:
    """A connected flat part of a photo."""

    view: int
    mask: NDArray[np.bool_]
    rgb: NDArray[np.float32]
    """Mean colour, [3]."""


def set_back(
    scene: PosedScene, depths: DepthMaps, config: BackdropConfig, unsure_below: float
) -> tuple[PosedScene, DepthMaps]:
    """Points and depths to start from, with the backdrop, where there is one, far behind everything.

    Where a photo shows the backdrop nothing stands in front of it, so points that it would show there are dropped
    (carving, as with a silhouette). Beside the backdrop's rim one photo suffices: stereo makes objects too wide. Deeper
    in, points stay if more photos are sure of a surface than show the backdrop: a white table is taken for a white
    backdrop, too, and a photo from before the object was turned over shows it where a scale bar lay afterwards.

    Args:
        unsure_below: confidence below which a depth is a guess.
    """
    if config.distance <= 0:
        return scene, depths
    regions = [r for view in range(len(scene)) for r in flat_regions(scene, depths, view, config, unsure_below)]
    chosen = most_common(regions, least=config.in_photos * len(scene))
    sure = torch.cat([d[(c > SURE) & (d > 0)] for d, c in zip(depths.depth, depths.confidence)])
    if not chosen or sure.numel() == 0:
        return scene, depths
    far = config.distance * float(np.quantile(sure.numpy(), 0.95))
    depth, confidence = list(depths.depth), list(depths.confidence)
    shown_in = [torch.zeros(d.shape, dtype=torch.bool) for d in depths.depth]
    for region in chosen:
        view = region.view
        shown = _connected(region, scene.images[view])
        shown_in[view] |= shown
        behind = shown | (_wider(region.mask) & (confidence[view] < unsure_below))
        depth[view] = torch.where(behind, far, depth[view])
        confidence[view] = torch.where(behind, 0.0, confidence[view])
    behind_all = replace(depths, depth=tuple(depth), confidence=tuple(confidence))
    against, deep = _against(scene, shown_in, 1), _against(scene, shown_in, RIM_PX)
    # Who shows the backdrop is no longer sure of anything there: its certainty was that of the object's rim beside it.
    outvoted = (against > 0) & (against >= _witnesses(scene, behind_all, unsure_below))
    dropped = outvoted | (against > deep)
    logger.info("A flat backdrop is put behind everything; %d points stood before it", int(dropped.sum()))
    return replace(scene, points=scene.points[~dropped]), behind_all


def flat_regions(
    scene: PosedScene, depths: DepthMaps, view: int, config: BackdropConfig, unsure_below: float
) -> list[Region]:
    """The flat, unsure parts of one photo that reach its rim, but not the lower one: that may be the floor."""
    photo = scene.images[view]
    flat = _flatness(photo) & (depths.confidence[view] < unsure_below)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(flat.numpy().astype(np.uint8), connectivity=4)
    height, width = labels.shape
    regions = []
    for label in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[label])
        at_rim = (x == 0 or y == 0 or x + w == width) and y + h < height
        if at_rim and area >= config.min_area * height * width:
            mask = labels == label
            regions.append(Region(view, mask, photo.numpy()[mask].mean(axis=0)))
    return regions


def most_common(regions: list[Region], least: float) -> list[Region]:
    """The regions of the one colour that most photos show; none if fewer than `least` do."""

    def alike(region: Region) -> list[Region]:
        return [r for r in regions if np.abs(r.rgb - region.rgb).max() <= SAME_COLOR]

    def photos(group: list[Region]) -> int:
        return len({r.view for r in group})

    best = max((alike(region) for region in regions), key=photos, default=[])
    return best if photos(best) >= least else []


def _flatness(photo: Float[Tensor, "H W 3"]) -> Bool[Tensor, "H W"]:
    mean = cv2.blur(photo.numpy(), (WINDOW_PX, WINDOW_PX))
    variance = cv2.blur(photo.numpy() ** 2, (WINDOW_PX, WINDOW_PX)) - mean**2
    return torch.from_numpy(variance.max(axis=2) < FLAT**2)


def _connected(region: Region, photo: Float[Tensor, "H W 3"]) -> Bool[Tensor, "H W"]:
    """The region and what of its colour is connected to it: the gaps between leaves."""
    alike = (np.abs(photo.numpy() - region.rgb).max(axis=2) <= SAME_COLOR) | region.mask
    _, labels = cv2.connectedComponents(alike.astype(np.uint8), connectivity=4)
    return torch.from_numpy(alike & np.isin(labels, np.unique(labels[region.mask])))


def _wider(mask: NDArray[np.bool_]) -> Bool[Tensor, "H W"]:
    """By half a window: beside an edge no window is flat."""
    kernel = np.ones((WINDOW_PX, WINDOW_PX), np.uint8)
    return torch.from_numpy(cv2.dilate(mask.astype(np.uint8), kernel).astype(bool))


def _against(scene: PosedScene, shown_in: list[Bool[Tensor, "H W"]], from_rim: int) -> Int[Tensor, " P"]:
    """How many photos would show each point within the backdrop, so many pixels from its rim or more."""
    window = np.ones((2 * from_rim + 1, 2 * from_rim + 1), np.uint8)
    count = torch.zeros(len(scene.points), dtype=torch.int64)
    for view, shown in enumerate(shown_in):
        inner = torch.from_numpy(cv2.erode(shown.numpy().astype(np.uint8), window).astype(bool))
        backdrop = torch.where(inner, 0.0, torch.inf)
        surface = Surface(backdrop, scene.cameras.cam_from_world[view], scene.cameras.Ks[view])
        count += surface.behind(scene.points.xyz)[1].isfinite()
    return count


def _witnesses(scene: PosedScene, depths: DepthMaps, unsure_below: float) -> Int[Tensor, " P"]:
    """How many photos are sure of a surface at each point; its own photo counts."""
    count = torch.zeros(len(scene.points), dtype=torch.int64)
    for view in range(len(scene)):
        z, there = photo_surface(scene, depths, view, unsure_below).behind(scene.points.xyz)
        count += there.isfinite() & ((z - there).abs() < SAME_SURFACE * there)
    return count
