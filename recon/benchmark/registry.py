"""The benchmarks by name. To add one: write a module with `run(options) -> BenchResult`, and a line here."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from recon.benchmark.results import BenchResult
from recon.errors import InputError


@dataclass(frozen=True)
class BenchOptions:
    """What every benchmark understands."""

    quick: bool = True
    """The short version, a minute or two; False for the whole table."""
    repeats: int = 5
    """Timings whose median is shown (slow work takes fewer, or one)."""
    seed: int = 0


@dataclass(frozen=True)
class Bench:
    """A benchmark; its module is imported when it is run."""

    name: str
    description: str
    module: str

    @property
    def run(self) -> Callable[[BenchOptions], BenchResult]:
        function: Callable[[BenchOptions], BenchResult] = importlib.import_module(self.module).run
        return function


BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (
        Bench("raster", "The rasterizer and SSIM: speed, scaling and accuracy.", "recon.benchmark.raster"),
        Bench("demo", "The whole job on the demo photos: time, memory, held-out quality.", "recon.benchmark.demo"),
        Bench("poses", "Cameras from 3, 6 and 9 photos, against known ones (needs data).", "recon.benchmark.poses"),
        Bench("compress", "Size against held-out quality, for every preset and format.", "recon.benchmark.compress"),
        Bench(
            "sparse",
            "Sparse products, hash grid, vector quantisation against torch and scipy.",
            "recon.benchmark.sparse",
        ),
        Bench("field", "How few numbers a radiance field needs, on the Lego (needs data).", "recon.benchmark.field"),
        Bench("viewer", "The viewer through a headless browser: start, frames, tabs.", "recon.benchmark.viewer"),
        Bench("views", "Held-out views from 3, 6 and 9 photos, against plain splatting.", "recon.benchmark.views"),
    )
}


def run_bench(name: str, options: BenchOptions | None = None) -> BenchResult:
    """Run the benchmark called `name`.

    Raises:
        InputError: there is none of that name.
    """
    if name not in BENCHES:
        raise InputError(f"No benchmark {name!r}. There are: {', '.join(BENCHES)}.")
    return BENCHES[name].run(options or BenchOptions())
