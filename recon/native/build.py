"""Compile the kernels in `src/` into one shared library per instruction set.

Stands alone on the standard library: the build hook loads this file by path before `recon` (or torch) is installed, and
`recon.native` imports it to compile on first use. A library's file name carries the hash of everything that went into
it, so an edited source is never served by an old library.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE_DIR = Path(__file__).parent / "src"
LIB_DIR = Path(__file__).parent / "lib"

# No -ffast-math: it would let the compiler drop the NaN checks that keep bad Gaussians out. These two only say that
# nobody reads errno or the floating-point flags, which is what keeps sqrt and conversions from vectorising.
_FLAGS = (
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-pthread",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-Wall",
    "-Wno-psabi",
)
_X86_VARIANTS = {"v3": ("-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mlzcnt"), "baseline": ()}
_COMPILERS = ("g++", "clang++", "c++")


class BuildError(Exception):
    """No compiler, or it refused; the message holds the end of what it said."""


def variants() -> dict[str, tuple[str, ...]]:
    """Instruction-set variants for this processor, best first, with their compiler flags."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return _X86_VARIANTS
    return {"generic": ()}


def find_compiler() -> str | None:
    """Path of a C++ compiler: `$CXX` if set, else g++, clang++ or c++ from the path; None if there is none."""
    wanted = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    for name in wanted:
        found = shutil.which(name)
        if found is not None:
            return found
    return None


def sources() -> list[Path]:
    """The translation units, in a fixed order."""
    return sorted(SOURCE_DIR.glob("*.cpp"))


def source_hash(variant: str) -> str:
    """Hash of all sources, headers and flags of a variant (16 hex digits)."""
    digest = hashlib.sha256(" ".join((*_FLAGS, *variants()[variant], platform.machine(), sys.platform)).encode())
    for path in sorted((*SOURCE_DIR.glob("*.cpp"), *SOURCE_DIR.glob("*.h"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def library_name(variant: str) -> str:
    """File name of a variant's library, for example `librecon-v3-0123456789abcdef.so`."""
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    return f"librecon-{variant}-{source_hash(variant)}{suffix}"


def compile_library(variant: str, folder: Path) -> Path:
    """Compile one variant into `folder` and return the library's path; at once if it is there already.

    Safe when several processes do it together: each compiles in a folder of its own and renames the result into place.

    Raises:
        BuildError: no compiler was found, or it failed.
        OSError: `folder` cannot be written.
    """
    target = folder / library_name(variant)
    if target.exists():
        return target
    compiler = find_compiler()
    if compiler is None:
        raise BuildError(f"Found no C++ compiler (looked for $CXX, {', '.join(_COMPILERS)}). Install g++ or clang++.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
        built = _compile_and_link(compiler, [*_FLAGS, *variants()[variant]], Path(scratch))
        built.replace(target)
    return target


def compile_all(folder: Path = LIB_DIR) -> list[Path]:
    """Compile every variant into `folder` and delete libraries of older sources there."""
    paths = [compile_library(variant, folder) for variant in variants()]
    for old in folder.glob("librecon-*"):
        if old not in paths:
            old.unlink()
    return paths


def _compile_and_link(compiler: str, flags: list[str], scratch: Path) -> Path:
    def compile_one(source: Path) -> str:
        target = str(scratch / (source.stem + ".o"))
        _run([compiler, *flags, "-c", str(source), "-o", target])
        return target

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_one, sources()))
    library = scratch / "library"
    _run([compiler, "-shared", "-pthread", *objects, "-o", str(library)])
    return library


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed ({result.returncode}):\n{result.stderr[-4000:]}")
