"""`recon bench`: the measurements of `recon.benchmark`."""

from recon.benchmark import BENCHES, BenchOptions, run_bench
from recon.cli.allocator import keep_memory
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.cli.options import Bench
from recon.errors import InputError


def execute(options: Bench, console: Console) -> Result:
    """Run one benchmark, or list them."""
    if options.name == "list":
        about = {name: bench.description for name, bench in sorted(BENCHES.items())}
        return Result({"benches": about}, [f"{name}: {description}" for name, description in about.items()])
    if options.name not in BENCHES:
        raise InputError(f"No benchmark {options.name!r}. There are: {', '.join(sorted(BENCHES))}.")
    keep_memory()
    announce_compiling(console)
    report = run_bench(options.name, BenchOptions(quick=not options.full, repeats=options.repeats, seed=options.seed))
    return Result(report.to_dict(), [report.markdown() if options.markdown else report.text()])
