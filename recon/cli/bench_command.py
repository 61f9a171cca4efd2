"""`recon bench`: the measurements of `recon.benchmark`."""

import inspect
from collections.abc import Callable

from recon.benchmark import BENCHES, BenchOptions, run_bench
from recon.cli.allocator import keep_memory
from recon.cli.bench_options import BENCH_COMMANDS
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.cli.options import Bench, Command
from recon.errors import InputError


def execute(options: Bench, console: Console) -> Result:
    """Run one benchmark, or list them."""
    if options.name == "list":
        about = {name: bench.description for name, bench in sorted(BENCHES.items())}
        commands = {name: summary(command) for name, command in BENCH_COMMANDS.items()}
        lines = [f"{name}: {description}" for name, description in (about | commands).items()]
        return Result({"benches": about, "commands": commands}, list(lines))
    if options.name not in BENCHES:
        if options.name in BENCH_COMMANDS:
            raise InputError(f"{options.name} must come first: recon bench {options.name}, and its options after it.")
        known = ", ".join(sorted((*BENCHES, *BENCH_COMMANDS)))
        raise InputError(f"No benchmark {options.name!r}. There are: {known}.")
    keep_memory()
    announce_compiling(console)
    report = run_bench(options.name, BenchOptions(quick=not options.full, repeats=options.repeats, seed=options.seed))
    return Result(report.to_dict(), [report.markdown() if options.markdown else report.text()])


def summary(command: Callable[..., Command]) -> str:
    """The first sentence of a command's help, as the lines of the benchmarks have it."""
    sentence = inspect.cleandoc(command.__doc__ or "").split(". ")[0]
    return f"{' '.join(sentence.split()).rstrip('.')} (see --help)"
