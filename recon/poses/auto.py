"""The default: a cascade that starts cheap and spends more only where photos still lack support.

1. ALIKED features, nearest neighbours, one mapping run. Most easy sets end here.
2. Photos that match nobody are tried in quarter turns (phones held sideways, views from above).
3. LightGlue for the pairs that nearest neighbours left weak (for all, where nothing but the focal length is
   in doubt), several starts of the mapper.
4. Simulated views for the pairs of photos that still lack support: they may stand 40 to 90 degrees apart.
5. Pooled affine SIFT joins in.
6. A feed-forward network, if its package and weights are here already, when photos are still missing.

Each candidate is scored by the share of all verified matches that agree with it, and by what a dense look at its
photos says (`recon.poses.verify`); the best one is kept. A model that is bent is mapped again from the bend.
"""

import logging
import math
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from recon.errors import PoseError, ReconError
from recon.events import EventSink, Progress, ignore
from recon.poses import learned
from recon.poses.base import Backend, KnownCameras, PosesConfig
from recon.poses.candidates import USUAL_FOCAL, differ, has_sane_focals, map_candidates, score
from recon.poses.correspond import WEAK_PAIR, match_nearest, match_pairs, strengthen
from recon.poses.diagnose import MAX_FOCAL_UNCERTAINTY, is_supported
from recon.poses.features import Features, Pair, all_pairs
from recon.poses.feedforward import first_available
from recon.poses.learned import AlikedMatcher
from recon.poses.masking import choose_region, drop_still, split_tracks
from recon.poses.matches import Start, Tracks, Verified, build_tracks, join_tracks, without_pairs, work_scale
from recon.poses.process import JobError
from recon.poses.result import Solved, assemble, count_supported, examined, give_up, solved
from recon.poses.sift import SiftMatcher
from recon.poses.tilts import widen
from recon.poses.view_graph import FALSE, SOUND, links_of, strained
from recon.types import ImageSet, PoseResult, PoseStatus

logger = logging.getLogger(__name__)

GOOD_SHARE = 0.8
"""Below this share of agreeing matches a model is not trusted to be the best there is."""
FOCAL_FACTORS = (0.65, 0.85, 1.2, 1.7)
"""Starting focal lengths, in longest sides, when the first guess did not lead to a convincing model."""

FEW_DOUBTFUL = 0.25
"""Share of photos in doubt for which simulated views and SIFT, which cost most, are not worth it."""
SETTLED_PHOTOS = 4
"""Fewer agree with almost any focal length."""
SHARP_FOCAL = 0.05
"""Relative standard deviation of the focal length above which all pairs are matched again: nearest neighbours left
0.005 to 0.04 on the real 3-photo sets they solved, but for one (0.07)."""
PAIRS_PER_PHOTO, MAX_PAIRS = 3, 6
"""Of a photo that lacks support, and in all, this many pairs get simulated views: those with most matches, and of
photos that have no place before those that have a doubtful one. A pair costs 3 to 10 CPU-s."""

MAX_STRAIGHTENED = 2
"""Times that a model is mapped again from where it is bent."""
STEPS = 5
"""Of the progress bar."""


class AutoBackend:
    name = "auto"

    def available(self) -> tuple[bool, str]:
        return learned.available()

    def estimate(
        self, images: ImageSet, config: PosesConfig, emit: EventSink = ignore, known: KnownCameras | None = None
    ) -> PoseResult:
        try:
            result = _Cascade(images, config, emit).run()
        except PoseError:
            network = first_available(config)
            other = None if network is None else _asked(network, images, config, emit)
            if other is None:
                raise  # it says of each photo why it was not placed
            return other
        network = None if result.cameras.registered.all() else first_available(config)
        return result if network is None else _better(result, network, images, config, emit)


def _better(result: PoseResult, network: Backend, images: ImageSet, config: PosesConfig, emit: EventSink) -> PoseResult:
    """The result of the network, whose refinement starts from where it sees the cameras, if more photos are `ok`."""
    other = _asked(network, images, config, emit)
    if other is None:
        return result
    sure = [sum(status is PoseStatus.OK for status in r.status) for r in (result, other)]
    return other if sure[1] > sure[0] else result


def _asked(network: Backend, images: ImageSet, config: PosesConfig, emit: EventSink) -> PoseResult | None:
    """The result of the network; None, with a line in the log, where it fails."""
    try:
        return network.estimate(images, config, emit)
    except ReconError as error:
        logger.warning("%s could not help with the photos that are missing: %s", network.name, error)
        return None


def _merit(candidate: Solved) -> tuple[int, tuple[float, int]]:
    """Photos that are believed, then matches that agree."""
    return count_supported(candidate), score(candidate)


@dataclass
class _Cascade:
    """The state of one run: what was matched so far and the best model so far."""

    images: ImageSet
    config: PosesConfig
    emit: EventSink
    best: Solved | None = None
    seen: list[tuple[Tracks, Verified]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def run(self) -> PoseResult:
        aliked = AlikedMatcher(self.config.max_side)
        self._tell(0, "finding and matching features")
        features, matches = match_nearest(aliked, self.images.images)
        tracks = self._of_scene(build_tracks(features, matches, work_scale(self.images, self.config)))
        if not self._attempt("nearest", tracks, [Start()]):
            self._escalate(aliked, features, tracks)
        elif self._is_blurry():
            self._escalate(aliked, features, tracks, weak_below=math.inf)
        self._tell(STEPS, "done")
        if self.best is None:
            raise give_up(self.images, *self.seen[-1]) if self.seen else self._broken()
        result = assemble(self.images, self.best, AutoBackend.name)
        result.extras["stages"] = list(self.stages)
        return replace(result, warnings=(*self.warnings, *result.warnings))

    def _escalate(
        self, aliked: AlikedMatcher, features: list[Features], tracks: Tracks, weak_below: float = WEAK_PAIR
    ) -> None:
        """The costlier steps, until one leads to a model that needs no more."""
        wanted = self._doubtful() or range(len(self.images))
        tell = partial(self._tell, 1)
        matches = strengthen(aliked, features, tracks.matches, tell, wanted, weak_below)
        tracks = self._of_scene(build_tracks(features, matches, tracks.scale))
        if self._attempt("lightglue", tracks, self._starts()) or self._nearly_done():
            return
        pairs = self._unsettled(tracks)
        wider = widen(aliked, self.images.images, tracks, pairs, lambda message: self._tell(2, message))
        if wider is not tracks and self._attempt("views", self._of_scene(wider), self._starts()):
            return
        self._attempt("sift", self._of_scene(self._with_sift(wider)), self._starts())

    def _of_scene(self, tracks: Tracks) -> Tracks:
        """Without what stands still, and of the region that carries the scene where masks tell two apart."""
        tracks, still = drop_still(tracks)
        if still and not self.warnings:
            self.warnings.append(
                f"{still} matches stand still in the photos and were left out: a turntable, or photos from one spot."
            )
        if self.images.masks is None:
            return tracks
        regions = split_tracks(tracks, self.images.masks)
        choice = choose_region(regions)
        logger.info("matches of region '%s' are used: %s", choice.region.value, choice.reason)
        return regions[choice.region]

    def _nearly_done(self) -> bool:
        """Every photo has a place and few are in doubt: they are labelled so, and `placing` looks at them again."""
        placed = self.best is not None and bool(self.best.model.registered.all())
        return placed and len(self._doubtful()) <= FEW_DOUBTFUL * len(self.images)

    def _is_blurry(self) -> bool:
        """Every photo has its place, and more matches may tell the focal length better; two photos never tell it."""
        if self.best is None or len(self.images) == 2 or self._doubtful():
            return False
        return self.best.support.focal_uncertainty > SHARP_FOCAL

    def _doubtful(self) -> list[int]:
        """Photos that the best model does not place beyond doubt."""
        best = self.best
        return [v for v in range(len(self.images)) if best is None or not is_supported(v, best.model, best.support)]

    def _unsettled(self, tracks: Tracks) -> list[Pair]:
        """The most promising pairs of doubtful photos."""
        order = sorted(all_pairs(len(self.images)), key=lambda pair: -len(tracks.matches.get(pair, ())))
        doubtful = sorted(self._doubtful(), key=lambda v: self.best is not None and self.best.model.registered[v])
        pairs = [pair for v in doubtful for pair in [p for p in order if v in p][:PAIRS_PER_PHOTO]]
        return list(dict.fromkeys(pairs))[:MAX_PAIRS]

    def _tell(self, done: int, message: str) -> None:
        self.emit(Progress("poses", done, STEPS, message))

    def _with_sift(self, tracks: Tracks) -> Tracks:
        self._tell(3, "adding SIFT")
        sift = SiftMatcher(self.config.max_side, self.config.seed, self.config.time_limit_s)
        try:
            features = sift.extract(self.images.images)
        except JobError as error:
            logger.warning("SIFT was left out: %s", error)
            return tracks
        matches = match_pairs(sift.match, features, all_pairs(len(self.images)))
        return join_tracks(tracks, build_tracks(features, matches, tracks.scale))

    def _starts(self) -> list[Start]:
        """The default; where EXIF is silent, one start per focal length, and one that keeps a usual one as it is.

        Two photos do not determine a focal length, and refining it then runs away (to a sixth of the longest side).
        """
        if bool(self.images.focal_px.isfinite().all()):
            return [Start()]
        settled = self._settled_focal()
        if settled is not None:
            return [Start(settled)]
        return [Start(focal_factor=factor) for factor in FOCAL_FACTORS] + [Start(USUAL_FOCAL, refine_focal=False)]

    def _settled_focal(self) -> float | None:
        """The focal length of the best model, in longest sides, if enough photos have settled it.

        The mapper is by far the costliest step with nine photos: more starts are for what is open.
        """
        best = self.best
        if best is None or best.model.registered.sum() < SETTLED_PHOTOS or not has_sane_focals(best.model):
            return None
        if not best.support.focal_uncertainty <= MAX_FOCAL_UNCERTAINTY:
            return None
        return float(np.nanmedian(best.model.focal_factors))

    def _attempt(self, stage: str, tracks: Tracks, starts: list[Start]) -> bool:
        """Map, keep what is better, and say whether it is good enough to stop."""
        self._tell(4, f"mapping ({stage})")
        self.stages.append(stage)
        try:
            verified, candidates = map_candidates(tracks, self.images, starts, self.config)
        except JobError as error:
            logger.warning("mapping of stage '%s' failed: %s", stage, error)
            return False
        self.seen.append((tracks, verified))
        before = self.best
        if before is not None:  # the matches have grown: judge the old model by the new ones too
            candidates.append(solved(before.model, tracks, verified))
        best = self._choose(candidates)
        if best is None:
            return False
        best = self._straightened(self._without_false_pairs(best))
        # an old model's observations index the old keypoints: it stays with those
        self.best = before if before is not None and best.model is before.model else best
        return self._good(best)

    def _choose(self, candidates: list[Solved]) -> Solved | None:
        """The best by matches; the runner-up instead when a look at the photos believes more of its photos."""
        order = sorted(candidates, key=score, reverse=True)
        if not order:
            return None
        best = examined(self.images, order[0])
        rivals = [c for c in order[1:] if differ(c.model, best.model)]
        if count_supported(best) < len(self.images) and rivals:
            best = max(best, examined(self.images, rivals[0]), key=_merit)
        return best

    def _without_false_pairs(self, best: Solved) -> Solved:
        """Mapped again without the pairs whose photos do not look into each other, if that helps."""
        false = links_of(best.support, FALSE)
        if not false:
            return best
        logger.info("mapping again without %d look-alike pairs", len(false))
        try:
            _, candidates = map_candidates(without_pairs(best.tracks, false), self.images, [Start()], self.config)
        except JobError as error:
            logger.warning("mapping without look-alike pairs failed: %s", error)
            return best
        again = self._choose(candidates)
        if again is None or count_supported(again) < count_supported(best):
            return best
        return again

    def _straightened(self, best: Solved) -> Solved:
        """Mapped again from where the model is bent, if that helps.

        A group of photos that a handful of matches joined wrongly to the others bends as the mapper adds to it, and no
        adjustment straightens it. Begun there, with the focal length that the model has found, it comes out straight.
        """
        tried: set[Pair] = set()
        for _ in range(MAX_STRAIGHTENED):
            pairs = [pair for pair in strained(best.support, best.model.registered) if pair not in tried]
            if not pairs:
                break
            tried.add(pairs[0])
            start = Start(float(np.nanmedian(best.model.focal_factors)), pair=pairs[0])
            logger.info("mapping again from photos %d and %d, where the model is bent", *pairs[0])
            try:
                _, candidates = map_candidates(best.tracks, self.images, [start], self.config)
            except JobError as error:
                logger.warning("mapping again from where the model is bent failed: %s", error)
                break
            again = self._choose(candidates)
            if again is not None and _merit(again) > _merit(best):
                best = again
        return best

    def _good(self, candidate: Solved) -> bool:
        """Every photo placed and supported, the matches agree, the focal length is sane."""
        model, support = candidate.model, candidate.support
        if not model.registered.all() or support.share < GOOD_SHARE:
            return False
        sound = links_of(support, SOUND)
        if sound and support.turns.issuperset(sound):  # no matching makes depth of a turn on the spot
            return True
        if len(self.images) == 2:  # whether the focal length is settled no further matching will change
            return bool(sound) and has_sane_focals(model)
        return count_supported(candidate) == len(self.images)

    def _broken(self) -> PoseError:
        return PoseError(
            "The mapper stopped on these photos every time. Run with a log (--debug) to see why, "
            "or try fewer, smaller photos."
        )
