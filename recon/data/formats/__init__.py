"""The formats of data sets, one file each, behind one door.

To add one: copy `llff.py`, and put its `FORMAT` into `FORMATS`.
"""

from pathlib import Path

from recon.data.formats import blender, colmap, llff, middlebury, nerfstudio, spare, strecha
from recon.data.formats.base import Format, Scene
from recon.errors import InputError

__all__ = ["FORMATS", "Format", "Scene", "detect_format", "open_scene"]

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    # In the order of search: whoever names its photos after itself comes first. LLFF's scenes, and mip-NeRF 360's, also
    # hold a COLMAP model; say `colmap` where that one is meant.
    for module in (spare, middlebury, strecha, blender, nerfstudio, llff, colmap)
}


def detect_format(path: Path | str) -> str | None:
    """The name of the first format whose files are in `path`; None where there are none."""
    path = Path(path)
    return next((name for name, candidate in FORMATS.items() if path.is_dir() and candidate.detect(path)), None)


def open_scene(path: Path | str, format: str | None = None) -> Scene:
    """The scene in the folder `path`: its views, their cameras, and where its pictures are. No picture is decoded.

    Without `format`, the files in the folder tell.

    Raises:
        InputError: no such folder or format, files of no known format, or damaged ones.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"There is no folder {path}. Give the folder of one scene.")
    if format is not None and format not in FORMATS:
        raise InputError(f"There is no format {format!r}. There are: {', '.join(FORMATS)}.")
    name = format or detect_format(path)
    if name is None:
        known = "; ".join(candidate.about for candidate in FORMATS.values())
        raise InputError(f"{path} holds no scene in a format that can be read ({known}).")
    return FORMATS[name].read(path)
