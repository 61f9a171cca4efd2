"""`make bench-gate`: a small set, run and scored, against committed figures. Tight on quality and bytes, which do not
depend on the machine; loose on time, which does."""

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.benchmark.results import Cell, Table
from recon.benchmark.runs.executors import LocalExecutor
from recon.benchmark.runs.job import Entry
from recon.benchmark.runs.predict import Plan, predict
from recon.benchmark.runs.score import Scored, score_run
from recon.benchmark.runs.sets import DEMO, find_root, open_set
from recon.benchmark.runs.tables import UNITS, set_means
from recon.errors import InputError, ReconError
from recon.events import EventSink, ignore
from recon.files import write_json

BASELINE = Path(__file__).parents[3] / "datasets" / "baseline.json"
TRACK, MAX_SIDE = "4", 320
OPTIONS = {"quality": "draft", "train.steps": "200", "train.max_side": "240"}
LOSS = {"psnr": 0.25, "ssim": 0.01, "lpips": 0.015}
"""How much worse a figure may be than the committed one: in dB, and absolute."""
GROWTH = {"MB": 1.03, "CPU-s": 3.0}
"""By what factor a cost may grow."""


@dataclass(frozen=True)
class Verdict:
    """Whether anything got worse."""

    passed: bool
    table: Table
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"passed": self.passed, "verdict": self.sentence, "rows": self.table.records()}


def run(out: Path | None = None, update: bool = False, emit: EventSink = ignore, baseline: Path = BASELINE) -> Verdict:
    """Run the gate's jobs and compare; with `update`, write what was found instead.

    Raises:
        InputError: there are no committed figures.
        ReconError: a job failed.
    """
    plan = Plan(
        set=open_set(DEMO, TRACK, max_side=MAX_SIDE),
        entries=(Entry("recon", "recon", OPTIONS), Entry("copy", "copy")),
        poses=("given", "estimated"),
    )
    with contextlib.ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recon-gate-")))
        tally = predict(plan, folder, LocalExecutor(), emit)
        if tally.failed:
            raise ReconError(f"Jobs of the gate failed: {', '.join(tally.failed)}. The reasons are above.")
        found = figures(score_run(folder, find_root(DEMO), emit))
    if update:
        write_json(baseline, {"about": "recon bench gate", "results": found})
        return Verdict(True, _table(found, found), f"Written to {baseline.name}.")
    return compare(found, read_baseline(baseline))


def figures(scored: list[Scored]) -> dict[str, dict[str, float]]:
    """What is compared, by poses and entry."""
    keys = sorted({(s.poses, s.entry) for s in scored})
    means = {key: set_means([s for s in scored if (s.poses, s.entry) == key]) for key in keys}
    return {f"{poses}/{entry}": _numbers(means[poses, entry]) for poses, entry in keys}


def _numbers(row: dict[str, Cell]) -> dict[str, float]:
    named = {name: row[name] for name in LOSS} | {UNITS[cost][0]: row[cost] for cost in ("size_bytes", "cpu_seconds")}
    return {name: round(float(value), 4) for name, value in named.items() if isinstance(value, int | float)}


def read_baseline(file: Path) -> dict[str, dict[str, float]]:
    """The committed figures.

    Raises:
        InputError: there are none.
    """
    try:
        results: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} holds no figures to compare with ({error}). Make them with --update.") from error
    return results


def compare(found: dict[str, dict[str, float]], wanted: dict[str, dict[str, float]]) -> Verdict:
    """Every committed figure must be met within its tolerance; what is missing fails."""
    broken = [
        f"{key} {name}"
        for key, row in wanted.items()
        for name, value in row.items()
        if not _holds(name, found.get(key, {}).get(name), value)
    ]
    sentence = f"Worse than committed: {', '.join(broken)}." if broken else "Nothing got worse."
    return Verdict(not broken, _table(found, wanted), sentence)


def _holds(name: str, found: float | None, wanted: float) -> bool:
    if found is None:
        return False
    if name in GROWTH:
        return found <= wanted * GROWTH[name]
    loss = found - wanted if name == "lpips" else wanted - found
    return loss <= LOSS[name]


def _table(found: dict[str, dict[str, float]], wanted: dict[str, dict[str, float]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            key,
            name,
            value,
            found.get(key, {}).get(name),
            "ok" if _holds(name, found.get(key, {}).get(name), value) else "WORSE",
        )
        for key, row in wanted.items()
        for name, value in row.items()
    ]
    return Table("Gate", ("entry", "figure", "committed", "found", ""), tuple(rows))
