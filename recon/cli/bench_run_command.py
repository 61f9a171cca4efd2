"""`recon bench run`, `recon bench score` and `recon bench gate`."""

from pathlib import Path
from typing import Any

from recon.benchmark.results import Table
from recon.benchmark.runs import gate
from recon.benchmark.runs.executors import select_executor
from recon.benchmark.runs.job import Entry, Limits
from recon.benchmark.runs.leaderboard import write_page
from recon.benchmark.runs.predict import Plan, predict
from recon.benchmark.runs.score import Scored, score_run, score_submission
from recon.benchmark.runs.sets import find_root, open_set
from recon.benchmark.runs.submission import Choice, write_submission
from recon.benchmark.runs.tables import tables
from recon.cli.bench_options import BenchGate, BenchRun, BenchScore, parse_pairs
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.cli.options import Command
from recon.cli.progress import progress_sink
from recon.errors import InputError
from recon.files import write_json

SCORES = "scores.json"
WITH_PRESETS = ("recon", "plain")


def execute(options: Command, console: Console) -> Result:
    """Do what the sub-command asks for."""
    if isinstance(options, BenchRun):
        return _run(options, console)
    if isinstance(options, BenchScore):
        return _score(options, console)
    assert isinstance(options, BenchGate), "no other command comes here"
    return _gate(options, console)


def _run(options: BenchRun, console: Console) -> Result:
    where = options.where
    plan = Plan(
        set=open_set(options.set, options.track, options.split, options.scenes, options.max_side),
        entries=tuple(_entry(options, method) for method in options.method),
        poses=options.poses,
        seeds=options.seeds,
        align=options.align,
        limits=Limits(cpus=where.cpus, seconds=3600 * where.time_limit, retries=where.retries),
    )
    executor = select_executor(where.on, where.jobs)
    announce_compiling(console)
    with progress_sink(console) as sink:
        tally = predict(plan, options.out, executor, sink)
    lines = [f"{tally.done} jobs done, {tally.skipped} were done before, {len(tally.failed)} failed -> {options.out}"]
    lines += [f"Failed: {key}" for key in tally.failed]
    lines.append(f"Next: recon bench score {options.out} --truth FOLDER")
    value = {"done": tally.done, "skipped": tally.skipped, "failed": list(tally.failed), "out": str(options.out)}
    return Result(value, lines, exit_code=1 if tally.failed else 0)


def _entry(options: BenchRun, method: str) -> Entry:
    chosen = parse_pairs(options.option)
    label = options.label or method
    if options.quality is not None and method in WITH_PRESETS:
        chosen["quality"] = options.quality
        label = options.label or f"{method}-{options.quality}"
    return Entry(label, method, chosen)


def _score(options: BenchScore, console: Console) -> Result:
    truth = find_root(options.truth)
    announce_compiling(console)
    with progress_sink(console) as sink:
        if options.source.suffix.lower() == ".zip":
            scored = _score_zip(options, truth)
        else:
            scored = score_run(options.source, truth, sink)
            write_json(options.source / SCORES, _plain(scored, tables(scored)))
    found = tables(scored)
    lines = [table.markdown() if options.markdown else table.text() for table in found]
    if options.page is not None:
        write_page(options.page, scored, options.source, truth)
        lines.append(f"Leaderboard: {options.page}")
    if options.submission is not None:
        choice = Choice(options.entry, options.track, options.poses, options.seed)
        count = write_submission(options.source, options.submission, choice)
        lines.append(f"Submission: {count} pictures -> {options.submission}")
    return Result(_plain(scored, found), ["\n\n".join(lines)])


def _score_zip(options: BenchScore, truth: Path) -> list[Scored]:
    if options.track is None:
        raise InputError("A ZIP does not say which views it should hold. Say the track: --track 1, 2 or N.")
    if options.page is not None or options.submission is not None:
        raise InputError("--page and --submission are made from the folder of a run, not from a ZIP.")
    views = open_set(options.truth, options.track, options.split, max_side=options.max_side)
    return score_submission(options.source, truth, views)


def _plain(scored: list[Scored], found: list[Table]) -> dict[str, Any]:
    return {
        "results": [one.to_dict() for one in scored],
        "tables": [{"title": table.title, "note": table.note, "rows": table.records()} for table in found],
    }


def _gate(options: BenchGate, console: Console) -> Result:
    announce_compiling(console)
    with progress_sink(console) as sink:
        verdict = gate.run(options.out, options.update, sink)
    return Result(verdict.to_dict(), [verdict.table.text(), verdict.sentence], exit_code=0 if verdict.passed else 1)
