"""Photos as they would look from elsewhere, for pairs that were taken 40 to 90 degrees apart.

Seen from elsewhere, a flat piece of the scene is turned and foreshortened, which local descriptors survive only up to
about 45 degrees. Affine views of both photos simulate that (ASIFT: Morel & Yu, SIAM J. Imaging Sciences 2(2), 2009) and
are matched against each other on a few keypoints, cheaply. From the views that agree best a homography is fitted, one
photo is drawn as the other sees it, and matched again on all keypoints (MODS: Mishkin et al., CVIU 141, 2015), twice.

Two photos of a table from different sides differ by a quarter turn or so of the table as seen from above. A photo made
`TILT` times narrower looks like that up to a scale, so narrowed views are compared in quarter turns too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from recon.poses.features import Features, Pair
from recon.poses.learned import AlikedMatcher
from recon.poses.matches import Tracks
from recon.poses.usac import fundamental, homography

TILT = 2.0
"""A plane 60 degrees off the optical axis; LightGlue bridges what lies between this and none."""
VIEW_SIDE = 640
VIEW_FEATURES = 512
"""Views are only compared: small pictures and the strongest keypoints do."""
MAX_EPIPOLAR_PX = 3.0
MAX_HOMOGRAPHY_PX = 6.0
"""Working pixels; a scene is not flat, so the homography that only guides may be further off."""
MIN_VIEW_EVIDENCE = 10
MIN_EVIDENCE = 30
"""Epipolar inliers less outliers. Views that overlap nowhere stayed below the second once guided."""
SURE_EVIDENCE = 50
"""Views that agree this well are not compared with further ones; matches that do need no views, only guiding."""
STRONG_EVIDENCE = 200
"""Pairs with this much need no better matches."""
ROUNDS = 2
MARGIN_PX = 4.0
"""Keypoints this near to the photo's border are the border's."""
MERGE_PX = 1.5
"""Working pixels: keypoints nearer than this are one, so that tracks run through all pairs of a photo."""


@dataclass(frozen=True)
class View:
    """A photo made `tilt` times narrower, then turned clockwise."""

    turn_deg: float = 0.0
    tilt: float = 1.0


def _relative_views() -> list[tuple[View, View]]:
    """What is tried on (first, second) photo of a pair; as they are was tried before."""
    turns = (0.0, 90.0, 180.0, 270.0)
    same_tilt = [(View(0.0, tilt), View(turn, tilt)) for tilt, turn in product((1.0, TILT), turns)]
    return [*same_tilt[1:], (View(tilt=TILT), View()), (View(), View(tilt=TILT))]


RELATIVE_VIEWS = _relative_views()


@dataclass(frozen=True)
class Correspondences:
    """Matched positions in two photos, photo pixels, and how many of them one epipolar geometry explains."""

    first: Float[np.ndarray, "M 2"]
    second: Float[np.ndarray, "M 2"]
    n_inliers: int

    @property
    def evidence(self) -> int:
        """Inliers less outliers: false matches come with about as many of either, at any number."""
        return 2 * self.n_inliers - len(self.first)


def widen(
    aliked: AlikedMatcher,
    photos: Sequence[Float[Tensor, "_ _ 3"]],
    tracks: Tracks,
    pairs: Sequence[Pair],
    tell: Callable[[str], None] = lambda message: None,
) -> Tracks:
    """Better matches for `pairs`, where simulated views find any; everything else as in `tracks`.

    New keypoints are appended, so that the indices in `tracks.matches` stay valid. Old matches that carry enough
    evidence guide, and new ones join them: two pairs of a photo may be matched well and yet share too few keypoints to
    be chained. Other old matches give way to new ones, or being false they would outvote them.
    """
    search = _Search(aliked, photos, tracks.scale)
    for done, (i, j) in enumerate(pairs):
        tell(f"matching from simulated views, {done + 1} of {len(pairs)}")
        old = search.measured((i, j), *_positions(tracks, (i, j)))
        found = search.match((i, j), old) if old.evidence < STRONG_EVIDENCE else None
        if found is not None and found.evidence > max(MIN_EVIDENCE, old.evidence):
            tracks = put(tracks, (i, j), found, keep=old.evidence >= SURE_EVIDENCE)
    return tracks


def put(tracks: Tracks, pair: Pair, found: Correspondences, *, keep: bool = False) -> Tracks:
    """`tracks` with these matches of a pair, instead of the old ones or (`keep`) with them.

    Positions near a keypoint become that keypoint, others are appended.
    """
    keypoints = list(tracks.keypoints)
    columns = []
    for v, uv in zip(pair, (found.first, found.second)):
        keypoints[v], index = _merged(keypoints[v], uv * tracks.scale[v])
        columns.append(index)
    old = tracks.matches.get(pair, np.zeros((0, 2), np.int64))
    matches = np.concatenate([old if keep else old[:0], np.stack(columns, axis=1)])
    for side in (0, 1):  # merging may have given a keypoint two partners: keep the first
        matches = matches[np.sort(np.unique(matches[:, side], return_index=True)[1])]
    return replace(tracks, keypoints=keypoints, matches=tracks.matches | {pair: matches})


def draw_view(size: tuple[int, int], view: View, max_side: int) -> tuple[NDArray, tuple[int, int]]:
    """`picture_from_photo` [3, 3] and the picture's (width, height), for a photo of `size` (width, height)."""
    scale = min(1.0, max_side / max(size))
    angle = np.radians(view.turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([scale / view.tilt, scale])
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size]) @ linear.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    H = np.eye(3)
    H[:2, :2], H[:2, 2] = linear, -low
    width, height = np.maximum(1, np.ceil(high - low - 1e-6)).astype(int)
    return H, (int(width), int(height))


def warped(
    photo: Float[Tensor, "H W 3"], H: Float[np.ndarray, "3 3"], size: tuple[int, int], at: Float[np.ndarray, "N 2"]
) -> Float[Tensor, "h w 3"]:
    """The photo drawn by the homography `picture_from_photo`, smoothed against aliasing as fits the positions `at`.

    Outside the photo the picture shows its mean colour.
    """
    pixels = photo.numpy()
    sigma = [0.5 * np.sqrt(max(0.0, squeeze**2 - 1)) for squeeze in _squeezes(H, at)]
    if max(sigma) > 0.25:
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigmaX=max(sigma[0], 0.01), sigmaY=max(sigma[1], 0.01))
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV's first pixel has its centre at (0, 0)
    mean = tuple(float(c) for c in pixels.mean(axis=(0, 1)))
    drawn = cv2.warpPerspective(pixels, np.linalg.inv(half) @ H @ half, size, borderValue=mean)
    return torch.from_numpy(drawn)


def project(H: Float[np.ndarray, "3 3"], uv: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
    """Positions through a homography."""
    mapped: NDArray = cv2.perspectiveTransform(uv[None].astype(np.float64), H)[0]
    return mapped


class _Search:
    """The photos, and the views of them that were drawn so far."""

    def __init__(self, aliked: AlikedMatcher, photos: Sequence[Tensor], scale: NDArray) -> None:
        self.aliked, self.photos, self.scale = aliked, photos, scale
        # a turned picture is larger than its photo
        self.small = AlikedMatcher(2 * VIEW_SIDE, VIEW_FEATURES, enlarge=False)
        self._views: dict[tuple[int, View], tuple[Features, NDArray]] = {}
        self._whole: dict[int, Features] = {}

    def match(self, pair: Pair, old: Correspondences) -> Correspondences | None:
        """The best that guided matching finds from the old matches or the best pair of views; None where none agree."""
        best = old if old.evidence >= SURE_EVIDENCE else self._best_views(pair)
        if best.evidence < MIN_VIEW_EVIDENCE:
            return None
        if best.evidence < SURE_EVIDENCE:  # small pictures tell most wrong guesses: guided by them, less agrees
            guided = self._guided(pair, best, full=False)
            if guided is None or guided.evidence <= best.evidence:
                return None
            best = guided
        for _ in range(ROUNDS):
            guided = self._guided(pair, best, full=True)
            if guided is None or guided.evidence <= best.evidence:
                break
            best = guided
            if best.evidence >= STRONG_EVIDENCE:
                break
        return best

    def measured(self, pair: Pair, first: NDArray, second: NDArray) -> Correspondences:
        """With the number of inliers of the best fundamental matrix ."""
        if len(first) < 8:
            return Correspondences(first, second, 0)
        a, b = (np.ascontiguousarray(uv * self.scale[v]) for v, uv in zip(pair, (first, second)))
        _, inliers = fundamental(a, b, MAX_EPIPOLAR_PX, 0.999, 2000)
        return Correspondences(first, second, inliers)

    def _best_views(self, pair: Pair) -> Correspondences:
        compared = []
        for views in RELATIVE_VIEWS:
            compared.append(self._compare(pair, views))
            if compared[-1].evidence >= SURE_EVIDENCE:
                break
        return max(compared, key=lambda c: c.evidence)

    def _compare(self, pair: Pair, views: tuple[View, View]) -> Correspondences:
        (a, uv_a), (b, uv_b) = (self._view(v, view) for v, view in zip(pair, views))
        found = self.aliked.match(a, b).numpy()
        return self.measured(pair, uv_a[found[:, 0]], uv_b[found[:, 1]])

    def _view(self, v: int, view: View) -> tuple[Features, NDArray]:
        """Features of a view, and their positions in the photo."""
        if (v, view) not in self._views:
            height, width = self.photos[v].shape[:2]
            H, size = draw_view((width, height), view, VIEW_SIDE)
            self._views[v, view] = self._extract(self.small, v, H, size, np.array([[width / 2, height / 2]]))
        return self._views[v, view]

    def _extract(
        self, aliked: AlikedMatcher, v: int, H: NDArray, size: tuple[int, int], at: NDArray
    ) -> tuple[Features, NDArray]:
        """Features of photo v drawn by H, where the picture shows the photo and not its other side."""
        height, width = self.photos[v].shape[:2]
        found = aliked.extract_turned(warped(self.photos[v], H, size, at), 0)
        back = np.linalg.inv(H)
        lifted = _homogeneous(found.keypoints.double().numpy()) @ back.T
        front = np.sign(np.median((_homogeneous(project(H, at)) @ back.T)[:, 2]))
        with np.errstate(divide="ignore", invalid="ignore"):
            uv = lifted[:, :2] / lifted[:, 2:]
        margin = MARGIN_PX / self.scale[v]
        inside = ((uv > margin) & (uv < np.array([width, height]) - margin)).all(axis=1) & (lifted[:, 2] * front > 0)
        kept = torch.from_numpy(np.flatnonzero(inside))
        return Features(found.keypoints[kept], found.descriptors[kept], found.size), uv[inside]

    def _guided(self, pair: Pair, start: Correspondences, *, full: bool) -> Correspondences | None:
        """Match with the photo that shows the matched part larger drawn as the other one sees it.

        With all keypoints (`full`), or as many as views have.
        """
        H = self._homography(pair, start)
        if H is None:
            return None
        i, j = pair
        uv = [start.first * self.scale[i], start.second * self.scale[j]]
        larger = 0 if np.prod(_squeezes(H, uv[0])) > 1 else 1  # drawn smaller, nothing has to be made up
        if larger == 1:
            H = np.linalg.inv(H)
        moved, still = pair[larger], pair[1 - larger]
        b, uv_b = self._all(still) if full else self._view(still, View())
        longest = max(self.photos[still].shape[:2]) * self.scale[still]
        shrink = 1.0 if full else min(1.0, VIEW_SIDE / longest)
        height, width = (round(side * self.scale[still] * shrink) for side in self.photos[still].shape[:2])
        H = np.diag([shrink, shrink, 1.0]) @ H @ np.diag([self.scale[moved], self.scale[moved], 1.0])
        aliked, at = self.aliked if full else self.small, (start.first, start.second)[larger]
        a, uv_a = self._extract(aliked, moved, H, (width, height), at)
        found = self.aliked.match(a, b).numpy()
        sides = (uv_a[found[:, 0]], uv_b[found[:, 1]])
        return self.measured(pair, *(sides if larger == 0 else sides[::-1]))

    def _all(self, v: int) -> tuple[Features, NDArray]:
        """Features of a whole photo, and their positions in it."""
        if v not in self._whole:
            self._whole[v] = self.aliked.extract_turned(self.photos[v], 0)
        return self._whole[v], self._whole[v].keypoints.double().numpy()

    def _homography(self, pair: Pair, start: Correspondences) -> NDArray | None:
        """`second_from_first` of most matches, working pixels."""
        a, b = (np.ascontiguousarray(uv * self.scale[v]) for v, uv in zip(pair, (start.first, start.second)))
        H, inliers = homography(a, b, MAX_HOMOGRAPHY_PX, 0.999, 5000)
        return H if H is not None and inliers >= 6 and abs(np.linalg.det(H)) > 1e-9 else None


def _positions(tracks: Tracks, pair: Pair) -> tuple[NDArray, NDArray]:
    """Matched positions of a pair, photo pixels."""
    matches = tracks.matches.get(pair, np.zeros((0, 2), np.int64))
    first, second = (tracks.keypoints[v][matches[:, side]] / tracks.scale[v] for side, v in enumerate(pair))
    return first, second


def _merged(keypoints: NDArray, uv: NDArray) -> tuple[NDArray, NDArray]:
    """Keypoints with those of `uv` appended that are further than `MERGE_PX` from all, and the index of each `uv`."""
    distance, index = cKDTree(keypoints).query(uv) if len(keypoints) else (np.full(len(uv), np.inf), np.zeros(len(uv)))
    fresh = distance > MERGE_PX
    index = np.where(fresh, len(keypoints) + np.cumsum(fresh) - 1, index).astype(np.int64)
    return np.concatenate([keypoints.reshape(-1, 2), uv[fresh]]), index


def _squeezes(H: NDArray, at: NDArray) -> tuple[float, float]:
    """How many times smaller a step in x and in y becomes, the median over the positions `at`."""
    start = project(H, at)
    steps = [np.linalg.norm(project(H, at + step) - start, axis=1) for step in ([1.0, 0.0], [0.0, 1.0])]
    along_x, along_y = (1 / max(1e-6, float(np.median(step))) for step in steps)
    return along_x, along_y


def _homogeneous(uv: NDArray) -> NDArray:
    return np.concatenate([uv, np.ones((len(uv), 1))], axis=1)
