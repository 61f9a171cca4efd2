"""Whether a prior helps this scene: it repairs views of left-out photos, whose truth is known.

Some photos are left out in turn and the others fitted at a small size, from their own depth only. The prior repairs the
view of the left-out photo as it would a pseudo-view. What that gains is measured where the prior says to be sure,
since that is where it counts, and its weight in the optimisation follows the gain. With few photos a left-out end is an
extrapolation, which pseudo-views are not: photos between others count more.

The same photos say how far a finished picture should be moved towards what the prior makes of it
(`recon.pipeline.repair`), and can teach a prior that learns: it is kept as taught if photos that it was not taught are
so repaired better.

What is left of the left-out photo: stereo found the others' depth with its help.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.metrics import psnr
from recon.optimize.budget.config import BudgetConfig
from recon.optimize.config import TrainConfig
from recon.optimize.left_out import between_others, chosen_photos, in_front_of_black
from recon.optimize.pseudo.config import PseudoConfig
from recon.optimize.pseudo.views import Scenery
from recon.optimize.targets import resample
from recon.priors.diffusion import Prior, Views
from recon.priors.diffusion.fitting import LearningPrior
from recon.render import Rasterizer, render
from recon.types import Cameras, DepthMaps, PosedScene, Splats

logger = logging.getLogger(__name__)

Fit = Callable[[PosedScene, DepthMaps | None], Splats]
BUDGET_SHARE = 0.5
"""Of the seconds for a prior, what the gate may use up before it leaves no further photo out."""
FORGIVEN_DB = 0.1
"""What a finished picture may lose for what the error does not show: carried details a pixel off look better than none.
With none forgiven the plain blend of one scene would count a tenth, and lose most of its 24 per cent less LPIPS."""
LEAST_SHARE = 0.05
"""Best step, as a share of the prior's change, under which finished pictures are left alone: it knows nothing."""
SURE_SHARE = 0.01
"""Mean confidence under which a repaired view says nothing about the prior."""


@dataclass(frozen=True)
class Trial:
    """The view of one left-out photo, by splats of the others, and the photo."""

    name: str
    views: Views
    truth: Float[Tensor, "H W 3"]
    counts: float
    """In (0, 1]: how far the photo lies between others."""


@dataclass(frozen=True)
class LeftOut:
    """What a prior did to the view of one left-out photo."""

    name: str
    before_db: float
    """PSNR of the rendering, where the prior is confident."""
    after_db: float
    counts: float
    """As `Trial.counts`."""
    moved: float
    """Mean square of the change that the prior makes, over the whole picture."""
    towards: float
    """Mean product of that change and of what the rendering lacks of the photo."""
    lacked: float
    """Mean square of what the rendering lacks of the photo."""

    @property
    def gain_db(self) -> float:
        return self.after_db - self.before_db

    @property
    def mended(self) -> float:
        """By how much the mean squared error of the whole picture falls."""
        return 2 * self.towards - self.moved


@dataclass(frozen=True)
class Judgement:
    """What the gate found."""

    weight: float
    """In [0, 1], on everything that the prior says in the optimisation."""
    gain_db: float | None
    photos: tuple[LeftOut, ...]
    seconds: float
    reason: str
    """A sentence."""
    strength: float = 0.0
    """In [0, 1]: how far finished pictures are moved towards the prior's, so that left-out photos lose `FORGIVEN_DB` at
    most."""
    taught: LearningPrior | None = field(default=None, compare=False)
    """The prior after it was taught the left-out photos; None: it was not, or it did not pay."""

    def details(self) -> dict[str, Any]:
        """As plain JSON values, for `metrics.json`."""
        rows = [
            {key: value if isinstance(value, str) else round(value, 5) for key, value in asdict(photo).items()}
            | {"gain_db": round(photo.gain_db, 3)}
            for photo in self.photos
        ]
        gain = None if self.gain_db is None else round(self.gain_db, 3)
        shown = {"weight": round(self.weight, 3), "gain_db": gain, "reason": self.reason, "photos": rows}
        shown |= {"strength": round(self.strength, 3), "taught": self.taught is not None}
        return shown | {"gate_seconds": round(self.seconds, 2)}


def judge(
    prior: Prior,
    scene: PosedScene,
    depths: DepthMaps | None,
    fit: Fit,
    rasterizer: Rasterizer,
    config: PseudoConfig,
    tell: Callable[[str], None] = lambda message: None,
) -> Judgement:
    """The prior's weight for `scene`.

    Args:
        scene: photos in the colours of the splats (exposure removed), with the cameras as they are known.
        depths: of the photos; without them a fit starts from all points, the left-out photo's too.
        fit: makes splats of some of the photos, without exposures.
        tell: hears which photo is being left out.
    """
    started = perf_counter()
    if len(scene) < 3:
        return Judgement(
            0.0, None, (), 0.0, "With two photos none can be left out to test the prior, so it is not used."
        )
    small, small_depths = shrunk(scene, depths, config)
    chosen = sorted(range(len(scene)), key=lambda index: -between_others(scene.cameras, index))[: config.gate.photos]
    tests: list[Trial] = []
    for index in chosen:
        if perf_counter() - started >= BUDGET_SHARE * config.seconds:
            break
        tell(f"testing {prior.name} on {scene.names[index]}")
        tests.append(_leave_out(index, small, small_depths, fit, rasterizer, config))
    late = "" if len(tests) == len(chosen) else f" The time ran out after {len(tests)} of {len(chosen)} photos."
    found, taught = _tried(prior, tests), None
    if config.adapt > 0 and isinstance(prior, LearningPrior) and len(tests) > 1:
        tell(f"teaching {prior.name} the scene")
        found, taught = _taught(prior, tests, found, config.adapt)
    return _verdict(found, taught, config, perf_counter() - started, late)


def short(config: TrainConfig) -> TrainConfig:
    """How the gate's fits are made: as the whole, in a few steps, cameras and colours as given, and without a prior."""
    return replace(
        config,
        steps=config.pseudo.gate.steps,
        coarse_scale=1.0,
        refine_poses=False,
        refine_exposure=False,
        pseudo=PseudoConfig(),
        budget=BudgetConfig(),
    )


def _verdict(
    found: Sequence[LeftOut], taught: LearningPrior | None, config: PseudoConfig, seconds: float, late: str
) -> Judgement:
    if not found:
        reason = "In no view of a left-out photo was the prior sure of anything, so it is not used."
        return Judgement(0.0, None, (), seconds, reason + late)
    total = sum(photo.counts for photo in found)
    gain = sum(photo.counts * photo.gain_db for photo in found) / total
    weight = min(1.0, max(0.0, gain / config.gate.full_gain_db))
    what = "it is not used" if weight == 0 else f"it counts {weight:.0%}"
    reason = f"On {len(found)} left-out photos it changed the PSNR by {gain:+.2f} dB where it is sure, so {what}."
    learnt = "" if taught is None else " It was taught the scene first."
    return Judgement(weight, gain, tuple(found), seconds, reason + learnt + late, _strength(found), taught)


def _strength(found: Sequence[LeftOut]) -> float:
    """The longest step along the prior's changes, of all of them at most, that the mean squared error forgives; none
    where the best step is next to none."""
    towards, moved, lacked = (
        sum(photo.counts * getattr(photo, name) for photo in found) for name in ("towards", "moved", "lacked")
    )
    if moved <= 0 or towards < LEAST_SHARE * moved:
        return 0.0
    forgiven = (10 ** (FORGIVEN_DB / 10) - 1) * lacked
    return min(1.0, (towards + math.sqrt(towards**2 + moved * forgiven)) / moved)


def _taught(
    prior: LearningPrior, tests: Sequence[Trial], found: list[LeftOut], steps: int
) -> tuple[list[LeftOut], LearningPrior | None]:
    """What the prior does when it is taught the other tests, and itself taught all, if that mends more; else as it
    was."""
    pairs = [(test.views, test.truth) for test in tests]
    crossed = [
        one
        for k, test in enumerate(tests)
        for one in _tried(prior.taught([*pairs[:k], *pairs[k + 1 :]], steps), [test])
    ]
    before, after = (sum(photo.counts * photo.mended for photo in each) for each in (found, crossed))
    return (crossed, prior.taught(pairs, steps)) if after > before else (found, None)


def _tried(prior: Prior, tests: Sequence[Trial]) -> list[LeftOut]:
    """What the prior does to the views, but for those where it is sure of nothing."""
    found = []
    for test in tests:
        repaired, drawn = prior.repair(test.views), test.views.rgb[0]
        sure = repaired.confidence[0].clamp(0, 1)
        if float(sure.mean()) < SURE_SHARE:
            continue
        before, after = (
            min(99.0, float(psnr(image.clamp(0, 1), test.truth, sure))) for image in (drawn, repaired.images[0])
        )
        change, lack = repaired.images[0] - drawn, test.truth - drawn
        moved, towards = float(change.square().mean()), float((change * lack).mean())
        found.append(LeftOut(test.name, before, after, test.counts, moved, towards, float(lack.square().mean())))
    return found


def _leave_out(
    index: int,
    scene: PosedScene,
    depths: DepthMaps | None,
    fit: Fit,
    rasterizer: Rasterizer,
    config: PseudoConfig,
) -> Trial:
    others = [other for other in range(len(scene)) if other != index]
    rest, rest_depths = chosen_photos(scene, depths, others)
    views = view_of(fit(rest, rest_depths), scene.cameras[index], rest, rasterizer, config.references)
    truth = in_front_of_black(scene, index).to(views.rgb)
    return Trial(scene.names[index], views, truth, between_others(scene.cameras, index))


@torch.no_grad()
def view_of(splats: Splats, camera: Cameras, rest: PosedScene, rasterizer: Rasterizer, references: int) -> Views:
    """What a prior is shown of one camera, by splats and photos of the rest."""
    device = rasterizer.device
    drawn = [
        render(splats, one.to(device), rasterizer) for one in (camera, *(rest.cameras[i] for i in range(len(rest))))
    ]
    photos = tuple(in_front_of_black(rest, i).to(device) for i in range(len(rest)))
    scenery = Scenery(photos, rest.cameras.to(device), tuple(drawn[1:]))
    return scenery.views(drawn[0], camera.to(device), references, seed=0)


def shrunk(scene: PosedScene, depths: DepthMaps | None, config: PseudoConfig) -> tuple[PosedScene, DepthMaps | None]:
    """The scene at the size of the gate's fits; colours averaged, depth sampled."""
    sizes = [_small_size(tuple(image.shape[:2]), config) for image in scene.images]

    def planes(maps: Sequence[Tensor], mode: str) -> tuple[Tensor, ...]:
        return tuple(resample(one, size, mode).contiguous() for one, size in zip(maps, sizes, strict=True))

    def pixels(maps: Sequence[Tensor], mode: str) -> tuple[Tensor, ...]:
        moved = planes([one.permute(2, 0, 1) for one in maps], mode)
        return tuple(one.permute(1, 2, 0).contiguous() for one in moved)

    height, width = (torch.tensor(edges) for edges in zip(*sizes, strict=True))
    small = PosedScene(
        scene.names,
        pixels(scene.images, "area"),
        scene.cameras.resized(width, height),
        scene.points,
        None if scene.masks is None else planes(scene.masks, "area"),
    )
    if depths is None:
        return small, None
    normals = None if depths.normals is None else pixels(depths.normals, "nearest-exact")
    maps = DepthMaps(planes(depths.depth, "nearest-exact"), planes(depths.confidence, "nearest-exact"), normals)
    return small, maps


def _small_size(size: tuple[int, ...], config: PseudoConfig) -> tuple[int, int]:
    scale = min(1.0, max(config.gate.scale, config.gate.min_side / max(size)))
    return max(16, round(size[0] * scale)), max(16, round(size[1] * scale))
