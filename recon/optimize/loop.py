"""The optimisation: splats, poses and exposures against the photos, coarse to fine."""

import logging
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from recon.errors import InputError
from recon.events import EventSink, Progress, SplatsUpdated, ignore
from recon.metrics import psnr
from recon.optimize.budget.config import BudgetConfig
from recon.optimize.budget.prune import Weigh, check_budget, within_budget
from recon.optimize.cameras import CameraParameters
from recon.optimize.checkpoint import digest, read_checkpoint, write_checkpoint
from recon.optimize.coherent import CoherentDepth
from recon.optimize.config import TrainConfig
from recon.optimize.decay import OpacityDecay
from recon.optimize.dropout import compensate, drop_out
from recon.optimize.exposure import settle_exposures
from recon.optimize.growth.floaters import find_floaters
from recon.optimize.growth.select import make_densifier
from recon.optimize.init import splats_from_points, z_order
from recon.optimize.left_out import chosen_maps, chosen_photos, without_exposures
from recon.optimize.parameters import SplatParameters
from recon.optimize.pseudo.config import PseudoConfig
from recon.optimize.pseudo.gate import Judgement, judge, short
from recon.optimize.pseudo.rounds import PseudoViews
from recon.optimize.readings import Readings
from recon.optimize.resolution import level_at
from recon.optimize.start import first_points, median_depth, with_shine
from recon.optimize.stopping import Stopping, StoppingConfig, find_stop
from recon.optimize.structure import DisplacementSmoother
from recon.optimize.studio import StepStudio
from recon.optimize.surround import surround
from recon.optimize.targets import Deck, Target, Targets
from recon.optimize.terms import Objective, Setup, Step, View
from recon.priors.diffusion import Prior
from recon.render import Rasterizer
from recon.types import Cameras, DepthMaps, PosedScene, Splats

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    splats: Splats
    cameras: Cameras
    """With refined poses and focal lengths; sizes and principal points as given."""
    history: list[dict[str, float]]
    """Readings every `publish_every` steps: step, loss, psnr (training views), gaussians, seconds."""
    account: dict[str, Any]
    """How many Gaussians were born and pruned, by cause: `recon.optimize.growth.base.Account`."""
    steps: int
    prior: dict[str, Any] | None = None
    """What a prior for pictures did: `recon.optimize.pseudo.rounds.PseudoViews.details`; None without one."""
    stopping: dict[str, Any] | None = None
    """Why it stopped before the last step: `recon.optimize.stopping.Stopping.details`; None unless asked for."""


def train(
    scene: PosedScene,
    depths: DepthMaps | None,
    config: TrainConfig,
    rasterizer: Rasterizer,
    *,
    prior: DepthMaps | None = None,
    emit: EventSink = ignore,
    checkpoint: Path | None = None,
    weigh: Weigh | None = None,
) -> TrainResult:
    """Optimise splats for `scene`; `scene.points` is the start.

    Args:
        depths: stereo depth per photo, at the size of the photos, used as a soft constraint.
        prior: depth per photo of unknown scale and shift, for the terms that forgive these; they take `depths` without.
        rasterizer: any renderer of `recon.render`; its device is where the work is done.
        checkpoint: a file that is written now and then, and continued from if it matches `config` and the photos.
        weigh: says how many bytes splats take as a file, for `config.budget.target_mb`.

    Raises:
        InputError: fewer than two photos, or no points to start from.
    """
    if len(scene) < 2:
        raise InputError(f"Need at least 2 photos with known cameras to train splats, got {len(scene)}.")
    trainer = Trainer(scene, depths, config, rasterizer, prior, weigh, emit)
    trainer.resume(checkpoint)
    trainer.settle_end()
    saved = time.monotonic()
    while trainer.step_index < trainer.end:
        trainer.step()
        if trainer.step_index % config.publish_every == 0 or trainer.step_index == trainer.end:
            trainer.publish(emit)
        if checkpoint is not None and time.monotonic() - saved > config.checkpoint_seconds:
            trainer.save(checkpoint)
            saved = time.monotonic()
    return trainer.result()


class Trainer:
    """The state of one optimisation. `train` drives it; benchmarks may drive it step by step."""

    def __init__(
        self,
        scene: PosedScene,
        depths: DepthMaps | None,
        config: TrainConfig,
        rasterizer: Rasterizer,
        prior: DepthMaps | None = None,
        weigh: Weigh | None = None,
        emit: EventSink = ignore,
    ) -> None:
        exposures = settle_exposures(scene, depths, config.refine_exposure, config.exposure)
        config = with_shine(config, exposures)
        self.config = config
        self.emit = emit
        check_budget(config.budget, weigh)
        self.weigh = weigh
        self.rasterizer = rasterizer
        self.device = rasterizer.device
        self.scene = scene
        self.depth_unit = median_depth(scene)
        self.refine_exposure = exposures.refine
        points = first_points(scene, depths, exposures, config)
        init = splats_from_points(points, config.init, config.sh_degree, config.seed)
        init = init[z_order(init.means)].to(self.device)
        self.parameters = SplatParameters(init, config.rates, self.depth_unit)
        self.cameras = CameraParameters(scene.cameras.to(self.device), config.rates, self.depth_unit)
        self.cameras.start_exposures(exposures.start)
        self.densifier = make_densifier(config.densify, len(init), self.cameras.base, config.seed)
        self.coherent = CoherentDepth(self.cameras.base, config.coherent)
        self.smoother = DisplacementSmoother(config.structure)
        self.targets = Targets(scene, depths, self.device, prior)
        self.objective = Objective(Setup(scene, depths), config.loss, config.terms)
        self.decay = OpacityDecay(scene, depths, config.decay, self.device)
        plain = config.pseudo.prior == "none"
        self.pseudo = None if plain else PseudoViews(config.pseudo, config.steps, len(scene), config.seed)
        self.deck = Deck(len(scene), config.seed)
        self.generator = torch.Generator().manual_seed(config.seed + 1)
        # Of its own, so that a term that draws numbers changes nothing else.
        self.term_generator = torch.Generator().manual_seed(config.seed + 2)
        self.readings = Readings()
        self.step_index = 0
        self.seconds = 0.0
        self.stopping: Stopping | None = None

    @property
    def fraction(self) -> float:
        return self.step_index / max(1, self.config.steps)

    @property
    def end(self) -> int:
        """The last step: that of the schedules, or the one where a photo left out was drawn best."""
        return self.config.steps if self.stopping is None else self.stopping.step

    def settle_end(self) -> None:
        """Find out where to stop, if that is asked for and not known."""
        config = self.config.stopping
        if config.every <= 0 or self.stopping is not None or self.step_index > 0:
            return
        self._tell("looking for the step to stop at")
        self.stopping = find_stop(self.scene, self.config.steps, self._trial, self.rasterizer, config)

    def _trial(self, indices: list[int]) -> "Trainer":
        """Of some of the photos, with the cameras as they are: the one left out is looked at from where it is."""
        config = replace(
            self.config,
            refine_poses=False,
            refine_exposure=False,
            pseudo=PseudoConfig(),
            budget=BudgetConfig(),
            stopping=StoppingConfig(),
        )
        scene, depths = chosen_photos(self.scene, self.targets.depths, indices)
        prior = None if self.targets.prior is None else chosen_maps(self.targets.prior, indices)
        return Trainer(scene, depths, config, self.rasterizer, prior)

    def splats(self) -> Splats:
        """As they are optimised now, without gradients."""
        return self.parameters.splats().detach()

    def shown(self) -> Splats:
        """As they are to be looked at: dimmed if dropout asks for it."""
        return compensate(self.splats(), self.config.dropout * self.fraction, self.config.dropout_kind)

    def step(self) -> None:
        """One photo: render, compare, move everything that may move, refine when it is time."""
        started = time.perf_counter()
        seen, meta = self.look(self.deck.draw())
        loss = self.objective(seen)
        loss.backward()
        self._add_pseudo_view()
        if self.fraction <= self.config.densify.stop:
            self.densifier.observe(meta, *seen.target.size)
        self.coherent.step(self.parameters, self.fraction)
        self.parameters.step(self.fraction)
        self.densifier.after_step(self.parameters)
        splats = self.splats()
        self.decay.step(splats.means, splats.logit_opacities)
        self.cameras.step(
            self.fraction,
            poses=self.config.refine_poses and self.fraction >= self.config.pose_from,
            exposure=self.refine_exposure,
        )
        self.step_index += 1
        self.smoother(self.parameters, self.step_index)
        self._refine_if_due()
        shown = psnr(seen.rgb.detach().clamp(0, 1), seen.wanted).clamp(max=100.0)
        self.readings.add(float(loss.detach()), float(shown), self.objective.readings)
        self.seconds += time.perf_counter() - started

    @property
    def sh_degree(self) -> int:
        """Bands of view-dependent colour that are released now."""
        return self.config.sh_degree if self.fraction >= self.config.sh_from else 0

    def look(self, index: int) -> tuple[Step, dict]:
        """Photo `index` beside what the splats show in its place, as the terms of the loss take it; and the meta of
        the rendering. The exposure is applied first, then the background is laid behind rendering and photo alike."""
        level = level_at(self.fraction, self.config)
        target = self.targets.at(index, level)
        background = torch.zeros(3, device=self.device)
        if self.config.random_background:
            background = torch.rand(3, generator=self.generator).to(self.device)
        splats = self.parameters.splats()
        view, meta = self._render(index, target, splats)
        rgb = self.cameras.expose(view.rgb, index) if self.refine_exposure else view.rgb
        wanted = target.rgb
        if target.mask is not None:
            wanted = wanted * target.mask[..., None] + background * (1 - target.mask[..., None])
        step = Step(
            index=index,
            fraction=self.fraction,
            target=target,
            wanted=wanted,
            rgb=rgb + (1 - view.alpha)[..., None] * background,
            view=view,
            splats=splats,
            depth_unit=self.depth_unit,
            generator=self.term_generator,
            studio=self._studio(index, splats, self.refine_exposure),
        )
        return step, meta

    def _studio(self, index: int, splats: Splats, exposed: bool) -> StepStudio:
        return StepStudio(
            index=index,
            level=level_at(self.fraction, self.config),
            sh_degree=self.sh_degree,
            exposed=exposed,
            splats=splats,
            cameras=self.cameras,
            targets=self.targets,
            rasterizer=self.rasterizer,
        )

    def _add_pseudo_view(self) -> None:
        """Gradients of what the prior for pictures adds to this step."""
        if self.pseudo is None or not self.pseudo.wanted(self.step_index):
            return
        studio = self._studio(0, self.parameters.splats(), exposed=False)
        loss = self.pseudo.loss(self.step_index, studio, self._judge, self._tell)
        if loss is not None:
            loss.backward()

    def _judge(self, prior: Prior) -> Judgement:
        """The gate's word on the prior, for the photos and cameras as they are known now."""
        scene = without_exposures(self.scene, self.cameras)
        return judge(prior, scene, self.targets.depths, self._fit, self.rasterizer, self.config.pseudo, self._tell)

    def _tell(self, message: str) -> None:
        self.emit(Progress("train", self.step_index, self.config.steps, message))

    def _fit(self, scene: PosedScene, depths: DepthMaps | None) -> Splats:
        """Splats of some photos, as the gate wants them."""
        trainer = Trainer(scene, depths, short(self.config), self.rasterizer)
        while trainer.step_index < trainer.config.steps:
            trainer.step()
        return trainer.shown()

    def _render(self, index: int, target: Target, splats: Splats) -> tuple[View, dict]:
        width, height = target.size
        pose = self.cameras.viewmat(index) if self.config.refine_poses else self.cameras.base.cam_from_world[index]
        rate = self.config.dropout * self.fraction
        image, alpha, meta = self.rasterizer(
            splats.means,
            splats.quats,
            splats.scales,
            drop_out(splats.opacities, rate, self.config.dropout_kind, self.generator),
            splats.colors if self.sh_degree > 0 else splats.sh0,
            pose[None],
            target.K[None],
            width,
            height,
            sh_degree=self.sh_degree,
            render_mode="RGB+ED",
            absgrad=True,
        )
        return View(image[0, ..., :3], alpha[0, ..., 0], image[0, ..., 3]), meta

    def _refine_if_due(self) -> None:
        config = self.config.densify
        last = self.step_index == self.end
        if last or (self.step_index % config.every == 0 and self.fraction >= config.start):
            self.densifier.refine(self.parameters, grow=not last and self.fraction <= config.stop)
        if self.step_index in [round(fraction * self.config.steps) for fraction in config.floaters.at]:
            splats, cameras = self.splats(), self.cameras.cameras()
            floaters = find_floaters(splats, cameras, self.rasterizer, config.floaters)
            self.densifier.remove(self.parameters, floaters, "floater")

    def publish(self, emit: EventSink) -> None:
        """Tell the listeners where we are."""
        row = {
            "step": float(self.step_index),
            "loss": self.readings.loss,
            "psnr": self.readings.psnr,
            "gaussians": float(len(self.parameters)),
            "seconds": self.seconds,
            **{f"loss_{name}": value for name, value in self.readings.terms.items()},
        }
        self.readings = Readings(history=[*self.readings.history, row])
        emit(Progress("train", self.step_index, self.config.steps, "training", row))
        emit(SplatsUpdated(self.step_index, self.shown()))

    def result(self) -> TrainResult:
        """The finished scene: dimmed as dropout asks, with what lies beyond the photos, within the budget."""
        cameras = self.cameras.cameras().to("cpu")
        account = asdict(self.densifier.account)
        splats = self.shown()
        scene = replace(self.scene, cameras=cameras)
        if self.refine_exposure:
            scene = without_exposures(self.scene, self.cameras)
        splats = surround(splats, scene, self.config, self.rasterizer, account)
        if self.config.budget.limited:
            kept = within_budget(splats, cameras, self.config.budget, self.rasterizer, self.weigh, self.config.seed)
            account["pruned"]["budget"] = len(splats) - len(kept)
            splats = kept
        return TrainResult(
            splats=splats.to("cpu"),
            cameras=cameras,
            history=self.readings.history,
            account=account,
            steps=self.step_index,
            prior=None if self.pseudo is None else self.pseudo.details(),
            stopping=None if self.stopping is None else self.stopping.details(),
        )

    def _fingerprint(self) -> dict[str, Any]:
        # What must agree for a checkpoint to be continued; how often it is written does not matter.
        plain = replace(self.config, checkpoint_seconds=0.0, publish_every=0)
        return {"config": asdict(plain), "names": list(self.scene.names), "inputs": self._inputs}

    @cached_property
    def _inputs(self) -> str:
        return digest(self.scene, self.targets.depths, self.targets.prior)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {
            "step": self.step_index,
            "seconds": self.seconds,
            "parameters": self.parameters.state_dict(),
            "cameras": self.cameras.state_dict(),
            "densifier": self.densifier.state_dict(),
            "coherent": self.coherent.state_dict(),
            "deck": {"cards": self.deck.cards, "generator": self.deck.generator.get_state()},
            "generator": self.generator.get_state(),
            "term_generator": self.term_generator.get_state(),
            "objective": self.objective.state_dict(),
            "decay": self.decay.state_dict(),
            "readings": asdict(self.readings),
            "pseudo": None if self.pseudo is None else self.pseudo.state_dict(),
            "stopping": None if self.stopping is None else asdict(self.stopping),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.step_index = state["step"]
        self.seconds = state["seconds"]
        self.parameters.load_state_dict(state["parameters"])
        self.cameras.load_state_dict(state["cameras"])
        self.densifier.load_state_dict(state["densifier"])
        self.coherent.load_state_dict(state["coherent"])
        self.deck.cards = list(state["deck"]["cards"])
        self.deck.generator.set_state(state["deck"]["generator"].cpu())
        self.generator.set_state(state["generator"].cpu())
        self.term_generator.set_state(state["term_generator"].cpu())
        self.objective.load_state_dict(state["objective"])
        self.decay.load_state_dict(state["decay"])
        self.readings = Readings(**state["readings"])
        if self.pseudo is not None:
            self.pseudo.load_state_dict(state["pseudo"])
        self.stopping = None if state["stopping"] is None else Stopping(**state["stopping"])

    def save(self, path: Path) -> None:
        """Write everything needed to go on, atomically."""
        write_checkpoint(path, self.state_dict(), self._fingerprint())

    def resume(self, path: Path | None) -> None:
        """Continue from `path` if it is there and belongs to the same photos and settings."""
        state = None if path is None else read_checkpoint(path, self._fingerprint(), self.device)
        if state is not None:
            self.load_state_dict(state)
            logger.info("Continuing from step %d of %d", self.step_index, self.config.steps)
