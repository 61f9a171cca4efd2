"""What the feed-forward backends share: their package, their weights, and what we do with what they say."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon.assets import Checkpoint, cached_checkpoint, obtain_checkpoint
from recon.errors import InputError, MissingDependencyError, PoseError, ReconError
from recon.events import EventSink, Progress, Warned, ignore
from recon.poses.base import KnownCameras, PosesConfig
from recon.poses.correspond import match_thoroughly
from recon.poses.feedforward.prediction import Prediction, dense_points
from recon.poses.matches import build_tracks, work_scale
from recon.poses.process import JobError
from recon.poses.refine import Refined, between, refine
from recon.poses.result import assemble
from recon.types import Cameras, ImageSet, PointCloud, PoseResult, PoseStatus

DENSE_POINTS = 100_000
"""As many as a viewer shows at ease, of the few million that the models give."""
SPARSE_POINTS = 5_000
"""For photos without triangulated points: as many as matches usually give, for depth ranges and framing."""
ENOUGH_POINTS = 20
"""Triangulated points from which the scale of a photo's depths is read."""
MAX_UNTIED_CONFIDENCE = 0.25
"""Of a photo that stands where the model put it and nothing else confirms: well under what matches give."""


class FeedForwardBackend(ABC):
    """One model, through its own package. To add one: copy `da3.py`, list it in `recon/poses/feedforward/__init__.py`.

    The package is imported when the model runs, never before; weights come from the disk, or from the hub if the user
    allows it.
    """

    name: str
    title: str
    """Name of the model in sentences."""
    module: str
    """What the package is imported as."""
    install: str
    """The command that installs it beside recon."""
    checkpoints: tuple[Checkpoint, ...]
    """Published weights, the default first."""
    has_default: bool = True
    """Whether the first may be used without being asked for by name: its licence must allow any use."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """The model with the weights of `folder`, on the CPU."""

    @abstractmethod
    def ask(self, model: Any, photos: Sequence[Float[Tensor, "_ _ 3"]], device: torch.device) -> Prediction:
        """What the model, which is on `device`, says about the photos."""

    def available(self) -> tuple[bool, str]:
        """Whether the package is installed; if not, how to install it and what weights it will want."""
        if find_spec(self.module) is not None:
            return True, ""
        return False, f"{self.title} is not installed: {self.install}. Weights it wants: {self.checkpoints[0]}"

    def checkpoint(self, wanted: str = "") -> Checkpoint:
        """The published checkpoint, or folder, called `wanted`; the default where nothing is asked for.

        Raises:
            InputError: nothing is asked for and no checkpoint may be taken for granted.
        """
        known = {checkpoint.id: checkpoint for checkpoint in self.checkpoints}
        if wanted:
            if Path(wanted).expanduser().is_dir():
                return Checkpoint(wanted, "its own", files=())
            return known.get(wanted, Checkpoint(wanted, "unknown, see its page"))
        if self.has_default:
            return self.checkpoints[0]
        choice = "; ".join(f"--set poses.checkpoint={checkpoint}" for checkpoint in self.checkpoints)
        raise InputError(
            f"{self.title} has no weights that all may use for everything, so they must be named. Choose: {choice}."
        )

    def ready(self, wanted: str = "") -> bool:
        """Whether it can run at once, without network: package installed, weights that may be used on the disk."""
        if not self.available()[0] or not (wanted or self.has_default):
            return False
        return cached_checkpoint(self.checkpoint(wanted)) is not None

    def predict(self, images: ImageSet, config: PosesConfig, emit: EventSink = ignore) -> Prediction:
        """What the model alone says.

        Raises:
            InputError: weights must be named, or those named do not fit.
            MissingDependencyError: the package does not work here, or the weights may not be downloaded.
            PoseError: the model gave no usable numbers.
            ResourceError: the download failed.
        """
        checkpoint = self.checkpoint(config.checkpoint)
        folder = obtain_checkpoint(checkpoint, lambda message: emit(Warned(message)))
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            model = self.load(folder).to(device).eval()
        except ReconError:
            raise
        except Exception as error:  # whatever the package, torch or safetensors say of files that do not fit
            reason = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise InputError(
                f"The weights in {folder} do not fit {self.title} ({reason}). Delete and fetch them again, or name "
                "others with --set poses.checkpoint=ID."
            ) from error
        with torch.no_grad():
            return self.ask(model, images.images, device)

    def package(self, module: str) -> Any:
        """A module of the package.

        Raises:
            MissingDependencyError: it cannot be imported.
        """
        try:
            return import_module(module)
        except Exception as error:  # not only ImportError: torchvision without its library is a RuntimeError
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise MissingDependencyError(
                f"{self.title} is installed, but cannot be imported ({reason}). Install it with: {self.install}. "
                "torchvision must be of the release that goes with torch."
            ) from error

    def estimate(
        self, images: ImageSet, config: PosesConfig, emit: EventSink = ignore, known: KnownCameras | None = None
    ) -> PoseResult:
        emit(Progress("poses", 0, 3, f"asking {self.title}"))
        prediction = self.predict(images, config, emit)
        emit(Progress("poses", 1, 3, "matching"))
        try:
            features, matches = match_thoroughly(
                images.images, config, lambda message: emit(Progress("poses", 1, 3, message))
            )
            emit(Progress("poses", 2, 3, "adjusting"))
            tracks = build_tracks(features, matches, work_scale(images, config))
            refined = refine(images, prediction.cameras, tracks, config)
        except JobError as error:
            raise PoseError(
                f"Adjusting what {self.title} says failed: {error}. Try another backend (--poses auto) or fewer, "
                "smaller photos."
            ) from error
        emit(Progress("poses", 3, 3, "done"))
        return self._result(images, prediction, refined, config)

    def _result(self, images: ImageSet, prediction: Prediction, refined: Refined, config: PosesConfig) -> PoseResult:
        """The kept cameras, judged like those of every backend, with the model's dense points laid over them.

        `points` are triangulated ones, and the model's own where a photo has none; `extras["dense"]` are all of the
        model's.
        """
        result = self._with_guesses(assemble(images, refined.solved, self.name), images, prediction, refined)
        scale = _depth_scales(prediction, refined, result.cameras)
        untied = replace(result.cameras, registered=result.n_observations == 0)
        dense, extra = (
            dense_points(images.images, prediction, cameras, scale, count=count, seed=config.seed)
            for cameras, count in ((result.cameras, DENSE_POINTS), (untied, SPARSE_POINTS))
        )
        said = {
            "checkpoint": config.checkpoint or self.checkpoints[0].id,
            "adjusted": refined.adjusted,
            "model_confidence": prediction.cameras.confidence,
            "dense": dense,
        }
        return replace(result, points=_joined(result.points, extra), extras=result.extras | said)

    def _with_guesses(
        self, result: PoseResult, images: ImageSet, prediction: Prediction, refined: Refined
    ) -> PoseResult:
        """`result`, with photos that no matches tie to the others, or that were cut for it, where the model has them.

        Whatever else was said of them, they are doubtful.
        """
        placed = result.cameras.registered.numpy() & refined.tied
        poses, guess = result.cameras.cam_from_world.double().numpy().copy(), refined.solved.model
        if placed.sum() >= 2:
            poses[~placed] = between(guess.cam_from_world[placed], poses[placed]).cameras(guess.cam_from_world)[~placed]
        else:  # nothing to stay in line with
            poses, placed = guess.cam_from_world, np.zeros_like(placed)
        reason = f"no matches tie it to the other photos; it stands where {self.title} puts it, which nothing confirms"
        guessed = [images.names[v] for v in np.flatnonzero(~placed)]
        warnings = [w for w in result.warnings if not w.startswith(tuple(f"{name} " for name in guessed))]
        confidence = torch.where(
            torch.from_numpy(placed),
            result.cameras.confidence,
            MAX_UNTIED_CONFIDENCE * prediction.cameras.confidence,
        )
        return replace(
            result,
            status=tuple(s if p else PoseStatus.LOW for s, p in zip(result.status, placed)),
            reasons=tuple(r if p else reason for r, p in zip(result.reasons, placed)),
            warnings=(*warnings, *(f"{name} may be placed wrongly: {reason}." for name in guessed)),
            cameras=replace(
                result.cameras,
                cam_from_world=torch.from_numpy(poses).float(),
                registered=torch.ones(len(images), dtype=torch.bool),
                confidence=confidence,
            ),
        )


def _depth_scales(prediction: Prediction, refined: Refined, cameras: Cameras) -> Float[Tensor, " V"]:
    """What the depths of each photo must be multiplied by to agree with the triangulated points of `cameras`' world.

    The median ratio over the photo's own points; where it has too few, over those of all photos.
    """
    model, tracks = refined.solved.model, refined.solved.tracks
    ratios = []
    for v in range(len(model.Ks)):
        point, _, keypoint = model.observations[model.observations[:, 1] == v].T
        z = model.xyz[point] @ model.cam_from_world[v, 2, :3] + model.cam_from_world[v, 2, 3]
        uv = torch.from_numpy(tracks.keypoints[v][keypoint] / tracks.scale[v]).float()
        depth = prediction.depth_at(v, uv).numpy()
        ratios.append(z[depth > 0] / depth[depth > 0])
    everywhere = np.concatenate(ratios)
    usual = np.median(everywhere) if len(everywhere) else 1.0
    each = [np.median(mine) if len(mine) >= ENOUGH_POINTS else usual for mine in ratios]
    before = np.linalg.inv(model.cam_from_world)[:, :3, 3]  # the world was rescaled when the result was assembled
    was, now = (np.linalg.norm(c - c.mean(axis=0)) for c in (before, cameras.centers.double().numpy()))
    return torch.tensor(each, dtype=torch.float32) * (float(now / was) if was > 0 else 1.0)


def _joined(a: PointCloud, b: PointCloud) -> PointCloud:
    return PointCloud(*(torch.cat([getattr(a, name), getattr(b, name)]) for name in ("xyz", "rgb", "confidence")))
