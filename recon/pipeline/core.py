"""The loop over the stages: what is done is taken from the folder, what is not is computed, measured and recorded."""

import functools
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from recon import config as configuration
from recon.config import RunConfig
from recon.errors import ReconError
from recon.events import EventSink, StageFinished, StageStarted, Warned, fan_out, ignore
from recon.files import write_text
from recon.pipeline.monitor import measured
from recon.render import Rasterizer, select_rasterizer
from recon.runfolder import RunFolder, StageRecord, fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a stage leaves behind."""

    value: Any
    """What later stages take from it."""
    outputs: Sequence[Path]
    """The files that prove the stage is done; missing or changed ones mean doing it again."""
    details: dict[str, Any] = field(default_factory=dict)
    """Facts for the report and `metrics.json`: plain JSON values."""


@runtime_checkable
class Stage(Protocol):
    """One step from photos to results. To add one: write such a class, list it in `recon.pipeline.STAGES`."""

    name: str
    description: str
    # A stage that corrects what earlier ones made also has `revises`, their names; its value maps names to new values.

    def settings(self, run: "Run") -> Any:
        """The part of the configuration, and whatever else beside the stages before, that the result depends on."""
        ...

    def compute(self, run: "Run") -> Outcome:
        """Do the work; earlier results come from `run.value(name)`."""
        ...

    def load(self, run: "Run") -> Any:
        """The value of a finished stage, from the run folder."""
        ...


class Run:
    """One pass through the stages: the configuration, the folder, and the results so far."""

    def __init__(self, config: RunConfig, stages: Sequence[Stage], emit: EventSink = ignore) -> None:
        self.config = config
        self.folder = RunFolder(config.out_dir)
        self.stages = {stage.name: stage for stage in stages}
        self.warnings: list[str] = []
        self.emit = fan_out(self._remember_warning, emit)
        self.records: dict[str, StageRecord] = {}
        self.resumed: list[str] = []
        self._values: dict[str, Any] = {}

    @functools.cached_property
    def rasterizer(self) -> Rasterizer:
        """The renderer of this machine, chosen when first needed."""
        return select_rasterizer(self.config.device)

    def value(self, name: str) -> Any:
        """The result of a stage that is done, as later stages that are done revised it; read from the folder when
        this pass did not compute it."""
        for later in self.stages.values():
            if name in getattr(later, "revises", ()) and later.name in self.records:
                revised = self.value(later.name)
                if name in revised:
                    return revised[name]
        if name not in self._values:
            self._values[name] = self.stages[name].load(self)
        return self._values[name]

    def keep(self, name: str, value: Any) -> None:
        """Make a result available to `value` before its stage has ended."""
        self._values[name] = value

    def warn(self, message: str) -> None:
        """Tell the listeners and the log about something that is not as it should be."""
        self.emit(Warned(message))

    def execute(self, until: str) -> None:
        """Run the stages in order up to and including `until`."""
        key = ""
        for name, stage in self.stages.items():
            before, key = key, fingerprint(name, stage.settings(self), key)
            record = self.folder.finished(name, key)
            if record is None:
                record = self._compute(stage, key, before)
            else:
                self._take(record)
            self.records[name] = record
            if name != "images" and name not in self.resumed:  # a run that fails early leaves an older one's alone
                self.save_config()
            if name == until:
                return

    def plan(self) -> dict[str, str]:
        """The fingerprint of every stage, without doing anything."""
        keys, key = {}, ""
        for name, stage in self.stages.items():
            key = keys[name] = fingerprint(name, stage.settings(self), key)
        return keys

    def save_config(self) -> None:
        """Write the resolved configuration, if it changed."""
        text, path = configuration.dump(self.config), self.folder.config
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def _take(self, record: StageRecord) -> None:
        log.info("%s: already done", record.stage)
        self.resumed.append(record.stage)
        self.warnings.extend(record.details.get("warnings", []))
        self.emit(
            StageFinished(record.stage, record.seconds, record.cpu_seconds, record.peak_memory_bytes, resumed=True)
        )

    def _compute(self, stage: Stage, key: str, before: str) -> StageRecord:
        self.emit(StageStarted(stage.name, stage.description))
        log.info("%s: started", stage.name)
        known = len(self.warnings)
        with measured() as cost:
            outcome = stage.compute(self)
        self._values[stage.name] = outcome.value
        earlier = self.folder.record(stage.name)
        details: Mapping[str, Any] = outcome.details | {"warnings": self.warnings[known:]}
        record = self.folder.finish(
            StageRecord(
                stage.name,
                key,
                round(cost.seconds, 3),
                round(cost.cpu_seconds, 3),
                cost.peak_memory_bytes,
                outputs={},
                details=dict(details),
                after=before,
            ),
            outcome.outputs,
        )
        self._remove_stale(earlier, record)
        self.emit(StageFinished(stage.name, cost.seconds, cost.cpu_seconds, cost.peak_memory_bytes))
        log.info(
            "%s: %.1f s, %.1f CPU-s, at most %.2f GB",
            stage.name,
            cost.seconds,
            cost.cpu_seconds,
            cost.peak_memory_bytes / 1e9,
        )
        return record

    def _remove_stale(self, earlier: StageRecord | None, record: StageRecord) -> None:
        """Delete what the stage wrote before and has not written now: it would pass for a part of this result."""
        others = [self.folder.record(name) for name in self.stages if name != record.stage]
        wanted = {*record.outputs, *(name for other in others if other is not None for name in other.outputs)}
        if earlier is not None:
            self.folder.remove_outputs(earlier, keep=wanted)

    def _remember_warning(self, event: Any) -> None:
        if isinstance(event, Warned):
            self.warnings.append(event.message)
            log.info("warning: %s", event.message)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Append what recon logs to `path` while the block runs, with the reason if it fails."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("recon")
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    except ReconError as error:
        logger.info("stopped: %s", error)
        raise
    except KeyboardInterrupt:
        logger.info("stopped by Ctrl-C")
        raise
    except Exception:  # straight to the file: the command line shows it on the terminal
        handler.handle(logging.makeLogRecord({"name": "recon", "levelname": "ERROR", "msg": traceback.format_exc()}))
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()
