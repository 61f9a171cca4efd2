"""Plain pycolmap with the settings few views need: pooled affine SIFT, one shared camera, a patient mapper."""

from importlib.util import find_spec

from recon.errors import PoseError
from recon.events import EventSink, Progress, ignore
from recon.poses.base import KnownCameras, PosesConfig
from recon.poses.candidates import map_candidates, score
from recon.poses.correspond import match_pairs
from recon.poses.features import all_pairs
from recon.poses.matches import Start, build_tracks, work_scale
from recon.poses.process import JobError
from recon.poses.result import assemble, give_up
from recon.poses.sift import SiftMatcher
from recon.types import ImageSet, PoseResult


class ColmapBackend:
    name = "colmap"

    def available(self) -> tuple[bool, str]:
        found = find_spec("pycolmap") is not None
        return found, "" if found else "pycolmap is not installed: pip install pycolmap"

    def estimate(
        self, images: ImageSet, config: PosesConfig, emit: EventSink = ignore, known: KnownCameras | None = None
    ) -> PoseResult:
        matcher = SiftMatcher(config.max_side, config.seed, config.time_limit_s)
        emit(Progress("poses", 0, 3, "finding features"))
        try:
            features = matcher.extract(images.images)
            emit(Progress("poses", 1, 3, "matching"))
            matches = match_pairs(matcher.match, features, all_pairs(len(images)))
            emit(Progress("poses", 2, 3, "mapping"))
            tracks = build_tracks(features, matches, work_scale(images, config))
            verified, candidates = map_candidates(tracks, images, [Start()], config)
        except JobError as error:
            raise PoseError(
                f"The mapper stopped: {error}. Try another backend (--poses auto) or fewer, smaller photos."
            ) from error
        emit(Progress("poses", 3, 3, "done"))
        if not candidates:
            raise give_up(images, tracks, verified)
        return assemble(images, max(candidates, key=score), self.name)
