"""`recon bench raster`: what rendering costs, against PyTorch in the same run and against what the processor could do.

Times are medians of CPU time of the process, so that a busy machine spoils them less than wall time; only the scaling
with threads is wall time, and takes the fastest repeat. A step is one `rasterization` call with RGB and expected depth,
and for forward+backward the gradients of all six inputs for given gradients of image and alpha (no loss is included).

Arithmetic that one blend (a Gaussian that contributes to a pixel) needs, additions and multiplications counted as one
each, comparisons and selections as none, evaluations that end up contributing nothing as none; D channels:

    offset in x 1, quadratic form per row 4, exponential 16 (range reduction, degree-6 polynomial), opacity 1: 22
    forward:  those, 1 - alpha, T alpha, T (1 - alpha): 3, D multiply-adds                             -> 25 + 2 D
    backward: those 25, <colour, gradient> 2 D, suffix 2, dL/dalpha 4, dL/dsigma 1, moments 6, colour gradients 2 D
                                                                                                       -> 38 + 4 D
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import torch
from torch import Tensor

from recon import native
from recon.benchmark import machine
from recon.benchmark.machine import Machine, arithmetic_speedup
from recon.benchmark.peers import autograd_tiles
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult, Cell, Table
from recon.benchmark.scenes import RasterScene, room
from recon.errors import MissingDependencyError
from recon.metrics import ssim
from recon.metrics.ssim import ssim_torch
from recon.render.base import RasterizeResult
from recon.render.torch_tiles import count_blends
from recon.render.torch_tiles import rasterization as torch_rasterization

CHANNELS = 4  # RGB and depth
FORWARD_FLOPS = 25 + 2 * CHANNELS
BACKWARD_FLOPS = 38 + 4 * CHANNELS

QUICK = ((20_000, 640, 480), (100_000, 640, 480))
FULL = tuple((n, w, h) for n in (5_000, 20_000, 100_000, 300_000) for w, h in ((320, 240), (640, 480)))
# PyTorch takes seconds a step: it is measured at one size only and once or twice, and autograd through all of it takes
# gigabytes.
PEER_SIZE = (640, 480)
MAX_AUTOGRAD = 100_000
LEAVES = ("means", "quats", "scales", "opacities", "colors", "viewmats")

Rasterize = Callable[..., RasterizeResult]
Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Timing:
    """Of one piece of work, over several repeats."""

    cpu_ms: float
    """Median."""
    wall_ms: float
    """Fastest."""


def run(options: BenchOptions) -> BenchResult:
    """Speed, scaling with threads, accuracy, SSIM.

    Raises:
        MissingDependencyError: there is no native library to measure.
    """
    if native.library() is None:
        raise MissingDependencyError(
            f"The raster benchmark measures the native library, which is missing ({native.describe().reason}). "
            "Install a C++ compiler, for example g++, and run it again."
        )
    from recon.render import cpu

    started, here = time.process_time(), machine.describe()
    rasterize: Rasterize = cpu.rasterization
    with _threads(1):
        tables = [
            speed_table(rasterize, QUICK if options.quick else FULL, here, options),
            accuracy_table(rasterize, options.seed),
            ssim_table(options),
        ]
    if here.cores > 1:
        tables.insert(1, scaling_table(rasterize, here, options))
    return BenchResult(
        name="raster",
        description="Rasterizer and SSIM on the CPU, against PyTorch in the same run",
        command="recon bench raster" if options.quick else "recon bench raster --full",
        tables=tuple(tables),
        machine=here,
        versions=machine.versions(),
        seeds={"scene": options.seed},
        options={"quick": options.quick, "repeats": options.repeats},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=time.process_time() - started,
    )


def speed_table(
    rasterize: Rasterize, sizes: tuple[tuple[int, int, int], ...], here: Machine, options: BenchOptions
) -> Table:
    """CPU-ms of a step on one thread, and how well the arithmetic is used."""
    rows: list[tuple[Cell, ...]] = []
    for n, width, height in sizes:
        scene = room(n, width, height, options.seed)
        blends = count_blends(
            scene.means, scene.quats, scene.scales, scene.opacities, scene.viewmats, scene.Ks, width, height
        )
        forward = measure(forward_step(rasterize, scene), options.repeats).cpu_ms
        both = measure(training_step(rasterize, scene), options.repeats).cpu_ms
        tiles, autograd = _torch_peers(scene) if (width, height) == PEER_SIZE else (None, None)
        share = None
        if here.peak_gflops is not None:
            share = 100 * blends * (FORWARD_FLOPS + BACKWARD_FLOPS) / (both * 1e6) / here.peak_gflops
        per_second = blends / (both * 1e3)
        ratios = (None if peer is None else peer / both for peer in (tiles, autograd))
        head = (n, f"{width}x{height}", blends / (width * height))
        rows.append((*head, forward, both, per_second, share, tiles, autograd, *ratios))
    return Table(
        title="One step, RGB and depth, one thread, CPU-ms (median)",
        columns=(
            "Gaussians", "image", "blends/pixel", "forward", "forward+backward", "Mblends/s", "% of peak",
            "torch tiles", "torch autograd", "faster than tiles", "than autograd",
        ),
        rows=tuple(rows),
        note=(
            "Mblends/s and % of peak are of forward+backward, projection and binning included; a blend counts as "
            f"{FORWARD_FLOPS} + {BACKWARD_FLOPS} floating-point operations. Forward+backward in PyTorch: `torch tiles` "
            "is our fallback, tuned and with a backward pass of its own; `torch autograd` differentiates through dense "
            "tiles, as pure-PyTorch splatting is usually written."
        ),
    )  # fmt: skip


def _torch_peers(scene: RasterScene) -> tuple[float, float | None]:
    """CPU-ms of forward+backward in PyTorch: our fallback renderer, and autograd through dense tiles."""
    tiles = measure(training_step(torch_rasterization, scene), 2, warm=False).cpu_ms
    if len(scene.means) > MAX_AUTOGRAD:
        return tiles, None
    return tiles, measure(training_step(_autograd_rasterization, scene), 1, warm=False).cpu_ms


def _autograd_rasterization(*args: Any, render_mode: str) -> RasterizeResult:
    """`autograd_tiles` with gsplat's face, as far as `training_step` looks."""
    assert render_mode == "RGB+ED", "only this mode is measured"
    image = autograd_tiles(RasterScene(*args))[None]
    alpha = image[..., 4:]
    return torch.cat([image[..., :3], image[..., 3:4] / alpha.clamp_min(1e-10)], dim=-1), alpha, {}


def scaling_table(rasterize: Rasterize, here: Machine, options: BenchOptions) -> Table:
    """Wall time of forward+backward by number of threads."""
    scene = room(100_000, *PEER_SIZE, options.seed)
    counts = [n for n in (1, 2, 4, 8, 16, 32) if n <= here.cores]
    rows: list[tuple[Cell, ...]] = []
    for n in counts:
        with _threads(n):
            timing = measure(training_step(rasterize, scene), max(10, options.repeats))
        first = rows[0][1] if rows else timing.wall_ms
        assert isinstance(first, float), "the second column holds milliseconds"
        rows.append((n, timing.wall_ms, timing.cpu_ms, first / timing.wall_ms, arithmetic_speedup(n)))
    return Table(
        title="Threads: forward+backward of 100k Gaussians at 640x480",
        columns=("threads", "wall ms (fastest)", "CPU-ms (median)", "times faster", "arithmetic alone"),
        rows=tuple(rows),
        note="Wall time: on a machine with other work to do, the later rows are too slow. `arithmetic alone`: how many"
        " times faster a loop without memory became with the same threads, at best; the most this machine could give.",
    )


def accuracy_table(rasterize: Rasterize, seed: int) -> Table:
    """Native float32 against the PyTorch renderer in float64, which the tests hold to a brute force at 1e-12."""
    scene = room(2_000, 160, 120, seed)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 120, 160, CHANNELS + 1, generator=generator, dtype=torch.float64)
    losses: dict[str, Loss] = {
        "random": lambda image: (image * noise.to(image.dtype)).sum(),
        "squared": lambda image: (image - noise.abs().clamp(max=1).to(image.dtype)).square().mean(),
    }
    errors: dict[str, dict[str, float]] = {}
    for loss_name, loss in losses.items():
        image, gradients = image_and_gradients(rasterize, scene, loss)
        true_image, true_gradients = image_and_gradients(torch_rasterization, scene.to(torch.float64), loss)
        errors[loss_name] = {
            name: float((gradients[name].double() - true_gradients[name]).norm() / true_gradients[name].norm())
            for name in LEAVES
        }
    difference = (image.double() - true_image).abs()
    largest = {"RGB": difference[..., :3].max(), "alpha": difference[..., 4].max()}
    largest["expected depth"] = difference[..., 3].max() / true_image[..., 3].max()
    rows: list[tuple[Cell, ...]] = [(name, float(value), None, None) for name, value in largest.items()]
    rows += [(f"gradient of {name}", None, errors["random"][name], errors["squared"][name]) for name in LEAVES]
    return Table(
        title="Accuracy: float32 against float64, 2000 Gaussians at 160x120",
        columns=("what", "largest difference", "relative error, random", "relative error, squared"),
        rows=tuple(rows),
        note=(
            "Depth relative to its range. Gradients: norm of the difference over the norm, for random gradients of the "
            "image (signs cancel, which is harsh) and for those of a squared difference to noise."
        ),
    )


def ssim_table(options: BenchOptions) -> Table:
    """The fused kernel against separable and against grouped 2D convolutions in PyTorch."""
    generator = torch.Generator().manual_seed(options.seed)
    a = torch.rand(480, 640, 3, generator=generator)
    b = (a + 0.1 * torch.randn(480, 640, 3, generator=generator)).clamp(0, 1)

    def separable(x: Tensor, y: Tensor) -> Tensor:
        return ssim_torch(x[None], y[None], 11, 1.5, 0)

    rows: list[tuple[Cell, ...]] = []
    fused = 0.0
    for name, function in (
        ("native, fused", ssim),
        ("torch, separable", separable),
        ("torch, grouped 11x11", _grouped),
    ):
        forward = measure(lambda f=function: f(a, b), options.repeats).cpu_ms  # type: ignore[misc]
        both = measure(lambda f=function: _ssim_step(f, a, b), options.repeats).cpu_ms  # type: ignore[misc]
        fused = fused or both
        rows.append((name, forward, both, both / fused))
    return Table(
        title="SSIM at 640x480x3, one thread, CPU-ms (median)",
        columns=("implementation", "forward", "forward+backward", "times the fused"),
        rows=tuple(rows),
    )


def forward_step(rasterize: Rasterize, scene: RasterScene) -> Callable[[], object]:
    """Drawing alone, nothing kept for a gradient."""

    @torch.no_grad()
    def step() -> object:
        return rasterize(*scene.args(), render_mode="RGB+ED")

    return step


def training_step(rasterize: Rasterize, scene: RasterScene) -> Callable[[], object]:
    """Drawing and the gradients of all six inputs, for fixed random gradients of the image and alpha."""
    leaves = {name: getattr(scene, name).clone().requires_grad_() for name in LEAVES}
    generator = torch.Generator().manual_seed(0)
    shape = (1, scene.height, scene.width)
    upstream = (torch.randn(*shape, CHANNELS, generator=generator), torch.randn(*shape, 1, generator=generator))

    def step() -> object:
        colors, alphas, _ = rasterize(*scene.args(leaves), render_mode="RGB+ED")
        return torch.autograd.grad((colors, alphas), list(leaves.values()), upstream)

    return step


def measure(work: Callable[[], object], repeats: int, warm: bool = True) -> Timing:
    """Run `work` `repeats` times, after once for nothing if `warm`."""
    if warm:
        work()
    cpu, wall = [], []
    for _ in range(max(1, repeats)):
        cpu_started, wall_started = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - cpu_started)
        wall.append(time.perf_counter() - wall_started)
    return Timing(1e3 * median(cpu), 1e3 * min(wall))


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let torch and the native kernels use `n` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    native.set_thread_count(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        native.set_thread_count(None)


def image_and_gradients(rasterize: Rasterize, scene: RasterScene, loss: Loss) -> tuple[Tensor, dict[str, Tensor]]:
    """Colour, depth and alpha [1,H,W,5], and the gradients of their `loss`."""
    leaves = {name: getattr(scene, name).clone().requires_grad_() for name in LEAVES}
    colors, alphas, _ = rasterize(*scene.args(leaves), render_mode="RGB+ED")
    image = torch.cat([colors, alphas], dim=-1)
    gradients = torch.autograd.grad(loss(image), list(leaves.values()))
    return image.detach(), dict(zip(LEAVES, gradients))


def _ssim_step(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    x = a.clone().requires_grad_()
    return torch.autograd.grad(function(x, b), x)[0]


def _grouped(a: Tensor, b: Tensor) -> Tensor:
    """SSIM as most training code has it: five grouped convolutions with the full 11x11 window."""
    from recon.metrics.ssim import C1, C2, gaussian_taps

    taps = torch.tensor(gaussian_taps(11, 1.5))
    window = torch.outer(taps, taps).expand(3, 1, 11, 11).contiguous()
    x, y = a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None]

    def smooth(image: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(image, window, padding=5, groups=3)

    mx, my = smooth(x), smooth(y)
    vx, vy, cov = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    return ((2 * mx * my + C1) * (2 * cov + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))).mean()
