"""Which matches speak of the thing to reconstruct: the object, the background, both, or what is not standing still.

On a turntable the object moves and the room does not: matches of the room say that the camera stood still, matches of
the object that it moved around, and the mapper believes whichever are more. Someone walking round an object moves both
alike. Two-view geometry tells the cases apart. All positions are working pixels (`Tracks`); keypoints stay as they
are, so that models of any region can be compared on the same matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from recon.geometry import sampson_distance
from recon.poses.features import Pair
from recon.poses.matches import Tracks
from recon.poses.usac import fundamental

STILL_PX = 1.5
"""A match that moved less stood still between two photos: a hand-held camera turns by more (0.1 degrees)."""
MOVING_PX = 4.0
"""A match that moved less is slow: still, if the camera is fixed."""
FIXED_SHARE = 0.8
"""The camera is fixed if more than this share of the slow matches stand still, and of all matches of the keypoints
that stand still somewhere. Of slow matches in random directions a seventh stand still."""
MIN_GEOMETRY = 15
"""Matches that an epipolar geometry must explain to be believed; by chance one explains about ten."""
MAX_EPIPOLAR_PX = 3.0
"""Same tolerance as two-view verification."""
MIN_EXPLAINED = 0.3
"""Share of a group of matches that it must explain besides: of many false ones it explains more by chance."""
MAX_LOST = 0.3
"""Two groups of matches move apart when one geometry for both loses more than this share of the smaller group."""
NEGLIGIBLE = 0.1
"""A region with less than this share of the matches only adds false ones."""
EDGE_PX = 4.0
"""Keypoints this far outside a mask still count as the object: they describe its silhouette."""


class Region(Enum):
    """Whose matches place the photos."""

    ALL = "all"
    OBJECT = "object"
    BACKGROUND = "background"


@dataclass(frozen=True)
class Choice:
    """What the pairs say about object and background."""

    region: Region
    reason: str
    """A sentence for the log and the report."""


def drop_still(tracks: Tracks) -> tuple[Tracks, int]:
    """The tracks without matches that stand still, if the camera never moved against them; and how many those were.

    Such matches are the room behind a turntable, a watermark, dirt on the lens, or keypoints that the picture's border
    makes in empty corners. They say where nothing is, and outvote what moves. They are told from a scene's slowest
    part, which moves a little more in some direction, by heaping up at zero; and from two photos of one tripod, whose
    keypoints move in the pairs with other photos. Points at infinity before a camera that only slides are dropped, too:
    they fix no more than its direction, and what moves fixes that as well. Nothing is left of photos that are all the
    same: tell the user that they were taken from one spot.
    """
    speed = {pair: _displacement(tracks, pair) for pair in tracks.matches}
    still = {pair: d < STILL_PX for pair, d in speed.items()}
    n_still = sum(int(flags.sum()) for flags in still.values())
    n_slow = sum(int((d < MOVING_PX).sum()) for d in speed.values())
    if n_still <= FIXED_SHARE * max(n_slow, _touching(tracks, still)):
        return tracks, 0
    return replace(tracks, matches={pair: tracks.matches[pair][d >= MOVING_PX] for pair, d in speed.items()}), n_slow


def split_tracks(
    tracks: Tracks, masks: Sequence[Float[Tensor, "_ _"]], edge_px: float = EDGE_PX
) -> dict[Region, Tracks]:
    """All matches, those with both ends on the object, and those with both ends clear of it.

    Args:
        masks: per photo, 1 on the object, in pixels of the photo that `tracks.scale` leads back to.
        edge_px: working pixels around the masks that count as the object, not as the background.
    """
    on_object = [
        inside(mask, keypoints / scale, edge_px / scale)
        for mask, keypoints, scale in zip(masks, tracks.keypoints, tracks.scale)
    ]
    return {
        Region.ALL: tracks,
        Region.OBJECT: _filtered(tracks, on_object),
        Region.BACKGROUND: _filtered(tracks, [~flags for flags in on_object]),
    }


def inside(mask: Float[Tensor, "H W"], uv: NDArray, edge_px: float) -> NDArray:
    """Which positions uv [N, 2] (pixels) lie on the mask or within `edge_px` of it, [N] bool."""
    outside = (mask < 0.5).numpy().astype(np.uint8)
    if outside.all():
        return np.zeros(len(uv), bool)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, 5)  # 0 on the object
    column, row = (np.clip(np.floor(uv[:, axis]).astype(int), 0, outside.shape[1 - axis] - 1) for axis in (0, 1))
    return distance[row, column] <= edge_px


def choose_region(regions: dict[Region, Tracks]) -> Choice:
    """Which region to reconstruct from, by two-view geometry alone.

    Both regions, if one epipolar geometry a pair explains them together. If not, the object where its matches tie all
    photos together, and else the region with more moving matches: what stands still places nothing.
    """
    pairs = list(regions[Region.ALL].matches)
    carried = {r: {pair: _explained(regions[r], pair) for pair in pairs} for r in (Region.OBJECT, Region.BACKGROUND)}
    on_object, behind = (sum(counts.values()) for counts in carried.values())
    if behind <= NEGLIGIBLE * on_object:
        return Choice(Region.OBJECT, f"the background carries {behind} matches, the object {on_object}")
    smaller = {pair: min(counts[pair] for counts in carried.values()) for pair in pairs}
    lost = sum(
        max(0, carried[Region.OBJECT][pair] + carried[Region.BACKGROUND][pair] - _explained(regions[Region.ALL], pair))
        for pair in pairs
        if smaller[pair]
    )
    apart = lost > MAX_LOST * sum(smaller.values())
    if not apart:
        return Choice(Region.ALL, "object and background move together")
    moving = {r: sum(_explained(_moving(regions[r]), pair) for pair in pairs) for r in carried}
    if _ties_together(carried[Region.OBJECT], len(regions[Region.ALL].keypoints)):
        return Choice(
            Region.OBJECT, "object and background move apart, and the object's matches tie all photos together"
        )
    region = max(moving, key=lambda r: moving[r])
    return Choice(region, f"object and background move apart, and the {region.value} carries more matches")


def _displacement(tracks: Tracks, pair: Pair) -> NDArray:
    """How far each match of the pair moved in the picture, [M]."""
    a, b = _ends(tracks, pair)
    return np.linalg.norm(a - b, axis=1)


def _ends(tracks: Tracks, pair: Pair) -> tuple[NDArray, NDArray]:
    """Positions of the matches of a pair in both photos, [M, 2] each."""
    matches = tracks.matches[pair]
    return tracks.keypoints[pair[0]][matches[:, 0]], tracks.keypoints[pair[1]][matches[:, 1]]


def _moving(tracks: Tracks) -> Tracks:
    """Only the matches that clearly moved."""
    return replace(tracks, matches={p: m[_displacement(tracks, p) > MOVING_PX] for p, m in tracks.matches.items()})


def _filtered(tracks: Tracks, keep: Sequence[NDArray]) -> Tracks:
    """Only the matches with both keypoints in `keep` ([N] bool per photo)."""
    return replace(
        tracks, matches={(i, j): m[keep[i][m[:, 0]] & keep[j][m[:, 1]]] for (i, j), m in tracks.matches.items()}
    )


def _touching(tracks: Tracks, still: dict[Pair, NDArray]) -> int:
    """Matches of all pairs with an end on a keypoint that stands still in some pair."""
    on_still = [np.zeros(len(keypoints), bool) for keypoints in tracks.keypoints]
    for (i, j), flags in still.items():
        on_still[i][tracks.matches[i, j][flags, 0]] = True
        on_still[j][tracks.matches[i, j][flags, 1]] = True
    return sum(int((on_still[i][m[:, 0]] | on_still[j][m[:, 1]]).sum()) for (i, j), m in tracks.matches.items())


def _explained(tracks: Tracks, pair: Pair) -> int:
    """How many matches of the pair one epipolar geometry explains; 0 where that may be chance."""
    a, b = _ends(tracks, pair)
    if len(a) < MIN_GEOMETRY:
        return 0
    cv2.setRNGSeed(0)
    F, _ = fundamental(a, b, MAX_EPIPOLAR_PX / 2, 0.9999, 5000)
    if F is None:
        return 0
    distance = sampson_distance(*(torch.from_numpy(part) for part in (F, a, b)))
    count = int((distance < MAX_EPIPOLAR_PX).sum())
    return count if count >= max(MIN_GEOMETRY, MIN_EXPLAINED * len(a)) else 0


def _ties_together(counts: dict[Pair, int], n_photos: int) -> bool:
    """Whether the pairs with an epipolar geometry join all photos."""
    group = {0}
    for _ in range(n_photos):
        group |= {v for pair, count in counts.items() if count and group & set(pair) for v in pair}
    return len(group) == n_photos
