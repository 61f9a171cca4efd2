"""What the numbers were measured on: processor, clock, arithmetic peak, memory, library versions."""

import ctypes
import functools
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
import torch

from recon import native

_PACKAGES = ("recon", "torch", "numpy", "scipy", "pycolmap", "gsplat")


@dataclass(frozen=True)
class Machine:
    """The hardware, as far as it shows in speed."""

    cpu: str
    cores: int
    """Cores this process may use."""
    isa: str
    """Variant of the native library in use: `v3` (AVX2 and FMA), `baseline`, `generic` or `none`."""
    ghz: float | None
    """Clock under load, from a chain of multiplications of known latency; None where that is not known (not x86)."""
    peak_gflops: float | None
    """Of one core, measured: independent multiply-adds in the library's instruction set. None without the library."""
    memory_gb: float
    load: float
    """Processes that wanted a core over the last minute; above `cores`, wall times mean little."""
    gpu: str | None

    def sentence(self) -> str:
        """One line for the head of a table."""
        clock = "" if self.ghz is None else f" at {self.ghz:.1f} GHz"
        peak = "" if self.peak_gflops is None else f", {self.peak_gflops:.0f} GFLOP/s peak per core ({self.isa})"
        gpu = "" if self.gpu is None else f", {self.gpu}"
        return f"{self.cpu}, {self.cores} cores{clock}{peak}, {self.memory_gb:.0f} GB{gpu}; load {self.load:.1f}"


def describe() -> Machine:
    """Measure and name this machine (a quarter of a second)."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        isa=native.describe().isa,
        ghz=_clock_ghz(),
        peak_gflops=_peak_gflops(),
        memory_gb=psutil.virtual_memory().total / 2**30,
        load=psutil.getloadavg()[0],
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that matter to the numbers."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = native.library()
    if library is not None:
        library.recon_peak_loop.restype = ctypes.c_double
        library.recon_peak_loop.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_float)]
        library.recon_multiply_chain.restype = ctypes.c_uint64
        library.recon_multiply_chain.argtypes = [ctypes.c_int64, ctypes.c_uint64]
    return library


def _fastest(work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of CPU time of this thread; the fastest repeat is the one least disturbed."""
    times = []
    for _ in range(repeats):
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return min(times)


def _clock_ghz() -> float | None:
    """Cycles of a dependent chain of 64-bit multiplications (3 each) per second."""
    library = _library()
    if library is None or platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    iterations = 10_000_000
    return 3 * iterations / _fastest(lambda: library.recon_multiply_chain(iterations, 1)) / 1e9


def _peak_gflops() -> float | None:
    library = _library()
    if library is None:
        return None
    iterations = 2_000_000
    sink = ctypes.c_float(0.0)
    operations = library.recon_peak_loop(iterations, ctypes.byref(sink))
    return operations / _fastest(lambda: library.recon_peak_loop(iterations, ctypes.byref(sink))) / 1e9


def arithmetic_speedup(threads: int, repeats: int = 8) -> float | None:
    """How many times more pure arithmetic `threads` threads do than one, at best: what the machine has to give.

    Virtual processors may share a core, or be taken away for a while; no program scales better than this loop, which
    touches no memory. None without the native library.
    """
    library = _library()
    if library is None:
        return None

    def work() -> None:
        library.recon_peak_loop(1_000_000, ctypes.byref(ctypes.c_float(0.0)))  # ctypes lets go of the interpreter lock

    def wall(n: int) -> float:
        others = [threading.Thread(target=work) for _ in range(n - 1)]
        started = time.perf_counter()
        for other in others:
            other.start()
        work()
        for other in others:
            other.join()
        return time.perf_counter() - started

    one = min(wall(1) for _ in range(repeats))
    return threads * one / min(wall(threads) for _ in range(repeats))
