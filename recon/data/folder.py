"""What lies in a photo folder: which files are photos, in which order, and what to tell a user about the rest."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from recon.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif")
RAW_SUFFIXES = frozenset(
    (".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".x3f")
)
VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".3gp", ".wmv", ".mpg"))
OTHER_PICTURE_SUFFIXES = frozenset((".gif", ".avif", ".jxl", ".exr", ".hdr", ".jp2", ".psd", ".svg", ".insp"))
SUPPORTED = ", ".join(PHOTO_SUFFIXES)
RUN_FOLDER = "recon"
"""`recon run` writes here, inside the scene folder; what it renders must never be read back as photos."""


def list_photos(folder: Path) -> tuple[list[Path], list[str]]:
    """The photos directly in `folder`, in natural order, and warnings about files that were passed over.

    Hidden files, AppleDouble companions (`._IMG_1.jpg`) and sub-folders are passed over silently.

    Raises:
        InputError: `folder` is missing, not a folder, unreadable, or holds no photo; says where photos are instead.
    """
    entries = _entries(folder)
    photos, warnings, others = [], [], []
    for path in entries:
        if path.name.startswith(".") or _is_folder(path):
            continue
        if path.suffix.lower() not in PHOTO_SUFFIXES:
            others.append(path)
        elif (problem := _problem(path)) is not None:
            warnings.append(f"Left out {path.name}: {problem}.")
        else:
            photos.append(path)
    hints = _hints(others, {path.stem.lower() for path in photos})
    if not photos:
        raise InputError(" ".join([_nothing_found(folder, entries), *warnings, *hints]))
    return photos, warnings + hints


def natural_key(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Sort key that counts: `img2` before `img10`, regardless of case; the name itself breaks ties."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)), name


def find_by_stem(folder: Path, stems: Iterable[str]) -> Path | None:
    """The first picture in `folder` named `<stem>.<any picture suffix>` for one of `stems`, in their order."""
    for stem in stems:
        for suffix in (".png", *PHOTO_SUFFIXES):
            for candidate in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix.upper()}"):
                if candidate.is_file():
                    return candidate
    return None


def _entries(folder: Path) -> list[Path]:
    if not folder.exists():
        raise InputError(f"There is no folder {folder}. Check the path given with --images.")
    if not folder.is_dir():
        if folder.suffix.lower() in VIDEO_SUFFIXES:
            raise InputError(
                f"{folder} is a video. Extract a few sharp, well-spread frames into a folder first, for instance: "
                f"ffmpeg -i {folder.name} -vf fps=1 frames/%03d.jpg"
            )
        raise InputError(f"{folder} is a file, not a folder. Pass the folder that holds the photos: {folder.parent}")
    try:
        return sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    except OSError as error:
        raise InputError(f"Could not list {folder}: {error.strerror or error}. Check its permissions.") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _problem(path: Path) -> str | None:
    """Why a file with a photo's suffix cannot even be opened, or None."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8; rename it"
    try:
        status = path.stat()
    except FileNotFoundError:
        return "it is a link to a file that does not exist"
    except OSError as error:
        return f"{error.strerror or error}"
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_size == 0:
        return "the file is empty (0 bytes); copy it again from the camera"
    if not os.access(path, os.R_OK):
        return "no permission to read it"
    return None


def _hints(others: list[Path], photo_stems: set[str]) -> list[str]:
    """One sentence for each kind of passed-over file that may surprise the user."""

    def of(suffixes: frozenset[str]) -> list[str]:
        # A RAW file or live-photo clip beside its own JPEG is how cameras save them: nothing to say.
        return [p.name for p in others if p.suffix.lower() in suffixes and p.stem.lower() not in photo_stems]

    hints = []
    if raw := of(RAW_SUFFIXES):
        hints.append(f"{_some(raw)} not read: RAW photos must be exported as JPEG or TIFF first.")
    if videos := of(VIDEO_SUFFIXES):
        hints.append(f"{_some(videos)} not read: extract frames first (ffmpeg -i VIDEO -vf fps=1 frames/%03d.jpg).")
    if pictures := of(OTHER_PICTURE_SUFFIXES):
        hints.append(f"{_some(pictures)} not read: convert to JPEG or PNG (supported: {SUPPORTED}).")
    return hints


def _some(names: list[str], limit: int = 3) -> str:
    """The first few names and how many more, as the subject of a sentence."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _nothing_found(folder: Path, entries: list[Path]) -> str:
    message = f"Need at least 2 photos, found none in {folder} (supported: {SUPPORTED})."
    counts = {
        path: n
        for path in entries
        if not path.name.startswith(".") and path.name != RUN_FOLDER and _is_folder(path) and (n := _count_photos(path))
    }
    if not counts:
        return f"{message} Add photos or pass --images another folder."
    best = max(counts, key=lambda path: counts[path])
    found = _some([f"{path.name}/ ({n})" for path, n in counts.items()])
    return f"{message} Sub-folders hold photos: {found}. Pass one of them, such as --images {best}."


def _count_photos(folder: Path) -> int:
    try:
        return sum(p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith(".") for p in folder.iterdir())
    except OSError:
        return 0
