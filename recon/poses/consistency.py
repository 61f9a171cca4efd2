"""How well the matches of every pair agree with the cameras of a model: the score that picks models and labels photos.

All arrays are numpy, in working pixels. A match is consistent when its Sampson distance to the pair's epipolar
geometry is small and both rays meet in front of both cameras.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recon.poses.features import Pair
from recon.poses.matches import Model, Tracks, Verified

MAX_SAMPSON_PX = 3.0
"""Same tolerance as two-view verification."""


@dataclass(frozen=True)
class Support:
    """Evidence for a model."""

    consistent: dict[Pair, NDArray]
    """Per verified pair, which of its inliers agree, [M] bool; all False when a photo of the pair is missing."""
    parallax_deg: dict[Pair, float]
    """Median angle between the rays of the agreeing matches; NaN where there are none."""
    dense: dict[Pair, float] = field(default_factory=dict)
    """Share of its pixels on which a pair's photos look into each other, for the pairs that were examined."""
    ties: frozenset[tuple[Pair, Pair]] = frozenset()
    """Examined pairs with a photo in common that see its surface equally deep."""
    turns: frozenset[Pair] = frozenset()
    """Pairs that a camera turning on the spot explains as well, where that was examined: they carry no depth."""
    focal_uncertainty: float = float("nan")
    """Relative standard deviation of the least certain focal length; NaN before it was examined."""

    @property
    def share(self) -> float:
        """Agreeing share of all verified matches, of registered photos or not. 0 without matches."""
        total = sum(len(flags) for flags in self.consistent.values())
        return sum(int(flags.sum()) for flags in self.consistent.values()) / total if total else 0.0

    def links(self, v: int) -> list[int]:
        """Agreeing matches of photo v with each other photo, most first."""
        return sorted((int(f.sum()) for pair, f in self.consistent.items() if v in pair), reverse=True)

    def ratio(self, v: int, registered: NDArray) -> float:
        """Agreeing share of photo v's verified matches with registered photos."""
        flags = [f for pair, f in self.consistent.items() if v in pair and registered[list(pair)].all()]
        total = sum(len(f) for f in flags)
        return sum(int(f.sum()) for f in flags) / total if total else 0.0


def measure_support(model: Model, tracks: Tracks, verified: Verified) -> Support:
    """Test every verified match against the model's cameras."""
    consistent, parallax = {}, {}
    registered = model.registered
    for (i, j), pairs in verified.inliers.items():
        flags, angle = np.zeros(len(pairs), bool), np.nan
        if registered[i] and registered[j] and len(pairs):
            local = [_local_rays(model, v, tracks.keypoints[v][pairs[:, side]]) for side, v in enumerate((i, j))]
            flags, angles = _agreement(model, (i, j), local)
            angle = float(np.degrees(np.median(angles[flags]))) if flags.any() else np.nan
        consistent[i, j], parallax[i, j] = flags, angle
    return Support(consistent, parallax)


def _local_rays(model: Model, v: int, uv: NDArray) -> NDArray:
    """Unnormalised rays [M, 3] in the camera, z = 1."""
    homogeneous = np.concatenate([uv, np.ones((len(uv), 1))], axis=1)
    return homogeneous @ np.linalg.inv(model.Ks[v]).T


def _agreement(model: Model, pair: Pair, local: list[NDArray]) -> tuple[NDArray, NDArray]:
    """Which matches agree, and the angle of their rays in radians."""
    i, j = pair
    relative = model.cam_from_world[j] @ np.linalg.inv(model.cam_from_world[i])
    rotation, t = relative[:3, :3], relative[:3, 3]
    # Sampson distance (Hartley & Zisserman 11.4.3) of E in normalised coordinates, back to pixels by the focal lengths
    E = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]]) @ rotation
    line_j, line_i = local[0] @ E.T, local[1] @ E
    residual = np.sum(local[1] * line_j, axis=1)
    slopes = (line_j[:, :2] / model.focal_px[j]) ** 2, (line_i[:, :2] / model.focal_px[i]) ** 2
    sampson = np.abs(residual) / np.sqrt(slopes[0].sum(axis=1) + slopes[1].sum(axis=1) + 1e-24)
    a, b = local[0] @ rotation.T, local[1]  # both in the frame of camera j, where camera i stands at t
    depth_j, depth_i = _midpoint_depths(b, a, t)
    unit = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in (a, b)]
    angles = np.arccos(np.clip(np.sum(unit[0] * unit[1], axis=1), -1, 1))
    return (sampson < MAX_SAMPSON_PX) & (depth_i > 0) & (depth_j > 0), angles


def _midpoint_depths(a: NDArray, b: NDArray, baseline: NDArray) -> tuple[NDArray, NDArray]:
    """Depths along rays a and b where they come closest: minimises |x a - (baseline + y b)|."""
    aa, bb, ab = np.sum(a * a, 1), np.sum(b * b, 1), np.sum(a * b, 1)
    at, bt = a @ baseline, b @ baseline
    det = aa * bb - ab * ab + 1e-18
    return (at * bb - bt * ab) / det, (at * ab - bt * aa) / det
