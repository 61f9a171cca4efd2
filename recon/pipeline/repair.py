"""Pictures of finished splats, repaired: a prior as the last step (Difix3D+, Wu et al. 2025, sec. 4.3).

What the photos know better than the splats is carried into each picture. The splats stay as they are, so that such
pictures need not agree with each other as those of splats do, and what is measured of them says nothing of the splats.
How far a picture is moved towards what the prior makes of it is found on the scene's own photos, each left out of a
small fit in turn (`recon.optimize.pseudo.gate`): a prior that would not mend them changes nothing.

All photos are carried into each picture, near ones counting most. With the two nearest alone a third takes the place of
one of them between two frames of a film, and the picture jumps.
"""

import logging
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import InputError
from recon.events import Progress
from recon.fields import FieldSplats
from recon.optimize import Trainer
from recon.optimize.left_out import in_front_of_black
from recon.optimize.pseudo.gate import Judgement, judge, short
from recon.optimize.pseudo.views import Scenery
from recon.optimize.targets import resample
from recon.pipeline.core import Run
from recon.pipeline.pictures import render_view
from recon.pipeline.stages import Trained, dense_scene
from recon.priors.diffusion import Prior, make_prior, require_prior
from recon.priors.diffusion.occlusion import look_of
from recon.types import Cameras, DepthMaps, PosedScene, Rendering, Splats

log = logging.getLogger(__name__)
LOOK_SIDE = 48
"""Longest side, in pixels, of the pictures that colours are compared on: photos are sharper than what splats show."""


@dataclass(frozen=True)
class Repairer:
    """A prior, what it looks at, and how far it is believed."""

    prior: Prior
    scenery: Scenery
    judgement: Judgement

    @torch.inference_mode()
    def __call__(self, rendering: Rendering, camera: Cameras) -> Rendering:
        """`rendering` (without leading dimension, black behind) from `camera` with its colours repaired."""
        if self.judgement.strength == 0:
            return rendering
        drawn = Rendering(rendering.rgb[None], rendering.alpha[None], rendering.depth[None])
        views = self.scenery.views(drawn, camera, len(self.scenery.photos), seed=0)
        image = self.prior.repair(views).images[0]
        return replace(rendering, rgb=rendering.rgb.lerp(image.to(rendering.rgb), self.judgement.strength))


def make_repairer(run: Run, name: str) -> Repairer | None:
    """A repairer of pictures of a finished run, tested on its photos; None for the prior `none`.

    Raises:
        InputError: there is no prior of that name; the run made a field rather than splats.
        MissingDependencyError: the prior cannot run here.
    """
    if name == "none":
        return None
    pseudo = run.config.train.pseudo
    checkpoints = pseudo.checkpoints if name == pseudo.prior else ()  # they belong to the prior that they were given to
    require_prior(name, checkpoints)
    trained: Trained = run.value("train")
    if isinstance(trained.splats, FieldSplats):
        raise InputError("Pictures of a field cannot be repaired, only those of splats. Leave --repair away.")
    config = run.config.train
    scene = replace(dense_scene(run), cameras=trained.cameras)
    own = [render_view(trained.splats, scene.cameras[i], run.rasterizer) for i in range(len(scene))]
    if config.refine_exposure:
        scene = replace(scene, images=tuple(as_splats_show(photo, seen) for photo, seen in zip(scene.images, own)))

    def fit(some: PosedScene, depths: DepthMaps | None) -> Splats:
        trainer = Trainer(some, depths, short(config), run.rasterizer)
        while trainer.step_index < trainer.config.steps:
            trainer.step()
        return trainer.result().splats.to(run.rasterizer.device)

    def tell(message: str) -> None:
        run.emit(Progress("render", 0, 1, message))

    prior, depths = make_prior(name, checkpoints), run.value("dense").depths
    pseudo = replace(pseudo, references=max(2, len(scene) - 1))
    judgement = judge(prior, scene, depths, fit, run.rasterizer, pseudo, tell)
    log.info("Pictures are repaired by %s, strength %.2f. %s", name, judgement.strength, judgement.reason)
    photos = tuple(in_front_of_black(scene, i) for i in range(len(scene)))
    scenery = Scenery(photos, scene.cameras, tuple(own))
    return Repairer(judgement.taught or prior, scenery, judgement)


def as_splats_show(photo: Float[Tensor, "H W 3"], seen: Rendering) -> Float[Tensor, "H W 3"]:
    """A photo in the colours that the splats have in its place: the optimiser gave each photo an exposure."""
    scale = min(1.0, LOOK_SIDE / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[0] * scale)), max(1, round(photo.shape[1] * scale)))
    shown, given = (resample(rgb.permute(2, 0, 1), size, "area").permute(1, 2, 0) for rgb in (seen.rgb, photo))
    return look_of(shown, given, resample(seen.alpha, size, "area")).apply(photo)
