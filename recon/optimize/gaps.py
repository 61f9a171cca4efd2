"""Points for the parts of the photos that stereo could not match.

Their depth is interpolated from their surroundings, so they start faint and the optimisation decides. Guessed too far,
a point does little harm; guessed too near, it is a floater that hides the scene from where no camera stood. So the rule
is: a guess may not stand in front of a surface that is sure, neither in a photo nor in a view between two photos, nor
in front of a part of a photo that has another colour. One that does is moved back along its ray until it no longer
does, and what looks like it beside it goes along (`carry`): half of a chair in the background must not stay behind.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon.geometry.projection import project, unproject_depth
from recon.geometry.se3 import interpolate_poses
from recon.optimize.init import InitConfig
from recon.stereo.fill import carry
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

IN_FRONT = 0.93
"""A point nearer than this share of a sure depth stands in front of it."""
SAME_SURFACE = 0.03
"""Relative depth difference below which another photo's sure surface already covers the point."""
BACK_OFF, MAX_BACK_OFFS = 1.25, 8
"""Factor of one move back along the ray, and how many moves are tried before a point that nobody sees is given up."""
FINE_BACK_OFF, MAX_FINE_BACK_OFFS = 1.08, 23
"""The same for guesses at what a photo shows, which may go about as far in all."""
BEYOND = 1.3
"""A guess that was wrong is put this much farther than the least that nothing contradicts: the truth lies behind that
place, rarely at it, and what is too far hides behind what is sure."""
HIDDEN = 1.03
"""A point farther than this times a sure depth is hidden behind it."""
SAME_COLOR, SMEAR_PX = 0.15, 5
"""Colours that differ by more from all that a photo shows within a window of so many pixels are another thing's."""
EVIDENCE = 0.3
"""What a guess that other photos can judge says to those beside it, against a sure pixel's 1."""
BETWEEN = (0.2, 0.4, 0.6, 0.8)
"""Where the views between two photos stand."""
NEAREST = 3
"""How many neighbours of a photo are considered for that."""
BUFFER_SIDE = 160
"""Longest side of the depth buffers of those views: coarse, so that sure points close up to surfaces."""


@dataclass(frozen=True)
class Surface:
    """Sure depth as one camera sees it; infinite where nothing is sure."""

    depth: Float[Tensor, "H W"]
    cam_from_world: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]

    def pixels(
        self, xyz: Float[Tensor, "P 3"]
    ) -> tuple[Float[Tensor, " P"], Bool[Tensor, " P"], Int[Tensor, " P"], Int[Tensor, " P"]]:
        """(depth, whether the view has it in its frame, row, column) of each point; the first pixel for those it has
        not."""
        height, width = self.depth.shape
        uv, z = project(xyz, self.cam_from_world, self.K)
        x, y = uv[:, 0].floor(), uv[:, 1].floor()
        inside = (z > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        return z, inside, (y * inside).long(), (x * inside).long()

    def behind(self, xyz: Float[Tensor, "P 3"]) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
        """(depth of each point, sure depth at its pixel); infinite sure depth outside the view."""
        z, inside, row, column = self.pixels(xyz)
        return z, torch.where(inside, self.depth[row, column], torch.inf)


@dataclass(frozen=True)
class Witness:
    """A photo, asked what it knows of points that it did not take part in guessing."""

    surface: Surface
    low: Float[Tensor, "H W 3"]
    high: Float[Tensor, "H W 3"]
    """Darkest and brightest of each channel around each pixel."""

    @staticmethod
    def of(surface: Surface, image: Float[Tensor, "H W 3"]) -> "Witness":
        calm, window = _calm(image).numpy(), np.ones((SMEAR_PX, SMEAR_PX), np.uint8)
        low, high = cv2.erode(calm, window), cv2.dilate(calm, window)
        return Witness(surface, torch.from_numpy(low), torch.from_numpy(high))

    def judge(
        self, xyz: Float[Tensor, "P 3"], rgb: Float[Tensor, "P 3"]
    ) -> tuple[Bool[Tensor, " P"], Bool[Tensor, " P"]]:
        """(points that the photo would show, those of them whose colour is not there)."""
        z, inside, row, column = self.surface.pixels(xyz)
        seen = inside & (z < HIDDEN * self.surface.depth[row, column])
        off = torch.maximum(self.low[row, column] - rgb, rgb - self.high[row, column]).amax(dim=1)
        return seen, seen & (off > SAME_COLOR)


def fill_gaps(scene: PosedScene, depths: DepthMaps | None, config: InitConfig) -> PointCloud:
    """`scene.points` and one point per `fill_stride` pixels where `depths` is filled but unsure."""
    if depths is None or config.fill_below <= 0:
        return scene.points
    photos = [
        Witness.of(photo_surface(scene, depths, view, config.fill_below), scene.images[view])
        for view in range(len(scene))
    ]
    between = views_between(scene)
    parts = [
        _gap_points(scene, depths, view, photos[:view] + photos[view + 1 :], between, config)
        for view in range(len(scene))
    ]
    xyz, rgb, spacing = (torch.cat(column) for column in zip(*parts, strict=True))
    return with_guesses(scene.points, xyz, rgb, spacing)


def with_guesses(
    points: PointCloud, xyz: Float[Tensor, "Q 3"], rgb: Float[Tensor, "Q 3"], spacing: Float[Tensor, " Q"]
) -> PointCloud:
    """`points`, and after them points without confidence or normal."""
    n = len(xyz)
    if n == 0:
        return points
    return PointCloud(
        torch.cat([points.xyz, xyz]),
        torch.cat([points.rgb, rgb]),
        torch.cat([points.confidence, torch.zeros(n)]),
        None if points.normals is None else torch.cat([points.normals, torch.zeros(n, 3)]),
        None if points.spacing is None else torch.cat([points.spacing, spacing]),
    )


def photo_surface(scene: PosedScene, depths: DepthMaps, view: int, sure: float) -> Surface:
    """What photo `view` shows of the surface where the stereo confidence is at least `sure`."""
    known = (depths.confidence[view] >= sure) & (depths.depth[view] > 0)
    depth = torch.where(known, depths.depth[view], torch.inf)
    return Surface(depth, scene.cameras.cam_from_world[view], scene.cameras.Ks[view])


def neighbour_pairs(cameras: Cameras) -> list[tuple[int, int]]:
    """Each photo with its nearest few; every pair once, the lower index first."""
    apart = torch.cdist(cameras.centers, cameras.centers).fill_diagonal_(torch.inf)
    nearest = apart.argsort(dim=1)[:, : min(NEAREST, len(cameras) - 1)]
    return sorted({(min(i, int(j)), max(i, int(j))) for i in range(len(cameras)) for j in nearest[i]})


def views_between(scene: PosedScene) -> list[Surface]:
    """Depth buffers of the fused points from places between each photo and its nearest others."""
    cameras = scene.cameras
    surfaces = []
    for i, j in neighbour_pairs(cameras):
        scale = BUFFER_SIDE / float(max(cameras.width[i], cameras.height[i]))
        size = (round(float(cameras.height[i]) * scale), round(float(cameras.width[i]) * scale))
        K = cameras.Ks[i].clone()
        K[:2] *= scale
        for fraction in BETWEEN:
            pose = interpolate_poses(cameras.cam_from_world[i], cameras.cam_from_world[j], fraction)
            surfaces.append(Surface(depth_buffer(scene.points.xyz, pose, K, size), pose, K))
    return surfaces


def depth_buffer(
    xyz: Float[Tensor, "P 3"], cam_from_world: Float[Tensor, "4 4"], K: Float[Tensor, "3 3"], size: tuple[int, int]
) -> Float[Tensor, "H W"]:
    """Nearest depth of the points per pixel of a `size` (height, width) image; infinite where there is none."""
    height, width = size
    uv, z = project(xyz, cam_from_world, K)
    x, y = uv[:, 0].floor(), uv[:, 1].floor()
    inside = (z > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    cell = (y[inside] * width + x[inside]).long()
    buffer = torch.full((height * width,), torch.inf)
    return buffer.scatter_reduce_(0, cell, z[inside], "amin").reshape(height, width)


def _gap_points(
    scene: PosedScene,
    depths: DepthMaps,
    view: int,
    others: list[Witness],
    between: list[Surface],
    config: InitConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """(xyz, rgb, spacing) of the unsure pixels of one photo."""
    cameras, step = scene.cameras, config.fill_stride
    grid = (slice(step // 2, None, step), slice(step // 2, None, step))
    depth, image = depths.depth[view][grid], scene.images[view]
    chosen = (depth > 0) & (depths.confidence[view][grid] < config.fill_below)
    if scene.masks is not None:
        chosen &= scene.masks[view][grid] > 0.5
    center, axis = cameras.centers[view], cameras.cam_from_world[view, 2, :3]
    guess = unproject_depth(depths.depth[view], cameras.Ks[view], cameras.cam_from_world[view])[grid][chosen]
    surfaces = [other.surface for other in others]
    factor, judged = back_off(guess, _calm(image)[grid][chosen], center, others, between)
    keep = ~already_there(guess, surfaces) & factor.isfinite()
    factor = torch.where(factor.isfinite(), factor, 1.0)

    known = (depth > 0).float()
    logs = torch.zeros_like(depth)
    known[chosen], logs[chosen] = EVIDENCE * judged.float(), factor.log()
    farther = torch.maximum(factor, carry(logs, known, 255 * image[grid].mean(dim=2))[chosen].exp())
    spoilt = hides(center + farther[:, None] * (guess - center), surfaces + between)
    xyz = center + torch.where(spoilt, factor, farther)[:, None] * (guess - center)
    spacing = step * ((xyz - center) @ axis) / cameras.Ks[view, 0, 0]
    return xyz[keep], image[grid][chosen][keep], spacing[keep]


def back_off(
    xyz: Float[Tensor, "P 3"],
    rgb: Float[Tensor, "P 3"],
    center: Float[Tensor, " 3"],
    others: list[Witness],
    between: list[Surface],
) -> tuple[Float[Tensor, " P"], Bool[Tensor, " P"]]:
    """How many times as far from `center` each point has to be, and whether any photo of `others` can judge it there.

    1 where it hides no sure surface and has its colour wherever a photo would show it. Elsewhere `BEYOND` times the
    least factor at which that is so (once, if it would hide something there); if there is none, the least at which it
    hides nothing; infinite if there is none either.
    """
    surfaces = [other.surface for other in others] + between
    best, first = torch.full((len(xyz),), torch.inf), torch.full((len(xyz),), torch.inf)
    judged = torch.zeros(len(xyz), dtype=torch.bool)
    for k in range(MAX_FINE_BACK_OFFS + 1):
        left = best.isinf().nonzero()[:, 0]
        moved = center + FINE_BACK_OFF**k * (xyz[left] - center)
        standing = ~hides(moved, surfaces)
        contradicted = torch.zeros_like(standing)
        for other in others:
            seen, off = other.judge(moved, rgb[left])
            contradicted |= off
            if k == 0:
                judged |= seen
        first[left[standing]] = first[left[standing]].clamp(max=FINE_BACK_OFF**k)
        best[left[standing & ~contradicted]] = FINE_BACK_OFF**k
    factor = torch.where(best.isinf(), first, best)
    farther = BEYOND * factor
    moved = (factor > 1) & factor.isfinite()
    moved[moved.clone()] = ~hides(center + farther[moved, None] * (xyz[moved] - center), surfaces)
    return torch.where(moved, farther, factor), judged


def _calm(image: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """A photo without the noise of single pixels."""
    return torch.from_numpy(cv2.blur(image.numpy(), (3, 3)))


def move_back(
    xyz: Float[Tensor, "P 3"], center: Float[Tensor, " 3"], surfaces: list[Surface]
) -> tuple[Float[Tensor, "P 3"], Bool[Tensor, " P"]]:
    """Points moved away from `center` until they hide no sure surface, and which of them found such a place."""
    xyz = xyz.clone()
    bad = hides(xyz, surfaces)
    for _ in range(MAX_BACK_OFFS):
        if not bad.any():
            break
        xyz[bad] = center + BACK_OFF * (xyz[bad] - center)
        bad[bad.clone()] = hides(xyz[bad], surfaces)
    return xyz, ~bad


def hides(xyz: Float[Tensor, "P 3"], surfaces: list[Surface]) -> Bool[Tensor, " P"]:
    """Points that stand in front of a sure surface in any of the views."""
    guilty = torch.zeros(len(xyz), dtype=torch.bool)
    for surface in surfaces:
        z, sure = surface.behind(xyz)
        guilty |= (z > 0) & sure.isfinite() & (z < IN_FRONT * sure)
    return guilty


def already_there(xyz: Float[Tensor, "P 3"], photos: list[Surface]) -> Bool[Tensor, " P"]:
    """Points that lie on the sure surface of a view."""
    covered = torch.zeros(len(xyz), dtype=torch.bool)
    for surface in photos:
        z, sure = surface.behind(xyz)
        covered |= sure.isfinite() & ((z - sure).abs() < SAME_SURFACE * sure)
    return covered
