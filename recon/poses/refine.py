"""Better cameras from guessed ones: our matches, triangulated and bundle-adjusted from where the guess put the photos.

What comes back is as good as its evidence: the adjusted cameras are kept only if more of the verified matches agree
with them, and photos that no matches tie to the others stay where the guess had them.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.poses.base import PosesConfig
from recon.poses.candidates import EXIF_COST, EXIF_TOLERANCE
from recon.poses.diagnose import FOCAL_RANGE
from recon.poses.gauge import Similarity
from recon.poses.matches import Model, Tracks, read_model, read_verified
from recon.poses.process import run_job
from recon.poses.result import Solved, solved
from recon.types import Cameras, ImageSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refined:
    """The cameras to keep, and what they rest on."""

    solved: Solved
    """In the world of the guess, with one focal length per camera group."""
    tied: NDArray
    """[V] bool: the photos that strong pairs of matches tie together; the others stand where the guess had them."""
    adjusted: bool
    """Whether bundle adjustment made them agree with more matches."""


def refine(images: ImageSet, start: Cameras, tracks: Tracks, config: PosesConfig) -> Refined:
    """Adjust guessed cameras of all photos (in pixels of `images`) to the matches.

    Raises:
        JobError: the child process failed.
    """
    guess = _Guess(images, start, tracks, config)
    as_given, adjusted, tied = guess.adjust(refine_focal=True)
    if adjusted is not None and guess.left_by(adjusted):
        # From a few photos of a shallow scene the share of agreeing matches hardly changes while a freed focal length
        # runs away; the guess, like EXIF, is seldom that wrong.
        _, steady, _ = guess.adjust(refine_focal=False)
        if steady is not None and steady.support.share >= adjusted.support.share - EXIF_COST:
            adjusted = steady
    logger.info(
        "%.1f%% of the matches agree with the guess, %s after adjustment",
        100 * as_given.support.share,
        "nothing to adjust" if adjusted is None else f"{adjusted.support.share:.1%}",
    )
    if adjusted is None or adjusted.support.share <= as_given.support.share:
        return Refined(as_given, tied, adjusted=False)
    return Refined(adjusted, tied, adjusted=True)


class _Guess:
    """Where adjustment starts: poses, and one focal length per camera group: EXIF's, or the median of the guesses."""

    def __init__(self, images: ImageSet, start: Cameras, tracks: Tracks, config: PosesConfig) -> None:
        self.tracks, self.config = tracks, config
        job = tracks.job(images)
        self.camera_of, self.sizes = job["camera_of"], job["sizes"]
        each = np.sqrt((start.Ks[:, 0, 0] * start.Ks[:, 1, 1]).double().numpy()) * tracks.scale
        shortest, longest = (factor * self.sizes.max(axis=1) for factor in FOCAL_RANGE)
        guessed = np.array([np.median(each[self.camera_of == c]) for c in range(len(self.sizes))])
        guessed = guessed.clip(shortest, longest)
        self.focal_px = np.where(np.isfinite(job["focal_px"]), job["focal_px"], guessed)
        self.job = job | {
            "cam_from_world": start.cam_from_world.double().numpy(),
            "start_focal_px": self.focal_px,
            "time_limit_s": np.array(config.time_limit_s),
        }

    def adjust(self, refine_focal: bool) -> tuple[Solved, Solved | None, NDArray]:
        """The cameras as they are, adjusted ones if there is anything to adjust, and which photos are tied [V]."""
        arrays = self.job | {"refine_focal": np.array(int(refine_focal))}
        found = run_job("refine", arrays, seed=self.config.seed, time_limit_s=self.config.time_limit_s)
        verified = read_verified(found)
        given, adjusted = (read_model(found, m, self.camera_of, self.sizes) for m in (0, 1))
        assert given is not None, "refinement always returns the cameras it was given"
        return (
            solved(given, self.tracks, verified),
            None if adjusted is None else solved(_completed(adjusted, given), self.tracks, verified),
            found["tied"].astype(bool),
        )

    def left_by(self, candidate: Solved) -> bool:
        """Whether the adjusted focal lengths are far from where they started."""
        return bool((np.abs(candidate.model.focal_px / self.focal_px[self.camera_of] - 1) > EXIF_TOLERANCE).any())


def _completed(model: Model, given: Model) -> Model:
    """`model` in the world of `given`, with the photos it lacks where `given` has them."""
    has = model.registered
    similarity = between(model.cam_from_world[has], given.cam_from_world[has])
    poses = similarity.cameras(model.cam_from_world)
    return replace(
        model,
        cam_from_world=np.where(has[:, None, None], poses, given.cam_from_world),
        Ks=np.where(has[:, None, None], model.Ks, given.Ks),
        xyz=similarity.points(model.xyz),
    )


def between(old: NDArray, new: NDArray) -> Similarity:
    """The change of world that brings cameras [N, 4, 4] closest to others of the same photos.

    The rotation is the mean (in the chordal sense) of what each photo says, which two photos suffice for, unlike
    their centres alone; the scale is the median over pairs, so that one misplaced photo does not change it.
    """
    u, _, vt = np.linalg.svd(np.einsum("vki,vkj->ij", new[:, :3, :3], old[:, :3, :3]))
    R = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    a, b = (-np.einsum("vki,vk->vi", poses[:, :3, :3], poses[:, :3, 3]) for poses in (old, new))
    i, j = np.triu_indices(len(a), 1)
    lengths = np.linalg.norm(b[i] - b[j], axis=1) / np.maximum(np.linalg.norm(a[i] - a[j], axis=1), 1e-12)
    scale = float(np.median(lengths))
    return Similarity(scale, R, np.median(b - scale * a @ R.T, axis=0))
