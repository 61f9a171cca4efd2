"""The optimisation: splats, poses and exposures against the photos, coarse to fine."""

import io
import logging
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import InputError
from recon.events import EventSink, Progress, SplatsUpdated, ignore
from recon.files import atomic_path
from recon.optimize import losses
from recon.optimize.cameras import CameraParameters
from recon.optimize.config import TrainConfig
from recon.optimize.densify import Densifier
from recon.optimize.gaps import fill_gaps
from recon.optimize.init import splats_from_points, z_order
from recon.optimize.parameters import SplatParameters
from recon.optimize.targets import Deck, Target, Targets
from recon.render import Rasterizer
from recon.types import Cameras, DepthMaps, PosedScene, Splats

logger = logging.getLogger(__name__)

# Resolutions are quantised: each level is resampled once, and buffers keep their size for a while.
LEVELS = (0.25, 0.35, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class TrainResult:
    splats: Splats
    cameras: Cameras
    """With refined poses and focal lengths; sizes and principal points as given."""
    history: list[dict[str, float]]
    """Readings every `publish_every` steps: step, loss, psnr (training views), gaussians, seconds."""
    account: dict[str, Any]
    """How many Gaussians were cloned, split and pruned, by cause."""
    steps: int


def train(
    scene: PosedScene,
    depths: DepthMaps | None,
    config: TrainConfig,
    rasterizer: Rasterizer,
    *,
    emit: EventSink = ignore,
    checkpoint: Path | None = None,
) -> TrainResult:
    """Optimise splats for `scene`; `scene.points` is the start.

    Args:
        depths: stereo depth per photo, at the size of the photos, used as a soft constraint.
        rasterizer: any renderer of `recon.render`; its device is where the work is done.
        checkpoint: a file that is written now and then, and continued from if it matches `config` and the photos.

    Raises:
        InputError: fewer than two photos, or no points to start from.
    """
    if len(scene) < 2:
        raise InputError(f"Need at least 2 photos with known cameras to train splats, got {len(scene)}.")
    trainer = Trainer(scene, depths, config, rasterizer)
    trainer.resume(checkpoint)
    saved = time.monotonic()
    while trainer.step_index < config.steps:
        trainer.step()
        if trainer.step_index % config.publish_every == 0 or trainer.step_index == config.steps:
            trainer.publish(emit)
        if checkpoint is not None and time.monotonic() - saved > config.checkpoint_seconds:
            trainer.save(checkpoint)
            saved = time.monotonic()
    return trainer.result()


@dataclass
class Readings:
    """Running means of what the progress line shows."""

    loss: float = 0.0
    psnr: float = 0.0
    count: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def add(self, loss: float, psnr: float) -> None:
        self.count += 1
        self.loss += (loss - self.loss) / self.count
        self.psnr += (psnr - self.psnr) / self.count


class Trainer:
    """The state of one optimisation. `train` drives it; benchmarks may drive it step by step."""

    def __init__(
        self, scene: PosedScene, depths: DepthMaps | None, config: TrainConfig, rasterizer: Rasterizer
    ) -> None:
        self.config = config
        self.rasterizer = rasterizer
        self.device = rasterizer.device
        self.scene = scene
        self.depth_unit = median_depth(scene)
        points = fill_gaps(scene, depths, config.init)
        init = splats_from_points(points, config.init, config.sh_degree, config.seed)
        init = init[z_order(init.means)].to(self.device)
        self.parameters = SplatParameters(init, config.rates, self.depth_unit)
        self.cameras = CameraParameters(scene.cameras.to(self.device), config.rates, self.depth_unit)
        self.densifier = Densifier(config.densify, len(init), self.cameras.base, config.seed)
        self.targets = Targets(scene, depths, self.device)
        self.deck = Deck(len(scene), config.seed)
        self.generator = torch.Generator().manual_seed(config.seed + 1)
        self.readings = Readings()
        self.step_index = 0
        self.seconds = 0.0

    @property
    def fraction(self) -> float:
        return self.step_index / max(1, self.config.steps)

    def step(self) -> None:
        """One photo: render, compare, move everything that may move, refine when it is time."""
        started = time.perf_counter()
        index = self.deck.draw()
        target = self.targets.at(index, level_at(self.fraction, self.config))
        rgb, alpha, depth, background, meta = self._render(index, target)
        loss = self._loss(rgb, alpha, depth, background, target, index)
        loss.backward()
        if self.fraction <= self.config.densify.stop:
            self.densifier.observe(meta, *target.size)
        self.parameters.step(self.fraction)
        self.cameras.step(
            self.fraction,
            poses=self.config.refine_poses and self.fraction >= self.config.pose_from,
            exposure=self.config.refine_exposure,
        )
        self.step_index += 1
        self._refine_if_due()
        self.readings.add(float(loss.detach()), losses.training_psnr(rgb.detach(), target.rgb))
        self.seconds += time.perf_counter() - started

    def _render(self, index: int, target: Target) -> tuple[Tensor, Tensor, Tensor, Tensor, dict]:
        splats = self.parameters.splats()
        degree = self.config.sh_degree if self.fraction >= self.config.sh_from else 0
        colors = splats.colors if degree > 0 else splats.sh0
        background = torch.zeros(3, device=self.device)
        if self.config.random_background:
            background = torch.rand(3, generator=self.generator).to(self.device)
        width, height = target.size
        pose = self.cameras.viewmat(index) if self.config.refine_poses else None
        image, alpha, meta = self.rasterizer(
            splats.means,
            splats.quats,
            splats.scales,
            self._dropped_out(splats.opacities),
            colors,
            (self.cameras.base.cam_from_world[index] if pose is None else pose)[None],
            target.K[None],
            width,
            height,
            sh_degree=degree,
            render_mode="RGB+ED",
            absgrad=True,
        )
        return image[0, ..., :3], alpha[0, ..., 0], image[0, ..., 3], background, meta

    def _dropped_out(self, opacities: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Leave some Gaussians out, strengthen the rest (DropGaussian, Park et al. 2025, eq. 5 and 6)."""
        rate = self.config.dropout * self.fraction
        if rate <= 0:
            return opacities
        keep = torch.rand(len(opacities), generator=self.generator).to(self.device) >= rate
        return (opacities * keep / (1 - rate)).clamp(max=0.999)

    def _loss(
        self, rgb: Tensor, alpha: Tensor, depth: Tensor, background: Tensor, target: Target, index: int
    ) -> Tensor:
        weights = self.config.loss
        if self.config.refine_exposure:
            rgb = self.cameras.expose(rgb, index)
        # The background is laid behind after exposure, and behind the target's mask alike.
        rgb = rgb + (1 - alpha)[..., None] * background
        wanted = target.rgb
        if target.mask is not None:
            wanted = wanted * target.mask[..., None] + background * (1 - target.mask[..., None])
        loss = losses.photometric(rgb, wanted, weights.ssim)
        if weights.alpha > 0:
            loss = loss + weights.alpha * losses.coverage(alpha, target.mask)
        if weights.depth > 0 and target.depth is not None and target.confidence is not None:
            loss = loss + weights.depth * losses.relative_depth(depth, target.depth, target.confidence)
        splats = self.parameters.splats()
        if weights.opacity > 0 or weights.scale > 0:
            loss = loss + losses.regularisers(splats.scales, splats.opacities, self.depth_unit, weights)
        return loss

    def _refine_if_due(self) -> None:
        config = self.config.densify
        last = self.step_index == self.config.steps
        if last or (self.step_index % config.every == 0 and self.fraction >= config.start):
            self.densifier.refine(self.parameters, grow=not last and self.fraction <= config.stop)

    def publish(self, emit: EventSink) -> None:
        """Tell the listeners where we are."""
        row = {
            "step": float(self.step_index),
            "loss": self.readings.loss,
            "psnr": self.readings.psnr,
            "gaussians": float(len(self.parameters)),
            "seconds": self.seconds,
        }
        self.readings = Readings(history=[*self.readings.history, row])
        emit(Progress("train", self.step_index, self.config.steps, "training", row))
        emit(SplatsUpdated(self.step_index, self.parameters.splats().detach()))

    def result(self) -> TrainResult:
        return TrainResult(
            splats=self.parameters.splats().detach().to("cpu"),
            cameras=self.cameras.cameras().to("cpu"),
            history=self.readings.history,
            account=asdict(self.densifier.account),
            steps=self.step_index,
        )

    def _fingerprint(self) -> dict[str, Any]:
        # What must agree for a checkpoint to be continued; how often it is written does not matter.
        plain = replace(self.config, checkpoint_seconds=0.0, publish_every=0)
        return {"config": asdict(plain), "names": list(self.scene.names), "points": len(self.scene.points)}

    def save(self, path: Path) -> None:
        """Write everything needed to go on, atomically."""
        state = {
            "fingerprint": self._fingerprint(),
            "step": self.step_index,
            "seconds": self.seconds,
            "parameters": self.parameters.state_dict(),
            "cameras": self.cameras.state_dict(),
            "densifier": self.densifier.state_dict(),
            "deck": {"cards": self.deck.cards, "generator": self.deck.generator.get_state()},
            "generator": self.generator.get_state(),
            "history": self.readings.history,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)  # written by hand: to a file, torch hides a full disk behind a RuntimeError
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def resume(self, path: Path | None) -> None:
        """Continue from `path` if it is there and belongs to the same photos and settings."""
        if path is None or not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:  # a damaged file must not stop a run that can start over
            logger.warning("Ignoring the unreadable checkpoint %s (%s); training starts over.", path, error)
            return
        if state.get("fingerprint") != self._fingerprint():
            logger.info("The checkpoint %s belongs to other photos or settings; training starts over.", path)
            return
        self.step_index = state["step"]
        self.seconds = state["seconds"]
        self.parameters.load_state_dict(state["parameters"])
        self.cameras.load_state_dict(state["cameras"])
        self.densifier.load_state_dict(state["densifier"])
        self.deck.cards = list(state["deck"]["cards"])
        self.deck.generator.set_state(state["deck"]["generator"].cpu())
        self.generator.set_state(state["generator"].cpu())
        self.readings = Readings(history=state["history"])
        logger.info("Continuing from step %d of %d", self.step_index, self.config.steps)


def level_at(fraction: float, config: TrainConfig) -> float:
    """The resolution, as a share of full, at a fraction of the training (DashGaussian's idea, in fixed levels)."""
    if fraction >= config.coarse_until or config.coarse_scale >= 1.0:
        return 1.0
    wanted = config.coarse_scale + (1.0 - config.coarse_scale) * fraction / config.coarse_until
    allowed = [level for level in LEVELS if config.coarse_scale <= level <= wanted + 1e-9]
    return allowed[-1] if allowed else config.coarse_scale


def median_depth(scene: PosedScene) -> float:
    """Median distance along the optical axes from the cameras to the points in front of them, in world units."""
    if len(scene.points) == 0:
        raise InputError("Cannot train splats without points to start from: the photos share too little.")
    xyz = scene.points.xyz
    sample = xyz[:: max(1, len(xyz) // 20_000)]
    poses = scene.cameras.cam_from_world
    z = sample @ poses[:, 2, :3].T + poses[:, 2, 3]
    z = z[z > 0]
    return float(z.median()) if z.numel() else 1.0
