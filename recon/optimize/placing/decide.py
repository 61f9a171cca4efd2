"""Which photos to look at again, and what to do about one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import inverse_se3
from recon.optimize.placing.candidates import chains, orbit_of, turns, viewing_sphere
from recon.optimize.placing.config import PlacingConfig
from recon.optimize.placing.evidence import Evidence, agreement_at
from recon.optimize.placing.search import PhotoSearch, PictureMatcher, Placement
from recon.optimize.placing.surface import surface_of
from recon.render import Rasterizer
from recon.types import Cameras, DepthMaps, PosedScene

STRONGER = 1.5
"""A new pose must have this many times the evidence of the present one."""
MAX_HINTS = 6
HARDLY_COVERED = 0.15
"""Coverage of a photo below which its agreement is no reason to trust it."""


class Action(StrEnum):
    """What was decided."""

    CONFIRMED = "confirmed"
    PLACED = "placed"
    MOVED = "moved"
    LEFT = "left as it is"
    TAKEN_OUT = "taken out"


@dataclass(frozen=True)
class Photo:
    """A photo to be looked at again."""

    image: Float[Tensor, "H W 3"]
    lens: Cameras
    """Its camera (V = 1) at the size of `image`; the pose is the present one if it is registered."""
    placed: Float[Tensor, "N 4 4"] | None = None
    cam_from_placed: Float[Tensor, "N 4 4"] | None = None
    """Relative poses (translations of any length) to placed cameras, from however few matches."""
    share: float = 1.0
    """Of the photo that shows the object, where that is masked."""


@dataclass(frozen=True)
class Decision:
    """What to do about a photo, and why."""

    action: Action
    before: Evidence | None
    """For the pose it had."""
    found: Placement | None
    """The best pose that was found; to be used when `action` is `placed` or `moved`."""

    @property
    def moves(self) -> bool:
        return self.action in (Action.PLACED, Action.MOVED)

    def given_up(self, config: PlacingConfig) -> "Decision":
        """What follows where the photo must not stay as it is: the place that was found, if that is accepted."""
        accepted = self.found is not None and self.found.evidence.accepted(config)
        return replace(self, action=Action.MOVED if accepted else Action.TAKEN_OUT)

    def refutes(self, config: PlacingConfig) -> bool:
        """Whether the photo shows plainly something else than the others' points in the place that it keeps."""
        if self.action is not Action.LEFT or self.before is None:
            return False
        return self.before.coverage >= HARDLY_COVERED and self.before.agreement < config.refuted_below


def contradicted(
    scene: PosedScene, depths: DepthMaps, rasterizer: Rasterizer, config: PlacingConfig
) -> list[tuple[float, float]]:
    """Leave-out test: (coverage, agreement) of each photo with what the stereo points of all others show in its place.

    Photos that are hardly covered or agree little have a wrong pose, or show something else: see `disagrees`.
    """
    found = []
    for view in range(len(scene)):
        others = [j for j in range(len(scene)) if j != view]
        surface = surface_of(scene, depths, others, rasterizer)
        if surface is None:
            found.append((0.0, 0.0))
        else:
            share = 1.0 if scene.masks is None else float(scene.masks[view].mean())
            camera = scene.cameras[view]
            found.append(agreement_at(surface, scene.images[view], camera, config.search_side, share))
    return found


def disagrees(coverage: float, agreement: float, config: PlacingConfig) -> bool:
    """Whether the leave-out test gives reason to look at a photo again.

    A photo in which the points of the others hardly show counts, too: a pose that is wrong by half a turn looks at
    nothing they know. Looking again costs time and moves nothing without better evidence.
    """
    return coverage < HARDLY_COVERED or agreement < config.min_agreement


def look_again(
    photo: Photo,
    scene: PosedScene,
    depths: DepthMaps,
    trusted: Sequence[int],
    matcher: PictureMatcher,
    rasterizer: Rasterizer,
    config: PlacingConfig,
) -> Decision:
    """Weigh the pose of one photo against the points of photos `trusted` of `scene`, and search for a better one.

    The photo itself must not be among `trusted`.
    """
    surface = surface_of(scene, depths, trusted, rasterizer)
    if surface is None:
        return Decision(Action.LEFT, None, None)
    search = PhotoSearch(photo.image, photo.lens, surface, matcher, config, photo.share)
    present = photo.lens.cam_from_world[0] if bool(photo.lens.registered[0]) else None
    before = None if present is None else search.judge(present).evidence
    if before is not None and before.accepted(config):
        return Decision(Action.CONFIRMED, before, None)
    orbit = orbit_of(scene.cameras[list(trusted)], surface.xyz)
    hints = [] if present is None else [present[None], turns(orbit, present[None])]
    if photo.placed is not None and photo.cam_from_placed is not None:
        hints.append(chains(orbit, photo.placed, photo.cam_from_placed))
    found = search.find(torch.cat(hints), MAX_HINTS) if hints else None
    if found is None or not found.evidence.accepted(config):
        found = search.find(viewing_sphere(orbit, config), config.max_views) or found
    if found is None or not found.evidence.accepted(config):
        return Decision(Action.LEFT, before, found)
    if before is None:
        return Decision(Action.PLACED, None, found)
    better = found.evidence.strength > STRONGER * before.strength
    return Decision(Action.MOVED if better else Action.LEFT, before, found)


def moved_by(before: Float[Tensor, "4 4"], after: Float[Tensor, "4 4"]) -> float:
    """Angle of the turn from one pose to another, degrees."""
    R = after[:3, :3] @ inverse_se3(before)[:3, :3]
    return float(torch.rad2deg(((R.trace() - 1) / 2).clamp(-1, 1).arccos()))
