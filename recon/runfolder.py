"""The run folder: what is in it, who may write to it, and which stages are already done.

Every stage leaves a completion record `stages/<stage>.json` with the fingerprint of everything its result depends on:
photos, the part of the configuration it reads, and the fingerprints of the stages before it. A stage whose record
carries the fingerprint it would have now, and whose files are still there, is not redone.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recon.errors import InputError, ResourceError
from recon.files import write_json

log = logging.getLogger(__name__)

FORMAT = 1
"""Goes into every fingerprint: raised when a stage's files change meaning, so that old ones are redone."""

PUBLIC_NAMES = (
    "config.yaml",
    "cameras.json",
    "images",
    "sparse",
    "points.ply",
    "splats.ply",
    "field.npz",
    "mesh.glb",
    "renders",
    "video.mp4",
    "report.html",
    "metrics.json",
    "log.txt",
)


@dataclass(frozen=True)
class StageRecord:
    """Proof that a stage finished, and what it cost."""

    stage: str
    fingerprint: str
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    outputs: dict[str, int]
    """Files the stage wrote, relative to the run folder, with their size in bytes."""
    details: dict[str, Any] = field(default_factory=dict)
    """Facts for the report and `metrics.json`; plain JSON values."""
    finished: str = ""
    after: str = ""
    """Fingerprint of the stage before, when this one was made."""


TRACES = {"log.txt", "stages/.lock", "stages/images.json"}
"""What a run leaves that ends before it has made anything."""


def fingerprint(*parts: Any) -> str:
    """A short hash of JSON-like values; equal values give equal hashes whatever the order of their keys."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class RunFolder:
    """Paths and completion records of one run folder. Holds no results itself."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._created = False

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def cameras(self) -> Path:
        """nerfstudio `transforms.json` layout."""
        return self.root / "cameras.json"

    @property
    def sparse(self) -> Path:
        """COLMAP model folder."""
        return self.root / "sparse" / "0"

    @property
    def points(self) -> Path:
        return self.root / "points.ply"

    @property
    def splats(self) -> Path:
        return self.root / "splats.ply"

    @property
    def images(self) -> Path:
        """The photos as they were used, upright and at the size that `cameras` speaks of."""
        return self.root / "images"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def renders(self) -> Path:
        return self.root / "renders"

    @property
    def video(self) -> Path:
        return self.root / "video.mp4"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def stages(self) -> Path:
        return self.root / "stages"

    def state(self, stage: str, suffix: str = ".safetensors") -> Path:
        """Where a stage keeps the tensors that later stages read."""
        return self.stages / f"{stage}{suffix}"

    def record(self, stage: str) -> StageRecord | None:
        """The stage's completion record, or None when it never finished (an unreadable record counts as none)."""
        path = self.stages / f"{stage}.json"
        try:
            return StageRecord(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("Ignoring the unreadable record %s (%s); the stage is redone.", path, error)
            return None

    def finished(self, stage: str, fingerprint: str) -> StageRecord | None:
        """The stage's record if it was made from the same inputs and its files are all there, untouched in size."""
        record = self.record(stage)
        if record is None or record.fingerprint != fingerprint:
            return None
        return record if all(_size(self.root / name) == size for name, size in record.outputs.items()) else None

    def finish(self, record: StageRecord, outputs: Sequence[Path]) -> StageRecord:
        """Write the record of a finished stage, naming the files it produced."""
        sizes = {str(path.relative_to(self.root)): path.stat().st_size for path in outputs}
        values = asdict(record) | {"outputs": sizes, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(self.stages / f"{record.stage}.json", values)
        return StageRecord(**values)

    def remove_outputs(self, record: StageRecord, keep: Collection[str]) -> None:
        """Delete the files that a stage wrote, but for those in `keep` and those that were changed since."""
        for name, size in record.outputs.items():
            path = self.root / name
            if name not in keep and path.resolve().is_relative_to(self.root.resolve()) and _size(path) == size:
                log.info("removing %s, which is of an earlier result", name)
                path.unlink()

    def prepare(self, need_bytes: int) -> None:
        """Create the folder; fail now rather than after the long work when it cannot take the results.

        Raises:
            InputError: the path is a file, or a folder with someone else's files under the names recon writes.
            ResourceError: not writable, or less than `need_bytes` free.
        """
        self._refuse_foreign_content()
        self._created = not self.root.exists()
        try:
            self.stages.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe.{uuid.uuid4().hex[:8]}"
            probe.write_bytes(b"recon")
            probe.unlink()
        except OSError as error:
            raise ResourceError(
                f"Cannot write to the results folder {self.root}: {error.strerror or error}. "
                "Choose another one with --out, or change its permissions."
            ) from error
        free = shutil.disk_usage(self.root).free
        if free < need_bytes:
            raise ResourceError(
                f"Only {free / 1e6:.0f} MB free for the results in {self.root}; about {need_bytes / 1e6:.0f} MB are "
                "needed. Free some disk space or choose another folder with --out."
            )

    def _refuse_foreign_content(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"The results folder {self.root} is a file. Choose another path with --out.")
        with contextlib.suppress(OSError):
            if not self.root.is_dir() or self.stages.is_dir():
                return
            clashes = [name for name in PUBLIC_NAMES if (self.root / name).exists()]
            if clashes:
                raise InputError(
                    f"{self.root} holds files that are not recon's but have the names it writes: {', '.join(clashes)}. "
                    "Choose another folder with --out so that nothing of yours is overwritten."
                )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second run out of this folder. The kernel drops the lock when the process ends, however it ends.

        Raises:
            ResourceError: another process is writing here.
        """
        with (self.stages / ".lock").open("a+") as stream:
            if not _try_lock(stream.fileno()):
                stream.seek(0)
                owner = stream.read().strip() or "unknown"
                raise ResourceError(
                    f"Another recon (process {owner}) is writing to {self.root}. Wait for it to finish, stop it, "
                    "or choose another folder with --out."
                )
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            yield

    def discard_if_nothing_was_made(self) -> None:
        """Undo `prepare` after a run that ended early. Call with the lock held."""
        with contextlib.suppress(OSError):
            files = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}
            if files - TRACES:
                return
            for name in files:
                (self.root / name).unlink()
            self.stages.rmdir()
            if self._created:
                self.root.rmdir()

    def clean_leftovers(self) -> None:
        """Remove temporary files that a killed run left behind. Call with the lock held."""
        for path in self.root.rglob(".*.part*"):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _try_lock(descriptor: int) -> bool:
    """Take a POSIX record lock: unlike flock, a forked child does not inherit it and so cannot keep it alive."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: no protection, rather than no recon
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks (some network shares)
        log.warning("The results folder does not support locks (%s); do not start two runs in it.", error)
    return True


def _size(path: Path) -> int:
    """Size in bytes, -1 when the file is missing."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def open_run(path: Path | str, *, need: Mapping[str, str] | None = None) -> RunFolder:
    """An existing run folder (or the photo folder whose `recon` folder it is).

    Args:
        need: Property names of `RunFolder` that must exist, each with the command that makes it.

    Raises:
        InputError: there is no run there, or a needed file is missing.
    """
    root = Path(path)
    candidates = [root, root / "recon"]
    found = next((c for c in candidates if (c / "stages").is_dir() and (c / "config.yaml").is_file()), None)
    if found is None:
        raise InputError(
            f"No recon results in {root} (looked for config.yaml and stages/). "
            "Make some first: recon run --images FOLDER_WITH_PHOTOS"
        )
    folder = RunFolder(found)
    for name, command in (need or {}).items():
        file: Path = getattr(folder, name)
        if not file.exists():
            raise InputError(f"{file} does not exist: that stage has not finished yet. Run: {command}")
    return folder
