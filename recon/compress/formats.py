"""One door to splat files: the suffix chooses the format."""

from collections.abc import Callable
from pathlib import Path

from recon.compress.ply import read_ply, write_ply
from recon.compress.splat_format import read_splat, write_splat
from recon.errors import InputError
from recon.types import Splats

_READERS: dict[str, Callable[[Path], Splats]] = {".ply": read_ply, ".splat": read_splat}
_WRITERS: dict[str, Callable[[Path, Splats], None]] = {".ply": write_ply, ".splat": write_splat}

SPLAT_SUFFIXES = tuple(_READERS)
_KNOWN = ", ".join(SPLAT_SUFFIXES)


def read_splats(path: Path | str) -> Splats:
    """Read a splat file of any known format.

    Raises:
        InputError: unknown suffix, missing or damaged file.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(
            f"{path} is a folder. Give a splat file ({', '.join(SPLAT_SUFFIXES)}), such as {path}/splats.ply."
        )
    return _READERS[_suffix(path)](path)


def write_splats(path: Path | str, splats: Splats) -> None:
    """Write `splats` in the format of `path`'s suffix, atomically.

    Raises:
        InputError: unknown suffix.
        ResourceError: the folder is not writable or the disk is full.
    """
    path = Path(path)
    _WRITERS[_suffix(path)](path, splats)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(
            f"Unknown splat format {suffix or '(no suffix)'} of {path}. Use {' or '.join(SPLAT_SUFFIXES)}."
        )
    return suffix
