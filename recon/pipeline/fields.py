"""`recon run --representation hashgrid`: a field in the place of splats.

Pictures, video and measurements are the field's own. Where only splats will do (the viewer, exports, placing a camera),
splats laid on the field's surface stand for it.
"""

import logging
from dataclasses import asdict
from typing import Any

import torch

from recon.compress import read_ply, write_ply
from recon.config import RunConfig
from recon.errors import InputError
from recon.events import SplatsUpdated
from recon.fields import (
    Box,
    Checkpoint,
    FieldSplats,
    Occupancy,
    RadianceField,
    load_field,
    save_field,
    surface_points,
    train_field,
)
from recon.optimize import InitConfig, splats_from_points
from recon.optimize.checkpoint import digest, read_checkpoint, write_checkpoint
from recon.pipeline import store
from recon.pipeline.budget import PRESET
from recon.pipeline.core import Outcome, Run
from recon.pipeline.stages import Trained, publish
from recon.runfolder import RunFolder
from recon.types import PosedScene, Splats

FILE = "field.npz"
CHECKPOINT = "field.pt"
EVERY_SECONDS = 20.0
SMALL = f"splats_{PRESET}.sog"
log = logging.getLogger(__name__)
INSIDE, MARGIN = 0.98, 0.1
"""The box holds this share of the points along each axis, and this much more on each side."""


def require_no_limits(config: RunConfig) -> None:
    """Stop where a field is asked for together with what only splats can do.

    Raises:
        InputError: a limit on Gaussians, or a prior for pictures.
    """
    if config.representation != "hashgrid":
        return
    asked = ["--max-gaussians or --target-mb"] if config.train.budget.limited else []
    asked += [] if config.train.pseudo.prior == "none" else [f"--prior {config.train.pseudo.prior}"]
    if asked:
        raise InputError(
            f"--representation hashgrid cannot be combined with {' and '.join(asked)}: they work on splats. "
            "Leave one of them away; hashgrid.size in the settings says how large a field is."
        )


def fit_field(run: Run, scene: PosedScene) -> Outcome:
    """The train stage of a run that asks for a field."""
    folder, config = run.folder, run.config.hashgrid
    at, box = folder.checkpoints / CHECKPOINT, box_of(scene)
    depths = run.value("dense").depths
    same = {"config": asdict(config), "box": asdict(box), "inputs": digest(scene, depths)}
    checkpoint = Checkpoint(
        lambda: read_checkpoint(at, same, torch.device("cpu")),
        lambda state: write_checkpoint(at, state, same),
        EVERY_SECONDS,
    )
    field, occupancy, history = train_field(scene, depths, box, config, run.emit, checkpoint)
    save_field(folder.root / FILE, field, occupancy)
    points = surface_points(field, occupancy, scene.cameras)
    splats = splats_from_points(points, InitConfig(opacity=0.95), sh_degree=0, seed=config.seed)
    cameras_path = folder.state("train")
    store.save(cameras_path, {"cameras": scene.cameras})
    write_ply(folder.splats, splats)
    published = publish(run, scene.cameras, scene.points)
    at.unlink(missing_ok=True)
    remove_stale(folder, "train.pt", SMALL)
    run.emit(SplatsUpdated(config.steps, splats))
    details: dict[str, Any] = {
        "gaussians": len(splats),
        "representation": "hashgrid",
        "field_parameters": field.n_parameters,
        "steps": config.steps,
        "history": history,
        "account": {},
        "device": "cpu",
    }
    outputs = (cameras_path, folder.splats, folder.root / FILE, *published)
    return Outcome(Trained(_standing_for(splats, field, occupancy), scene.cameras), outputs, details)


def remove_stale(folder: RunFolder, checkpoint: str, result: str) -> None:
    """Delete what the other representation left in the folder: it would pass for a part of this result."""
    for path in (folder.checkpoints / checkpoint, folder.root / result):
        if path.is_file():
            log.info("Removing %s, which belongs to another representation of the scene", path)
            path.unlink()


def load_trained(run: Run) -> Trained:
    """What `fit_field` left in the run folder.

    Raises:
        InputError: a file is missing or damaged.
    """
    splats = _standing_for(read_ply(run.folder.splats), *load_field(run.folder.root / FILE))
    return Trained(splats, store.load(run.folder.state("train"))["cameras"])


def box_of(scene: PosedScene) -> Box:
    """The cube that holds nearly all points of a scene.

    Raises:
        InputError: it has none.
    """
    if len(scene.points) == 0:
        raise InputError("There are no points to put a field around. Add photos that overlap more.")
    tail = torch.tensor([(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    return Box.around(torch.quantile(scene.points.xyz[:: len(scene.points) // 100_000 + 1], tail, dim=0), MARGIN)


def _standing_for(splats: Splats, field: RadianceField, occupancy: Occupancy) -> FieldSplats:
    return FieldSplats(**splats.tensors(), field=field, occupancy=occupancy)
