"""The C++ kernels, loaded with ctypes: they depend on neither the Python nor the torch ABI.

Load order: the library that the wheel (or an editable install) built into `lib/`; else one compiled now, once, into the
user's cache (`$XDG_CACHE_HOME/recon`, by default `~/.cache/recon`); else None, with a warning, and callers fall back to
torch. On x86 there are two variants, AVX2 with FMA (`v3`) and `baseline`; the processor decides.

`RECON_NATIVE=off|baseline|v3` overrides the choice, `RECON_NUM_THREADS` the number of threads.
"""

import ctypes
import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from . import build

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NativeInfo:
    """Which library is in use and why."""

    path: Path | None
    isa: str
    """`v3`, `baseline`, `generic`, or `none` without a library."""
    reason: str
    """A plain sentence for `recon doctor`."""


def library() -> ctypes.CDLL | None:
    """The loaded library, or None when there is neither a built one nor a compiler. Loaded once per process."""
    return _load()[0]


def describe() -> NativeInfo:
    """Which library `library()` gives, and why."""
    return _load()[1]


def must_compile() -> bool:
    """Whether `library()` will first compile for some tens of seconds."""
    if _load.cache_info().currsize or os.environ.get("RECON_NATIVE", "").lower() == "off":
        return False
    name = build.library_name(_choose_isa())
    there = any((folder / name).exists() for folder in (build.LIB_DIR, cache_folder()))
    return not there and build.find_compiler() is not None


def thread_count() -> int:
    """Threads a kernel may use: `set_thread_count`, else `$RECON_NUM_THREADS`, else as many as torch uses."""
    if _threads.chosen is not None:
        return _threads.chosen
    wanted = os.environ.get("RECON_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return max(1, min(torch.get_num_threads(), _usable_cores()))


def set_thread_count(n: int | None) -> None:
    """Set the number of threads for this process; None goes back to the default."""
    if n is not None and n < 1:
        raise ValueError(f"The number of threads must be at least 1, got {n}.")
    _threads.chosen = n


class _Threads:
    chosen: int | None = None


_threads = _Threads()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _choose_isa() -> str:
    """The variant for this processor, or the one asked for by `$RECON_NATIVE`."""
    asked = os.environ.get("RECON_NATIVE", "").lower()
    known = build.variants()
    if asked in known:
        return asked
    if asked not in ("", "auto"):
        logger.warning("RECON_NATIVE=%s is not one of off, %s; choosing by processor.", asked, ", ".join(known))
    if "v3" not in known:
        return next(iter(known))
    # torch's own dispatch: AVX2 there means AVX2 and FMA; AVX512 includes both.
    return "v3" if torch.backends.cpu.get_cpu_capability().startswith("AVX") else "baseline"


def cache_folder() -> Path:
    """Where libraries compiled on first use are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recon" / "native"


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, NativeInfo]:
    if os.environ.get("RECON_NATIVE", "").lower() == "off":
        return None, NativeInfo(None, "none", "switched off by RECON_NATIVE=off")
    isa = _choose_isa()
    try:
        path, reason = _find_or_compile(isa)
        return ctypes.CDLL(str(path)), NativeInfo(path, isa, reason)
    except (build.BuildError, OSError) as error:
        logger.warning("No native kernels, rendering will be slow: %s", error)
        return None, NativeInfo(None, "none", str(error))


def _find_or_compile(isa: str) -> tuple[Path, str]:
    shipped = build.LIB_DIR / build.library_name(isa)
    if shipped.exists():
        return shipped, f"{isa} library installed with the package"
    folder = cache_folder()
    if (folder / build.library_name(isa)).exists():
        return folder / build.library_name(isa), f"{isa} library compiled earlier into the user cache"
    logger.info("Compiling the native kernels once into %s (a few seconds).", folder)
    return build.compile_library(isa, folder), f"{isa} library compiled now into the user cache"
