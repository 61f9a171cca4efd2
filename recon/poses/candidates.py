"""Several models of the same photos, and which one to believe."""

import logging
from collections.abc import Sequence

import numpy as np

from recon.poses.base import PosesConfig
from recon.poses.diagnose import has_sane_focal
from recon.poses.matches import Model, Start, Tracks, Verified, run_mapping
from recon.poses.result import Solved, solved
from recon.types import ImageSet

logger = logging.getLogger(__name__)

EXIF_TOLERANCE = 0.15
"""A refined focal length further than this from EXIF is doubted: EXIF is rounded, but seldom that wrong."""
EXIF_COST = 0.02
"""Share of agreeing matches that believing EXIF may cost. More means a cropped photo, and EXIF is not believed."""
USUAL_FOCAL = 0.95
"""Longest sides: the main lenses of phones (24 to 28 mm equivalent) and standard zooms lie within half an octave."""
FOCAL_PRICE = 0.03
"""Share of agreeing matches that an octave beyond that half is worth."""

INSANE_PRICE = 0.3
"""Share of agreeing matches that a possible focal length is worth over an impossible one."""


def map_candidates(
    tracks: Tracks, images: ImageSet, starts: Sequence[Start], config: PosesConfig
) -> tuple[Verified, list[Solved]]:
    """The models of every start, and one with EXIF's focal length where the mapper left it behind.

    Raises:
        JobError: the child process failed.
    """
    verified, models = run_mapping(tracks, images, starts, config)
    tried = [(start, solved(model, tracks, verified)) for start, model in zip(starts, models) if model is not None]
    free = [candidate for start, candidate in tried if start.refine_focal]
    # three photos say something of the focal length, and then a guess that was held fixed must not win over them
    determined = any(c.model.registered.sum() >= 3 and has_sane_focals(c.model) for c in free)
    candidates = free if determined else [candidate for _, candidate in tried]
    best = max(candidates, key=score, default=None)
    if best is not None and _left_exif(best, images):
        _, fixed = run_mapping(tracks, images, [_exif_start(best.model, images)], config)
        held = [solved(model, tracks, verified) for model in fixed if model is not None]
        if held and held[0].support.share >= best.support.share - EXIF_COST:
            logger.info("kept the focal length of EXIF")
            candidates = held
    for candidate in candidates:
        logger.info(
            "%d photos, %.1f%% of the matches agree, focal lengths %s",
            candidate.model.registered.sum(),
            100 * candidate.support.share,
            np.unique(candidate.model.focal_px[candidate.model.registered].round(1)),
        )
    return verified, candidates


def score(candidate: Solved) -> tuple[float, int]:
    """Share of agreeing matches less a small price for unusual focal lengths, then number of observations.

    From two or three photos the share hardly changes while the focal length doubles: what cameras are usually like
    must decide then, and only then.
    """
    model = candidate.model
    octaves = np.abs(np.log2(model.focal_factors[model.registered] / USUAL_FOCAL))
    price = FOCAL_PRICE * max(0.0, float(octaves.mean()) - 0.5) if len(octaves) else 0.0
    price += 0.0 if has_sane_focals(model) else INSANE_PRICE
    return round(candidate.support.share - price, 3), len(model.observations)


def has_sane_focals(model: Model) -> bool:
    """Whether every placed photo's focal length is possible."""
    return all(has_sane_focal(int(v), model) for v in np.flatnonzero(model.registered))


def differ(a: Model, b: Model) -> bool:
    """Whether two models place other photos, or see them through clearly other lenses."""
    if not np.array_equal(a.registered, b.registered):
        return True
    ratio = np.abs(np.log(a.focal_px / b.focal_px))[a.registered]
    return bool((ratio > 0.05).any())


def _left_exif(candidate: Solved, images: ImageSet) -> bool:
    exif = images.focal_px.numpy() * candidate.tracks.scale
    deviation = np.abs(candidate.model.focal_px / exif - 1)  # NaN where either is unknown
    return bool((deviation > EXIF_TOLERANCE).any())


def _exif_start(free: Model, images: ImageSet) -> Start:
    """Focal lengths held: those of EXIF, and where it is silent the median of what the free model found there."""
    silent = ~images.focal_px.isfinite().numpy()
    factors = free.focal_factors[silent & free.registered]
    return Start(float(np.median(factors)) if len(factors) else float("nan"), refine_focal=False)
