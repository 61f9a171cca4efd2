"""`recon bench views`."""

from dataclasses import replace

from recon.benchmark.runs.job import Limits
from recon.benchmark.views import FULL, QUICK, ViewsOptions, run_views
from recon.cli.bench_options import BenchViews, parse_pairs
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.cli.progress import progress_sink

NARROWED = ("scenes", "photos", "poses", "arms", "seeds", "max_side", "quality", "out")


def execute(options: BenchViews, console: Console) -> Result:
    """Run the jobs that are not done, and print the tables."""
    chosen = views_options(options)
    announce_compiling(console)
    with progress_sink(console) as sink:
        report = run_views(chosen, command_line(options), sink)
    lines = [report.markdown() if options.markdown else report.text()]
    if options.out is not None:
        lines.append(f"Contact sheets: {options.out / 'sheets'}")
    return Result(report.to_dict(), lines)


def views_options(options: BenchViews) -> ViewsOptions:
    """The short or the full version, with what was said in its place.

    Raises:
        InputError: an option that is not KEY=VALUE.
    """
    base, where = FULL if options.full else QUICK, options.where
    said = {name: getattr(options, name) for name in NARROWED if getattr(options, name) not in (None, ())}
    own = {} if options.quality is not None else base.options  # the short version's few steps go with its preset
    return replace(
        base,
        **said,
        options=dict(own) | parse_pairs(options.option),
        on=where.on,
        jobs=where.jobs,
        limits=Limits(cpus=where.cpus, seconds=3600 * where.time_limit, retries=where.retries),
    )


def command_line(options: BenchViews) -> str:
    """What was said, so that the head of the tables can be repeated; --out is left away."""
    parts = ["--full"] if options.full else []
    for name in NARROWED:
        value = getattr(options, name)
        if name != "out" and value not in (None, ()):
            values = value if isinstance(value, tuple) else (value,)
            parts.append(" ".join([f"--{name.replace('_', '-')}", *map(str, values)]))
    return " ".join([*parts, *(f"--option {text}" for text in options.option)])
