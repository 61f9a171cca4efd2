"""Matches between photos, the jobs that turn them into models, and the models that come back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.poses.base import PosesConfig
from recon.poses.features import Features, Pair, work_factor
from recon.poses.process import run_job
from recon.sfm.packing import Arrays, PairMatches, pack, pack_pairs, unpack_pairs
from recon.types import ImageSet


@dataclass(frozen=True)
class Tracks:
    """Keypoints and matches of all photos, the input of mapping. Plain arrays, in working pixels.

    Working pixels are photo pixels times `scale`: thresholds of a few pixels then mean the same for every photo size.
    """

    keypoints: list[NDArray]
    """Per photo [N, 2], working pixels."""
    matches: PairMatches
    scale: NDArray
    """[V] working pixels per photo pixel."""

    def job(self, images: ImageSet) -> Arrays:
        """The fields of `recon.sfm.database.Photos`."""
        groups, camera_of = np.unique(images.camera_ids.numpy(), return_inverse=True)
        first = [int(np.flatnonzero(camera_of == g)[0]) for g in range(len(groups))]
        sizes = np.array([[images.images[v].shape[1], images.images[v].shape[0]] for v in first], np.float64)
        focal = np.array([images.focal_px[v].item() for v in first])
        scale = self.scale[first]
        return (
            pack("keypoints", self.keypoints, 2, np.float64)
            | pack_pairs("matches", self.matches)
            | {"camera_of": camera_of, "sizes": np.round(sizes * scale[:, None]), "focal_px": focal * scale}
        )


@dataclass(frozen=True)
class Start:
    """One attempt of the mapper."""

    focal_factor: float = float("nan")
    """Initial focal length in longest sides where EXIF is silent; NaN: COLMAP's guess."""
    refine_focal: bool = True
    pair: Pair | None = None
    """Photos to begin with; the focal length is then held until all photos are in. None: COLMAP's choice."""


@dataclass(frozen=True)
class Model:
    """One reconstruction, working pixels, in an arbitrary frame."""

    cam_from_world: NDArray
    """[V, 4, 4], NaN where the photo is not in it."""
    Ks: NDArray
    """[V, 3, 3], NaN where the photo is not in it."""
    xyz: NDArray
    error_px: NDArray
    observations: NDArray
    """[O, 3] of (point, photo, keypoint)."""

    @property
    def registered(self) -> NDArray:
        return np.isfinite(self.cam_from_world).all(axis=(1, 2))

    @property
    def focal_px(self) -> NDArray:
        """[V], NaN where the photo is not in it."""
        return self.Ks[:, 0, 0]

    @property
    def focal_factors(self) -> NDArray:
        """[V] focal lengths in longest sides, NaN where the photo is not in it; principal points are in the middle."""
        return self.focal_px / (2 * self.Ks[:, :2, 2].max(axis=1))


@dataclass(frozen=True)
class Verified:
    """What two-view geometry says about each pair that was matched."""

    inliers: PairMatches
    kind: dict[Pair, int]
    """COLMAP's `TwoViewGeometryConfiguration`."""
    homography: dict[Pair, NDArray]


def work_scale(images: ImageSet, config: PosesConfig) -> NDArray:
    """[V] working pixels per photo pixel."""
    return np.array([work_factor(max(photo.shape[:2]), config.max_side) for photo in images.images])


def build_tracks(features: Sequence[Features], matches: PairMatches, scale: NDArray) -> Tracks:
    """Features of one kind and their matches as `Tracks`."""
    keypoints = [f.keypoints.numpy().astype(np.float64) * s for f, s in zip(features, scale)]
    return Tracks(keypoints, matches, scale)


def join_tracks(a: Tracks, b: Tracks) -> Tracks:
    """Both kinds of features as one set: keypoints appended, matches concatenated."""
    shift = np.array([len(part) for part in a.keypoints])
    keypoints = [np.concatenate(parts) for parts in zip(a.keypoints, b.keypoints)]
    none = np.zeros((0, 2), np.int64)
    matches = {
        (i, j): np.concatenate([a.matches.get((i, j), none), b.matches.get((i, j), none) + shift[[i, j]]])
        for i, j in sorted({*a.matches, *b.matches})
    }
    return Tracks(keypoints, matches, a.scale)


def without_pairs(tracks: Tracks, pairs: Sequence[Pair]) -> Tracks:
    """The same keypoints, as if the given pairs had no matches."""
    return replace(tracks, matches={p: m[:0] if p in pairs else m for p, m in tracks.matches.items()})


def without_photos(model: Model, out: NDArray) -> Model:
    """The model without the photos flagged in `out` [V], and without points that fewer than two others see."""
    kept = model.observations[~out[model.observations[:, 1]]]
    seen = np.bincount(kept[:, 0], minlength=len(model.xyz)) >= 2
    kept = kept[seen[kept[:, 0]]]
    kept = np.column_stack([(np.cumsum(seen) - 1)[kept[:, 0]], kept[:, 1:]])
    poses, Ks = (np.where(out[:, None, None], np.nan, part) for part in (model.cam_from_world, model.Ks))
    return Model(poses, Ks, model.xyz[seen], model.error_px[seen], kept)


def run_mapping(
    tracks: Tracks, images: ImageSet, starts: Sequence[Start], config: PosesConfig
) -> tuple[Verified, list[Model | None]]:
    """Verify the matches and map from each start; None for a start that led nowhere.

    Raises:
        JobError: the child process failed.
    """
    rows = np.array([(s.focal_factor, s.refine_focal, *(s.pair or (-1, -1))) for s in starts], np.float64)
    arrays = tracks.job(images) | {"starts": rows, "time_limit_s": np.array(config.time_limit_s)}
    found = run_job("map", arrays, seed=config.seed, time_limit_s=config.time_limit_s + 60)
    return read_verified(found), [
        read_model(found, s, arrays["camera_of"], arrays["sizes"]) for s in range(len(starts))
    ]


def read_verified(found: Arrays) -> Verified:
    inliers = unpack_pairs("inliers", found)
    return Verified(
        inliers,
        dict(zip(inliers, (int(k) for k in found["pair_kind"]))),
        dict(zip(inliers, found["pair_homography"])),
    )


def read_model(found: Arrays, index: int, camera_of: NDArray, sizes: NDArray) -> Model | None:
    """Model `index` of a job's result; `sizes` [C, 2] per camera group puts principal points in the middle."""
    prefix = f"model{index}_"
    if f"{prefix}xyz" not in found:
        return None
    poses = found[f"{prefix}cam_from_world"]
    Ks = np.zeros((len(poses), 3, 3))
    Ks[:, 0, 0] = Ks[:, 1, 1] = found[f"{prefix}focal_px"][camera_of]
    Ks[:, :2, 2] = sizes[camera_of] / 2
    Ks[:, 2, 2] = 1
    Ks[~np.isfinite(poses).all(axis=(1, 2))] = np.nan
    return Model(poses, Ks, *(found[prefix + name] for name in ("xyz", "error_px", "observations")))
