"""The discrete search for the pose of one photo, and the evidence for what it finds.

1. Candidate poses are ranked by small renderings of what the other photos know.
2. The photo is matched with renderings at the best of them. Each match has a point in the
   world, so a rendering that is not even near the true view yields a pose (PnP). That is what places photos too far
   from the others for their own pixels to be matched: the rendering has undone most of the change of viewpoint.
3. The photo is matched again with a rendering at the pose found, twice: a wrong pose does not confirm itself.
4. The pose is refined photometrically, and both kinds of evidence are weighed.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.projection import unproject
from recon.optimize.align import AlignConfig, align_camera
from recon.optimize.placing.config import PlacingConfig
from recon.optimize.placing.evidence import Evidence, occupied_cells, photometric, shrunk
from recon.optimize.placing.resection import Resection, agreeing, resect
from recon.optimize.placing.surface import Surface, camera_at
from recon.types import Cameras, Rendering

MAX_ERROR = 0.01
"""Reprojection error of an inlier, in longest sides of the photo: renderings are not exact."""
PROMISING, ENOUGH = 12, 40
"""Agreeing matches of a first look from which a pose is worth confirming, and worth confirming at once."""
MAX_CONFIRMED = 2
ROUNDS = 2
"""Of matching again at the pose found."""
REFINEMENT = AlignConfig(iterations=4, scales=(0.5, 1.0))
HIT = 0.7
"""Alpha from which a match with a rendering has a point."""


@runtime_checkable
class PictureMatcher(Protocol):
    """Finds corresponding positions in two pictures."""

    def features(self, picture: Float[Tensor, "H W 3"], limit: int) -> Any:
        """What is to be known of a picture before it can be matched: at most `limit` features."""
        ...

    def match(self, a: Any, b: Any) -> tuple[Float[Tensor, "M 2"], Float[Tensor, "M 2"]]:
        """Positions of matches in both pictures, in their pixels."""
        ...


@dataclass(frozen=True)
class Placement:
    """A pose of one photo and what speaks for it."""

    cam_from_world: Float[Tensor, "4 4"]
    evidence: Evidence
    uv: Float[Tensor, "M 2"]
    """Positions in the photo, in its pixels, of the agreeing matches."""
    xyz: Float[Tensor, "M 3"]
    """The points they see."""


class _Sized:
    """The photo at one size, to be matched with renderings of that size."""

    def __init__(
        self, photo: Tensor, lens: Cameras, surface: Surface, matcher: PictureMatcher, size: tuple[int, int], seed: int
    ) -> None:
        side, self.limit = min(size[0], max(photo.shape[:2])), size[1]
        self.lens = camera_at(lens.cam_from_world[0], lens, side)
        self.photo = shrunk(photo, int(self.lens.width[0]), int(self.lens.height[0]))
        self.scale = float(lens.width[0]) / float(self.lens.width[0])
        self.max_error_px = MAX_ERROR * side
        self.surface, self.matcher, self.seed = surface, matcher, seed
        self.features = matcher.features(self.photo, self.limit)

    def look(self, pose: Tensor) -> tuple[Cameras, Rendering]:
        camera = replace(self.lens, cam_from_world=pose[None])
        return camera, self.surface.look(camera)

    def matches(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [M, 2] in the photo, matched with the rendering at a pose, and the points [M, 3] seen there."""
        camera, shown = self.look(pose)
        found = self.matcher.features(shown.rgb[0].cpu().clamp(0, 1), self.limit)
        uv, seen_at = self.matcher.match(self.features, found)
        xyz, hit = _lift(seen_at, shown, camera)
        return uv[hit], xyz[hit]

    def resect(self, uv: Tensor, xyz: Tensor) -> Resection | None:
        return resect(uv, xyz, self.lens.Ks[0], self.max_error_px, self.seed)

    def agreeing(self, uv: Tensor, xyz: Tensor, pose: Tensor) -> Tensor:
        return agreeing(uv, xyz, pose, self.lens.Ks[0], self.max_error_px)


class PhotoSearch:
    """One photo, looked for in the surface that other photos know.

    Args:
        photo: at any size.
        lens: its camera (V = 1) at that size; the pose does not matter.
        share: of the photo that the surface can cover: see `recon.optimize.placing.evidence.photometric`.
    """

    def __init__(
        self,
        photo: Float[Tensor, "H W 3"],
        lens: Cameras,
        surface: Surface,
        matcher: PictureMatcher,
        config: PlacingConfig,
        share: float = 1.0,
    ) -> None:
        self.surface, self.config, self.share = surface, config, share

        def sized(side: int, limit: int) -> _Sized:
            return _Sized(photo, lens, surface, matcher, (side, limit), config.seed)

        self.coarse = sized(config.search_side, config.search_features)
        self.fine = sized(config.confirm_side, config.confirm_features)

    def rank(self, candidates: Float[Tensor, "N 4 4"], limit: int) -> list[Float[Tensor, "4 4"]]:
        """At most `limit` of the candidates, those that resemble the photo most in small renderings, best
        first."""
        camera = camera_at(candidates[0], self.coarse.lens, self.config.rank_side)
        photo = shrunk(self.coarse.photo, int(camera.width[0]), int(camera.height[0]))
        scored = []
        for pose in candidates:
            shown = self.surface.look(replace(camera, cam_from_world=pose[None]))
            scored.append((resemblance(photo, shown), pose))
        scored.sort(key=lambda row: -row[0])
        return [pose for score, pose in scored[:limit] if score > 0]

    def find(self, candidates: Float[Tensor, "N 4 4"], limit: int) -> Placement | None:
        """The best-supported pose found from the `limit` most similar candidates; None when none leads anywhere.

        The first that is accepted ends the search. What is returned need not be: see `Evidence.accepted`.
        """
        waiting: list[tuple[int, Tensor]] = []
        confirmed: list[Placement] = []
        for pose in self.rank(candidates, limit):
            found = self.coarse.resect(*self.coarse.matches(pose))
            n = 0 if found is None else int(found.inliers.sum())
            if found is None or n < PROMISING:
                continue
            if n < ENOUGH:
                waiting.append((n, found.cam_from_world))
            elif self._confirmed(found.cam_from_world, confirmed):
                return confirmed[-1]
        for _, pose in sorted(waiting, key=lambda row: -row[0])[:MAX_CONFIRMED]:
            if self._confirmed(pose, confirmed):
                return confirmed[-1]
        return max(confirmed, key=lambda placement: placement.evidence.strength, default=None)

    def _confirmed(self, pose: Tensor, so_far: list[Placement]) -> bool:
        placement = self.confirm(pose)
        if placement is not None:
            so_far.append(placement)
        return placement is not None and placement.evidence.accepted(self.config)

    def confirm(self, pose: Float[Tensor, "4 4"]) -> Placement | None:
        """Match again at the pose found, refine photometrically, and weigh what speaks for the result."""
        for _ in range(ROUNDS):
            uv, xyz = self.fine.matches(pose)
            found = self.fine.resect(uv, xyz)
            if found is None:
                return None
            pose = found.cam_from_world
        return self._weigh(self._refined(pose, uv, xyz), uv, xyz)

    def judge(self, pose: Float[Tensor, "4 4"]) -> Placement:
        """The evidence for a pose as it is."""
        return self._weigh(pose, *self.fine.matches(pose))

    def photometric_at(self, pose: Float[Tensor, "4 4"]) -> tuple[float, float]:
        """(coverage, agreement) of the photo and the rendering at a pose."""
        _, shown = self.coarse.look(pose)
        return photometric(self.coarse.photo, shown.rgb[0].cpu(), shown.alpha[0].cpu(), self.share)

    def _refined(self, pose: Tensor, uv: Tensor, xyz: Tensor) -> Tensor:
        """Moved to where the rendering fits best, unless fewer matches then agree."""
        start = replace(self.coarse.lens, cam_from_world=pose[None])
        aligned = align_camera(self.surface.splats, self.coarse.photo, start, self.surface.rasterizer, REFINEMENT)
        moved = aligned.cam_from_world[0]
        before, after = (int(self.fine.agreeing(uv, xyz, p).sum()) for p in (pose, moved))
        return moved if after >= before else pose

    def _weigh(self, pose: Tensor, uv: Tensor, xyz: Tensor) -> Placement:
        inliers = self.fine.agreeing(uv, xyz, pose)
        coverage, agreement = self.photometric_at(pose)
        cells = occupied_cells(uv[inliers], float(self.fine.lens.width[0]), float(self.fine.lens.height[0]))
        n = int(inliers.sum())
        evidence = Evidence(coverage, agreement, n, n / max(1, len(uv)), cells)
        return Placement(pose, evidence, uv[inliers] * self.fine.scale, xyz[inliers])


def resemblance(photo: Float[Tensor, "H W 3"], shown: Rendering) -> float:
    """How alike a photo and a small rendering are although the view is not quite the same.

    Correlation over the covered pixels of colours blurred by a twelfth of the picture, times the root of the share
    that is covered; 0 if hardly anything is.
    """
    mask = (shown.alpha[0].cpu() > 0.5).float()
    coverage = float(mask.mean())
    if coverage < 0.1:
        return 0.0
    side = 2 * (max(photo.shape[:2]) // 24) + 1
    blur = lambda x: torch.nn.functional.avg_pool2d(x[None], side, 1, side // 2)[0]  # noqa: E731
    weight = blur(mask[None]).clamp_min(1e-6)
    a, b = (blur(x.permute(2, 0, 1) * mask) / weight for x in (photo, shown.rgb[0].cpu()))
    inside = mask > 0
    a, b = a[:, inside], b[:, inside]
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return float((a * b).sum() / (a.norm() * b.norm() + 1e-9)) * coverage**0.5


def _lift(uv: Tensor, shown: Rendering, camera: Cameras) -> tuple[Tensor, Tensor]:
    """World points [M, 3] that a rendering shows at pixel positions, and where it shows any [M]."""
    depth, alpha = shown.depth[0].cpu(), shown.alpha[0].cpu()
    column = uv[:, 0].floor().long().clamp(0, depth.shape[1] - 1)
    row = uv[:, 1].floor().long().clamp(0, depth.shape[0] - 1)
    z = depth[row, column]
    return unproject(uv, z, camera.Ks[0], camera.cam_from_world[0]), (z > 0) & (alpha[row, column] > HIT)
