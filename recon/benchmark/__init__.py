"""One door for measurements: `run_bench(name)` behind `recon bench`, and the scores behind `recon eval`."""

from recon.benchmark.registry import BENCHES, Bench, BenchOptions, run_bench
from recon.benchmark.results import BenchResult, Table

__all__ = ["BENCHES", "Bench", "BenchOptions", "BenchResult", "Table", "run_bench"]
