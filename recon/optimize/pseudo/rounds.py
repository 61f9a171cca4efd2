"""Pseudo-views over a training: the test of the prior, the rounds of placing and repairing, and each step's share."""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.pseudo.config import PseudoConfig
from recon.optimize.pseudo.gate import Judgement, LeftOut
from recon.optimize.pseudo.places import place_between
from recon.optimize.pseudo.views import Mended, PseudoView, Scenery, draw, weighed
from recon.optimize.studio import StepStudio
from recon.optimize.targets import Deck
from recon.priors.diffusion import Prior, ScorePrior, Views, make_prior
from recon.priors.diffusion.fitting import LearningPrior
from recon.types import Cameras, Rendering

logger = logging.getLogger(__name__)

UNTESTED = Judgement(1.0, None, (), 0.0, "It counts fully, as the test on left-out photos is turned off.", 1.0)


class PseudoViews:
    """What a prior adds to the steps of one training."""

    def __init__(self, config: PseudoConfig, steps: int, n_photos: int, seed: int, prior: Prior | None = None) -> None:
        """`prior` takes the place of the one that `config` names."""
        self.config = config
        self.prior = prior or make_prior(config.prior, config.checkpoints)
        self.steps = steps
        self.count = min(config.most, config.per_photo * n_photos)
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.deck = Deck(0, seed)
        self.views: list[PseudoView] = []
        self.scenery: Scenery | None = None
        """Of the last round, kept for priors that score."""
        self.judgement: Judgement | None = None
        self.rounds = 0
        self.repaired = 0
        self.repair_seconds = 0.0
        self.next_round = math.ceil(config.start * steps)

    def wanted(self, step: int) -> bool:
        """Whether step `step` (from 0) has something to do here: a round is due, or a view to be added."""
        if step < math.ceil(self.config.start * self.steps) or (self.judgement and self.judgement.weight == 0):
            return False
        return self._round_due(step) or self._adds(step)

    def _round_due(self, step: int) -> bool:
        fading = step >= (1 - self.config.fade) * self.steps
        return step >= self.next_round and not fading and self._time_left() > 0

    def _adds(self, step: int) -> bool:
        return math.floor((step + 1) * self.config.share) > math.floor(step * self.config.share)

    def _time_left(self) -> float:
        return self.config.seconds - self.repair_seconds - (self.judgement.seconds if self.judgement else 0.0)

    def _weight(self, step: int) -> float:
        left = (self.steps - step) / max(1.0, self.config.fade * self.steps)
        gate = 1.0 if self.judgement is None else self.judgement.weight
        return self.config.weight * gate * min(1.0, left)

    def loss(
        self,
        step: int,
        studio: StepStudio,
        judge: Callable[[Prior], Judgement],
        tell: Callable[[str], None] = lambda message: None,
    ) -> Float[Tensor, ""] | None:
        """What to add to the loss of step `step`; None where that is nothing.

        Args:
            studio: without exposures.
            judge: the gate, asked once.
            tell: hears what takes long.
        """
        if self.judgement is None:
            self.judgement = judge(self.prior) if self.config.gate.enabled else UNTESTED
            self.prior = self.judgement.taught or self.prior
            logger.info("Prior %s: %s", self.prior.name, self.judgement.reason)
        if self.judgement.weight == 0:
            return None
        if self._round_due(step):
            self._start_round(step, studio, tell)
        if not self.views or not self._adds(step):
            return None
        view = self.views[self.deck.draw()]
        loss = view.loss(studio)
        if isinstance(self.prior, ScorePrior):
            self.scenery = self.scenery or Scenery.of(studio)
            seen = self._views(self.scenery, view.camera, draw(studio, view.camera), self.seed + step)
            loss = loss + self.prior.score(seen)
        return self._weight(step) * loss

    def _views(self, scenery: Scenery, camera: Cameras, drawn: Rendering, seed: int) -> Views:
        return scenery.views(drawn, camera, self.config.references, seed)

    @torch.no_grad()
    def _start_round(self, step: int, studio: StepStudio, tell: Callable[[str], None]) -> None:
        """Place, draw, repair and weigh views; those of the round before stay if the time runs out at the first."""
        started = perf_counter()
        budget = self._time_left()
        self.next_round = step + self.config.every
        scenery = Scenery.of(studio)
        self.scenery = scenery if isinstance(self.prior, ScorePrior) else None
        share = (step - self.config.start * self.steps) / max(1.0, (1 - self.config.start) * self.steps)
        cameras = place_between(
            scenery.cameras, self.count, self.config.outward * share, self.config.jitter, self.generator
        )
        mended: list[Mended] = []
        for k in range(len(cameras)):
            if perf_counter() - started > budget:
                break
            tell(f"{self.prior.name}: view {k + 1} of {len(cameras)}")
            views = self._views(scenery, cameras[k], draw(studio, cameras[k]), self.seed + step + k)
            mended.append(Mended.of(views, self.prior.repair(views)))
        self.views = weighed(mended) or self.views
        self.deck = Deck(len(self.views), self.seed + step)
        self.rounds += 1
        self.repaired += len(mended)
        self.repair_seconds += perf_counter() - started

    def details(self) -> dict[str, Any]:
        """What was done, as plain JSON values, for `metrics.json`."""
        judged = self.judgement.details() if self.judgement else {"weight": 0.0, "reason": "The training ended before."}
        spent = {
            "rounds": self.rounds,
            "repaired_views": self.repaired,
            "repair_seconds": round(self.repair_seconds, 2),
        }
        return {"name": self.prior.name, **judged, **spent, "out_of_time": self._time_left() <= 0}

    def state_dict(self) -> dict[str, Any]:
        judged, taught = None, None
        if self.judgement is not None:
            photos = [asdict(photo) for photo in self.judgement.photos]
            judged = {**vars(self.judgement), "photos": photos, "taught": None}
            taught = None if self.judgement.taught is None else self.judgement.taught.state_dict()
        return {
            "judgement": judged,
            "taught": taught,
            "views": [(view.camera.to("cpu").__dict__, view.image, view.weight) for view in self.views],
            "deck": {"n": self.deck.n, "cards": self.deck.cards, "generator": self.deck.generator.get_state()},
            "generator": self.generator.get_state(),
            "counts": [self.rounds, self.repaired, self.repair_seconds, self.next_round],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        judged, taught = state["judgement"], state["taught"]
        if judged is not None:
            if taught is not None and isinstance(self.prior, LearningPrior):
                judged = judged | {"taught": self.prior.with_state(taught)}
            self.judgement = Judgement(**{**judged, "photos": tuple(LeftOut(**photo) for photo in judged["photos"])})
            self.prior = self.judgement.taught or self.prior
        self.views = [
            PseudoView(Cameras(**camera).to(image.device), image, weight) for camera, image, weight in state["views"]
        ]
        self.deck = Deck(state["deck"]["n"], 0)
        self.deck.cards = list(state["deck"]["cards"])
        self.deck.generator.set_state(state["deck"]["generator"].cpu())
        self.generator.set_state(state["generator"].cpu())
        self.rounds, self.repaired, self.repair_seconds, self.next_round = state["counts"]
