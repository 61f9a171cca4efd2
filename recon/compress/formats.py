"""One door to splat files: the suffix chooses the format."""

from collections.abc import Callable
from pathlib import Path

from recon.compress.compact import read_csog
from recon.compress.compressed_ply import write_compressed_ply
from recon.compress.ply import read_ply, write_ply
from recon.compress.sog import read_sog, write_sog
from recon.compress.splat_format import read_splat, write_splat
from recon.compress.spz import read_spz, write_spz
from recon.errors import InputError
from recon.types import Splats

_READERS: dict[str, Callable[[Path], Splats]] = {
    ".ply": read_ply,
    ".compressed.ply": read_ply,
    ".splat": read_splat,
    ".spz": read_spz,
    ".sog": read_sog,
    ".csog": read_csog,
}
_WRITERS: dict[str, Callable[[Path, Splats], None]] = {
    ".ply": write_ply,
    ".compressed.ply": write_compressed_ply,
    ".splat": write_splat,
    ".spz": write_spz,
    ".sog": write_sog,
}

SPLAT_SUFFIXES = tuple(_WRITERS)
"""Of the formats that hold any splats. `.csog` is read only: its colours are learned, by `recon compress --colors`."""
_ALL = ", ".join(_READERS)


def read_splats(path: Path | str) -> Splats:
    """Read a splat file of any known format.

    Raises:
        InputError: unknown suffix, missing or damaged file.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder. Give a splat file ({_ALL}), such as {path}/splats.ply.")
    return _READERS[splat_suffix(path)](path)


def write_splats(path: Path | str, splats: Splats) -> None:
    """Write `splats` in the format of `path`'s suffix, atomically.

    Raises:
        InputError: unknown suffix, or one that is only read.
        ResourceError: the folder is not writable or the disk is full.
    """
    path = Path(path)
    _WRITERS[splat_suffix(path, writing=True)](path, splats)


def splat_suffix(path: Path, writing: bool = False) -> str:
    """The suffix that chooses the format of `path`: `.compressed.ply` is one.

    Raises:
        InputError: an unknown one, or for `writing` one that is only read.
    """
    suffix = path.suffix.lower()
    if path.name.lower().endswith(".compressed.ply"):
        suffix = ".compressed.ply"
    if suffix not in _READERS:
        raise InputError(f"Unknown splat format {suffix or '(no suffix)'} of {path}. Use one of {_ALL}.")
    if writing and suffix not in _WRITERS:
        raise InputError(f"{path}: {suffix} is written by recon compress --colors. Use one of {', '.join(_WRITERS)}.")
    return suffix
