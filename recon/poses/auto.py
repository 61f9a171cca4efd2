"""The default: a cascade that starts cheap and spends more only where photos still lack support.

1. ALIKED features, nearest neighbours, one mapping run. Most easy sets end here.
2. Photos that match nobody are tried in quarter turns (phones held sideways, views from above).
3. LightGlue for the pairs that nearest neighbours left weak, several starts of the mapper.
4. Pooled affine SIFT joins in, with more starting pairs and focal lengths.

Each candidate is scored by the share of all verified matches that agree with it; the best one is kept.
"""

import logging
from dataclasses import dataclass, field

from recon.errors import PoseError
from recon.events import EventSink, Progress, ignore
from recon.poses import learned
from recon.poses.base import KnownCameras, PosesConfig
from recon.poses.candidates import USUAL_FOCAL, map_candidates, score
from recon.poses.correspond import match_nearest, match_pairs, strengthen
from recon.poses.diagnose import has_sane_focal, is_supported
from recon.poses.features import all_pairs
from recon.poses.learned import AlikedMatcher
from recon.poses.matches import Start, Tracks, Verified, build_tracks, join_tracks, work_scale
from recon.poses.process import JobError
from recon.poses.result import Solved, assemble, give_up, solved
from recon.poses.sift import SiftMatcher
from recon.types import ImageSet, PoseResult

logger = logging.getLogger(__name__)

GOOD_SHARE = 0.8
"""Below this share of agreeing matches a model is not trusted to be the best there is."""
FOCAL_FACTORS = (0.65, 0.85, 1.2, 1.7)
"""Starting focal lengths, in longest sides, when the first guess did not lead to a convincing model."""

STEPS = 4
"""Of the progress bar."""


class AutoBackend:
    name = "auto"

    def available(self) -> tuple[bool, str]:
        return learned.available()

    def estimate(
        self, images: ImageSet, config: PosesConfig, emit: EventSink = ignore, known: KnownCameras | None = None
    ) -> PoseResult:
        return _Cascade(images, config, emit).run()


@dataclass
class _Cascade:
    """The state of one run: what was matched so far and the best model so far."""

    images: ImageSet
    config: PosesConfig
    emit: EventSink
    best: Solved | None = None
    seen: list[tuple[Tracks, Verified]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)

    def run(self) -> PoseResult:
        aliked = AlikedMatcher(self.config.max_side)
        self._tell(0, "finding and matching features")
        features, matches = match_nearest(aliked, self.images.images)
        scale = work_scale(self.images, self.config)
        if not self._attempt("nearest", build_tracks(features, matches, scale), [Start()]):
            matches = strengthen(aliked, features, matches, lambda message: self._tell(1, message))
            tracks = build_tracks(features, matches, scale)
            if not self._attempt("lightglue", tracks, self._starts()):
                self._attempt("sift", self._with_sift(tracks), self._starts())
        self._tell(STEPS, "done")
        if self.best is None:
            raise give_up(self.images, *self.seen[-1]) if self.seen else self._broken()
        result = assemble(self.images, self.best, AutoBackend.name)
        result.extras["stages"] = list(self.stages)
        return result

    def _tell(self, done: int, message: str) -> None:
        self.emit(Progress("poses", done, STEPS, message))

    def _with_sift(self, tracks: Tracks) -> Tracks:
        self._tell(2, "adding SIFT")
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
        return [Start(focal_factor=factor) for factor in FOCAL_FACTORS] + [Start(USUAL_FOCAL, refine_focal=False)]

    def _attempt(self, stage: str, tracks: Tracks, starts: list[Start]) -> bool:
        """Map, keep what is better, and say whether it is good enough to stop."""
        self._tell(3, f"mapping ({stage})")
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
        best = max(candidates, key=score, default=None)
        if best is None:
            return False
        # an old model's observations index the old keypoints: it stays with those
        self.best = before if before is not None and best is candidates[-1] else best
        return self._good(best)

    def _good(self, candidate: Solved) -> bool:
        """Every photo placed and supported, the matches agree, the focal length is sane."""
        model = candidate.model
        return bool(
            model.registered.all()
            and candidate.support.share >= GOOD_SHARE
            and (
                len(self.images) == 2 or all(is_supported(v, model, candidate.support) for v in range(len(self.images)))
            )
            and all(has_sane_focal(v, model) for v in range(len(self.images)))
        )

    def _broken(self) -> PoseError:
        return PoseError(
            "The mapper stopped on these photos every time. Run with a log (--debug) to see why, "
            "or try fewer, smaller photos."
        )
