"""Fitting a field to photos with known cameras."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.events import EventSink, Progress, ignore
from recon.fields.field import FieldConfig, RadianceField
from recon.fields.march import Samples, Seen, place_samples, trace
from recon.fields.occupancy import Occupancy
from recon.fields.pixels import Batch, Pixels
from recon.fields.rays import Box
from recon.types import DepthMaps, PosedScene

log = logging.getLogger(__name__)
State = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """Where an interrupted fit is continued from: how to get its last state, and what to do with a new one."""

    read: Callable[[], State | None]
    write: Callable[[State], None]
    every_seconds: float


@dataclass(frozen=True)
class FieldTrainConfig:
    """How a field is fitted."""

    size: FieldConfig = field(default_factory=FieldConfig)
    steps: int = 2000
    samples: int = 16384
    """In each step: as many rays are drawn as give about so many."""
    samples_across: int = 256
    """Samples on a ray along the diagonal of the box."""
    occupancy: int = 64
    """Cells along each axis of the grid that says where there is nothing."""
    look_every: int = 16
    """Steps between two updates of that grid."""
    depth_weight: float = 0.05
    """Of the distance, in sides of the box, between what rays meet and the depth that stereo saw."""
    rate: float = 1e-2
    """Adam's, in the first half of the steps..."""
    last_rate: float = 3e-4
    """...and at the last; between, it falls by equal ratios."""
    seed: int = 0


class FieldTrainer:
    """The state of one fit."""

    def __init__(
        self, scene: PosedScene, field: RadianceField, config: FieldTrainConfig, depths: DepthMaps | None = None
    ) -> None:
        self.config = config
        self.field = field
        self.pixels = Pixels(scene, depths)
        self.occupancy = Occupancy(config.occupancy, 3**0.5 / config.samples_across)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer = torch.optim.Adam(field.parameters(), lr=config.rate, betas=(0.9, 0.99), eps=1e-15)
        self.step_index = 0
        self.n_rays = max(1, config.samples // config.samples_across)
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0

    def state_dict(self) -> State:
        """Everything needed to go on."""
        return {
            "step": self.step_index,
            "rays": self.n_rays,
            "field": self.field.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "occupancy": {"densities": self.occupancy.densities, "cells": self.occupancy.cells},
            "history": self.history,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from there."""
        self.step_index, self.n_rays = state["step"], state["rays"]
        self.field.load_state_dict(state["field"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.occupancy.densities, self.occupancy.cells = (state["occupancy"][k] for k in ("densities", "cells"))
        self.history, self.seconds = state["history"], state["seconds"]

    @property
    def fraction(self) -> float:
        return self.step_index / self.config.steps

    def step(self) -> float:
        """One batch of rays; returns the mean squared error of the colours."""
        self._look()
        batch = self.pixels.draw(self.n_rays, self.generator)
        samples = place_samples(self.field, self.occupancy, batch.rays, self.generator)
        seen = trace(self.field, samples, batch.rays, self.occupancy.step)
        error = self._color_error(seen, batch)
        self.optimizer.zero_grad()
        (error + self._depth_error(seen, samples, batch) + self.penalty()).backward()
        late = max(0.0, 2 * self.fraction - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * (self.config.last_rate / self.config.rate) ** late
        self.optimizer.step()
        self.step_index += 1
        per_ray = max(1.0, len(samples.ray) / self.n_rays)
        self.n_rays = max(1, min(round(self.config.samples / per_ray), 2 * self.n_rays))
        return float(error.detach())

    def penalty(self) -> Float[Tensor, ""]:
        """What else is added to the loss."""
        return torch.zeros(())

    def _color_error(self, seen: Seen, batch: Batch) -> Float[Tensor, ""]:
        """A new colour behind each ray, so that emptiness cannot be mistaken for one."""
        background = torch.rand(len(batch.rays), 3, generator=self.generator)
        shown = seen.rgb + (1 - seen.alpha)[:, None] * background
        return (shown - torch.lerp(background, batch.rgb, batch.alpha[:, None])).square().mean()

    def _depth_error(self, seen: Seen, samples: Samples, batch: Batch) -> Float[Tensor, ""]:
        """How far from what stereo saw the matter lies that rays meet, on average: it must gather there. (The distance
        to the average place, as is usual, is content with fog before and behind it.)"""
        believed = (batch.confidence * (batch.distance > 0))[samples.ray]
        off = (samples.distances - batch.distance[samples.ray]).abs() / self.field.box.side
        return self.config.depth_weight * (seen.weights * believed * off).sum() / len(batch.rays)

    def _look(self) -> None:
        """Update the occupancy: everywhere in the first steps, later mostly where there was something."""
        if self.step_index and self.step_index % self.config.look_every == 0:
            share = 1.0 if self.step_index <= 10 * self.config.look_every else 1 / 16
            self.occupancy.update(self.field.density, self.generator, share)


def run_trainer(
    trainer: FieldTrainer,
    publish_every: int = 100,
    emit: EventSink = ignore,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, float]]:
    """All steps; returns readings every so many: step, psnr (of the rays drawn since the last) and seconds."""
    state = None if checkpoint is None else checkpoint.read()
    if state is not None:
        trainer.load_state_dict(state)
        log.info("Continuing from step %d of %d", trainer.step_index, trainer.config.steps)
    started = saved = time.perf_counter()
    before, steps = trainer.seconds, trainer.config.steps
    errors: list[float] = []
    while trainer.step_index < steps:
        errors.append(trainer.step())
        now = time.perf_counter()
        trainer.seconds = before + now - started
        if trainer.step_index % publish_every == 0 or trainer.step_index == steps:
            psnr = -10 * math.log10(fmean(errors))
            trainer.history.append({"step": trainer.step_index, "psnr": psnr, "seconds": trainer.seconds})
            emit(Progress("train", trainer.step_index, steps, values={"psnr": psnr}))
            errors.clear()
        if checkpoint is not None and now - saved > checkpoint.every_seconds:
            checkpoint.write(trainer.state_dict())
            saved = now
    return trainer.history


def train_field(
    scene: PosedScene,
    depths: DepthMaps | None,
    box: Box,
    config: FieldTrainConfig,
    emit: EventSink = ignore,
    checkpoint: Checkpoint | None = None,
) -> tuple[RadianceField, Occupancy, list[dict[str, float]]]:
    """Fit a new field to a scene's photos; also how that went. An interrupted fit goes on from `checkpoint`."""
    trainer = FieldTrainer(scene, RadianceField(config.size, box, config.seed), config, depths)
    history = run_trainer(trainer, emit=emit, checkpoint=checkpoint)
    return trainer.field, trainer.occupancy, history
