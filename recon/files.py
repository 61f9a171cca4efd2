"""Whole files or none: every result is written under a temporary name and renamed into place."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon.errors import ResourceError


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it onto `path` if the block succeeds.

    The suffix is kept because writers (PIL, ffmpeg) choose a format by it. On any failure, Ctrl-C included, the
    temporary file is removed and an existing `path` is left as it was.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or Path(error.filename) in (temporary, path, path.parent) or error.errno == 28:
            raise ResourceError(
                f"Could not write {path}: {error.strerror or error}. "
                "Free some disk space or choose another folder with --out."
            ) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")
