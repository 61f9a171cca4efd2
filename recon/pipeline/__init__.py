"""The stages in order, from a folder of photos to a run folder with splats, pictures and a report.

Every stage writes whole files and a completion record, so that a stopped run continues and a finished one is not
redone: see `recon.runfolder`. Start at `run`.
"""

import logging
import shutil
from dataclasses import dataclass, replace
from typing import Any

import recon
from recon import config as configuration
from recon.config import Device, RunConfig
from recon.errors import InputError, ReconError
from recon.events import EventSink, ignore
from recon.files import write_json
from recon.pipeline import summary
from recon.pipeline.core import Run, Stage, logging_to
from recon.pipeline.evaluate import EvaluateStage
from recon.pipeline.export import ExportStage
from recon.pipeline.fields import require_no_limits
from recon.pipeline.placing import PlacingStage
from recon.pipeline.stages import DenseStage, ImagesStage, PosesStage, TrainStage, ensure_published
from recon.priors.depth import require_depth_model
from recon.priors.diffusion import require_prior
from recon.render import select_rasterizer
from recon.runfolder import RunFolder

__all__ = ["STAGES", "RunConfig", "RunResult", "open_finished", "run"]

log = logging.getLogger(__name__)

STAGES: tuple[Stage, ...] = (
    ImagesStage(),
    PosesStage(),
    DenseStage(),
    PlacingStage(),
    TrainStage(),
    EvaluateStage(),
    ExportStage(),
)

NEED_BYTES = 200_000_000
"""Free space asked for at the start: working tensors of a few photos, a checkpoint, the results."""


@dataclass(frozen=True)
class RunResult:
    """Where the results are and what they are like."""

    folder: RunFolder
    metrics: dict[str, Any]
    """The content of metrics.json."""
    verdict: str
    """One sentence."""
    resumed: tuple[str, ...]
    """Stages that were found done."""
    computed: tuple[str, ...]
    """Stages that were computed now."""

    @property
    def nothing_to_do(self) -> bool:
        return not self.computed


def run(config: RunConfig, emit: EventSink = ignore, until: str = "export") -> RunResult:
    """Bring the run folder up to date with `config`, up to and including the stage `until`.

    Raises:
        InputError: photos, masks or cameras cannot be used.
        PoseError: the photos could not be placed.
        ResourceError: the folder is not writable, in use or full; a device is missing.
        KeyboardInterrupt: passed on; what is finished is in the folder.
    """
    current = Run(config, STAGES, emit)
    current.plan()  # reads the photos' bytes: a missing folder or file stops here, before anything is created
    if config.device == "cuda":
        select_rasterizer(config.device)  # so does a missing device
    require_prior(config.train.pseudo.prior, config.train.pseudo.checkpoints)  # and a prior that cannot run
    require_depth_model(config.depth_prior)
    require_no_limits(config)
    folder = current.folder
    folder.prepare(NEED_BYTES)
    with folder.lock():
        folder.clean_leftovers()
        try:
            with logging_to(folder.log):
                log.info("recon %s: %s -> %s", recon.__version__, config.images_dir, config.out_dir)
                current.execute(until)
                return _conclude(current, until)
        except (ReconError, KeyboardInterrupt):
            folder.discard_if_nothing_was_made()
            raise


def _conclude(current: Run, until: str) -> RunResult:
    """Write what describes the whole run."""
    folder = current.folder
    current.save_config()
    computed = tuple(name for name in current.records if name not in current.resumed)
    ensure_published(current)
    metrics = summary.metrics(current)
    if computed or not folder.metrics.is_file():
        write_json(folder.metrics, metrics)
    if until == "export":
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
    verdict = summary.verdict(metrics)
    log.info("done: %s", verdict)
    return RunResult(folder, metrics, verdict, tuple(current.resumed), computed)


def open_finished(folder: RunFolder, emit: EventSink = ignore, device: Device | None = None) -> Run:
    """The results in a run folder, to be rendered, measured or exported; nothing is computed.

    Raises:
        InputError: the folder's configuration cannot be read, or its splats are of before its cameras.
    """
    config = replace(configuration.load(folder.config), out_dir=folder.root)
    current = Run(replace(config, device=device) if device else config, STAGES, emit)
    for name in current.stages:
        if (record := folder.record(name)) is not None:
            current.records[name] = record
    _require_one_result(current)
    return current


def _require_one_result(current: Run) -> None:
    """Stop where a stage was done anew and training was not: cameras and splats are of different worlds then."""
    before = None
    for name in current.stages:
        record = current.records.get(name)
        if record is not None and record.after and before is not None and record.after != before.fingerprint:
            raise InputError(
                f"{current.folder.root} holds two results: {before.stage} was done anew, {name} is from before. "
                f"Finish the job first: recon train {current.folder.root}"
            )
        before = record
        if name == "train":
            return
