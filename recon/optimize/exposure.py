"""How differently the photos were exposed, measured where stereo is sure that two of them show the same.

A few percent are left to the view-dependent colours, which carry the difference over to the views between, whose
exposure is as unknown. More is a camera that set itself anew for each photo: then each photo gets an exposure of its
own to be refined (`recon.optimize.cameras`), and what was measured is where that starts, since the rate that refines
it would take a thousand steps for the factor of three between a window and the room beside it.

Before training, photos are compared by their colours (`recon.optimize.gaps`, `recon.optimize.backdrop`); they are
evened out for that, however little they differ.

Global gains from the overlap of photos are how panoramas are evened out (Brown and Lowe 2007, section 6).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import unproject_depth
from recon.optimize.gaps import Surface
from recon.types import DepthMaps, PosedScene

logger = logging.getLogger(__name__)

SURE = 0.5
"""Confidence of the depths where colours are compared."""
SAME_DEPTH = 0.01
"""Relative difference of two photos' depths up to which they show the same."""
DARKEST, BRIGHTEST = 0.03, 0.97
"""Colours beyond these may be cut off, and say nothing."""
BLUR_PX = 2.0
"""Standard deviation of the blur before colours are compared: half a pixel beside it, texture is no exposure."""
ENOUGH = 200
"""Pixels that two photos must share to be compared."""


@dataclass(frozen=True)
class ExposureConfig:
    """When each photo gets an exposure of its own."""

    above: float = 0.2
    """Largest difference of two photos' logarithms of brightness, mean over the channels, up to which all share one.
    Photos that cannot be compared get their own. 0: always."""


@dataclass(frozen=True)
class Exposures:
    """What is known of the exposures before training."""

    refine: bool
    """Whether each photo has an exposure of its own that is refined: `differ`, where that is wanted."""
    log_gains: Float[Tensor, "V 3"]
    """Logarithms of the photos' brightness, their mean over the photos 0; all 0 where nothing could be measured."""
    differ: bool = True
    """The camera set itself anew from photo to photo, or nobody knows."""
    unlike: float | None = None
    """Typical difference of two photos' logarithms of brightness that no exposure explains; None: not measured."""

    @property
    def start(self) -> Float[Tensor, "V 3"]:
        """What the exposures of the optimisation start from."""
        return self.log_gains if self.refine else torch.zeros_like(self.log_gains)

    def evened(self, scene: PosedScene) -> PosedScene:
        """`scene` with photos that are equally bright. What is cut off stays: white is white at any exposure."""
        gains = (-self.log_gains).exp()
        images = [
            torch.where(image.amax(dim=2, keepdim=True) > BRIGHTEST, image, image * gain)
            for image, gain in zip(scene.images, gains, strict=True)
        ]
        return replace(scene, images=tuple(image.clamp(0, 1) for image in images))


def settle_exposures(scene: PosedScene, depths: DepthMaps | None, wanted: bool, config: ExposureConfig) -> Exposures:
    """Whether the exposures of the photos of `scene` are refined, and how different they are.

    Args:
        wanted: False: they are not, whatever is measured.
    """
    pairs = [] if depths is None else compare_photos(scene, depths)
    gains, unlike = measure_gains(len(scene), pairs), measure_unlike(pairs)
    if gains is None:
        logger.info("Exposures: the photos cannot be compared")
        return Exposures(wanted, torch.zeros(len(scene), 3), True, unlike)
    brightness = gains.mean(dim=1)
    spread = float(brightness.max() - brightness.min())
    differ = spread > config.above
    refine = wanted and differ
    logger.info("Exposures differ by %.0f%%: %s", 100 * spread, "refined" if refine else "not refined")
    return Exposures(refine, gains, differ, unlike)


@dataclass(frozen=True)
class Compared:
    """Two photos where both are sure to show the same."""

    i: int
    j: int
    log_ratios: Float[Tensor, "P 3"]
    """Logarithm of the colour in photo `j` over that in photo `i`, at least `ENOUGH` of them."""


def compare_photos(scene: PosedScene, depths: DepthMaps) -> list[Compared]:
    """All ordered pairs of photos that share enough."""
    calm = [torch.from_numpy(cv2.GaussianBlur(image.numpy(), (0, 0), BLUR_PX)) for image in scene.images]
    pairs = [Compared(i, j, _log_ratios(scene, depths, calm, i, j)) for i, j in permutations(range(len(scene)), 2)]
    return [pair for pair in pairs if len(pair.log_ratios) >= ENOUGH]


def measure_gains(n: int, pairs: Sequence[Compared]) -> Float[Tensor, "n 3"] | None:
    """Logarithms of the brightness of `n` photos in each channel, their mean over the photos 0; None where the photos
    that share enough do not hang together.

    Least squares over all pairs: the median over the pixels of each, which counts by the root of their number.
    """
    laplacian, moments = torch.zeros(n, n), torch.zeros(n, 3)
    for pair in pairs:
        i, j = pair.i, pair.j
        weight = len(pair.log_ratios) ** 0.5
        difference = weight * pair.log_ratios.median(dim=0).values
        laplacian[[i, j], [i, j]] += weight
        laplacian[[i, j], [j, i]] -= weight
        moments[j] += difference
        moments[i] -= difference
    if int(torch.linalg.matrix_rank(laplacian.double(), hermitian=True)) < n - 1:
        return None
    gains = (torch.linalg.pinv(laplacian.double(), hermitian=True) @ moments.double()).float()
    return gains - gains.mean(dim=0)


def measure_unlike(pairs: Sequence[Compared]) -> float | None:
    """How different two photos show the same where one is not just brighter as a whole: the median over the pixels of
    a pair of |log brightness ratio - its median|, mean over the pairs by the number of their pixels. None of no pair.
    """
    if not pairs:
        return None
    apart = [(pair.log_ratios - pair.log_ratios.median(dim=0).values).mean(dim=1).abs().median() for pair in pairs]
    counts = torch.tensor([len(pair.log_ratios) for pair in pairs], dtype=torch.float32)
    return float((torch.stack(apart) * counts).sum() / counts.sum())


def _log_ratios(
    scene: PosedScene, depths: DepthMaps, calm: list[Float[Tensor, "H W 3"]], i: int, j: int
) -> Float[Tensor, "P 3"]:
    """log(colour in photo j / colour in photo i) of the pixels of i that j is sure to show as well."""
    sure = (depths.confidence[i] > SURE) & (depths.depth[i] > 0)
    if scene.masks is not None:
        sure &= scene.masks[i] > 0.5
    cameras = scene.cameras
    xyz = unproject_depth(depths.depth[i], cameras.Ks[i], cameras.cam_from_world[i])[sure]
    z, inside, row, column = Surface(depths.depth[j], cameras.cam_from_world[j], cameras.Ks[j]).pixels(xyz)
    there = depths.depth[j][row, column]
    same = inside & (depths.confidence[j][row, column] > SURE) & ((there - z).abs() < SAME_DEPTH * z)
    here, other = calm[i][sure][same], calm[j][row[same], column[same]]
    both = torch.cat([here, other], dim=1)
    plain = (both.amin(dim=1) > DARKEST) & (both.amax(dim=1) < BRIGHTEST)
    return other[plain].log() - here[plain].log()
