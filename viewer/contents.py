"""What is on show: everything the page knows about a scene, from a run folder, a splat file, or a run in progress."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from recon.compress import read_points, read_splats
from recon.errors import InputError, ReconError
from recon.types import Cameras, PointCloud, Splats
from viewer.display import placed_indices
from viewer.mesh import is_mesh, read_mesh

logger = logging.getLogger(__name__)

THUMBNAIL_SIDE = 320
SPLAT_FILE = "splats.ply"
_THUMBNAIL_FOLDERS = ("thumbnails", "photos", "images")

Thumbnail = UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Contents:
    """A scene and what is known about it. Everything but the title may be missing."""

    title: str
    splats: Splats | None = None
    cameras: Cameras | None = None
    names: tuple[str, ...] = ()
    """File names of the photos, one per camera."""
    thumbnails: tuple[Thumbnail | None, ...] = ()
    photo_files: tuple[Path | None, ...] = ()
    """The photos that the cameras belong to, where they are at hand."""
    points: PointCloud | None = None
    mesh: Any = None
    """A `trimesh.Trimesh`, when a mesh was opened."""
    folder: Path | None = None
    """The run folder: where edits, films and notes are kept. None for a bare file."""
    file_bytes: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def n_placed(self) -> int:
        return len(placed_indices(self.cameras))

    def centers(self) -> Float[np.ndarray, "P 3"]:
        """Points that say where the scene is: the mesh, the point cloud or the Gaussian centres; else none."""
        if self.mesh is not None:
            return np.asarray(self.mesh.vertices, dtype=np.float64)
        sources = [self.points.xyz if self.points is not None else None, self.splats.means if self.splats else None]
        for xyz in sources:
            if xyz is not None and len(xyz):
                return xyz.detach().cpu().double().numpy()
        return np.zeros((0, 3))


def load(path: Path, photos: Path | None = None) -> Contents:
    """Read a run folder, a splat file or a mesh.

    Args:
        photos: folder of the original photos, for thumbnails. Without it only pictures inside the run folder are
            used: a run folder from elsewhere cannot make the viewer open other files.

    Raises:
        InputError: nothing there, or nothing in it that can be shown.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist. Give a run folder (made by `recon run`) or a splat file (.ply).")
    if path.is_file() and is_mesh(path):
        return Contents(path.stem, mesh=read_mesh(path), file_bytes=path.stat().st_size)
    if path.is_file():
        return Contents(path.stem, splats=read_splats(path), file_bytes=path.stat().st_size)
    return _load_run(path, photos)


def _load_run(folder: Path, photos: Path | None) -> Contents:
    present = [name for name in (SPLAT_FILE, "cameras.json", "points.ply") if (folder / name).is_file()]
    if not present:
        raise InputError(
            f"{folder} is not a run folder: none of splats.ply, cameras.json and points.ply is in it. "
            "Give the folder that `recon run` printed, or a splat file (.ply)."
        )
    splats_path = folder / SPLAT_FILE
    cameras, names = _optional(_read_cameras, folder / "cameras.json") or (None, ())
    files = tuple(_find_photo(folder, name, photos) for name in names)
    return Contents(
        title=_title(folder),
        splats=read_splats(splats_path) if splats_path.is_file() else None,
        cameras=cameras,
        names=tuple(Path(name).name for name in names),
        thumbnails=tuple(None if file is None else _optional(read_thumbnail, file) for file in files),
        photo_files=files,
        folder=folder,
        points=_optional(read_points, folder / "points.ply"),
        file_bytes=splats_path.stat().st_size if splats_path.is_file() else None,
        metrics=_optional(_read_metrics, folder / "metrics.json") or {},
    )


def _title(folder: Path) -> str:
    """`recon run --images door` writes `door/recon`: the scene is called door."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "recon" and folder.parent.name else folder.name


def _optional(read: Any, path: Path) -> Any:
    """`read(path)`; None, with a warning, when the file is damaged: what else there is can still be looked at."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (ReconError, OSError, ValueError, KeyError) as error:
        logger.warning("Left out %s: %s", path, error)
        return None


def _read_metrics(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}


def _read_cameras(path: Path) -> tuple[Cameras, tuple[str, ...]]:
    from recon.data.transforms_json import read_transforms  # not for a bare file: it is shown sooner without

    known = read_transforms(path)
    return known.cameras, known.names


def _find_photo(folder: Path, name: str, photos: Path | None) -> Path | None:
    """The picture of one photo: inside the run folder, or in the folder that the caller named."""
    base = Path(name).name
    candidates = [folder / name, *(folder / sub / base for sub in _THUMBNAIL_FOLDERS)]
    candidates += [folder / sub / f"{Path(base).stem}.jpg" for sub in _THUMBNAIL_FOLDERS]
    inside = [path for path in candidates if path.resolve().is_relative_to(folder.resolve())]
    if photos is not None:
        inside.append(photos / base)
    return next((path for path in inside if path.is_file()), None)


def read_thumbnail(path: Path) -> Thumbnail:
    """A photo, upright, no side longer than `THUMBNAIL_SIDE`."""
    with Image.open(path) as image:
        image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        return np.asarray(upright)


def read_photo(path: Path) -> UInt8[np.ndarray, "_ _ 3"]:
    """A photo, upright, at its own size.

    Raises:
        OSError: it is no picture.
    """
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def shrink(image: UInt8[np.ndarray, "_ _ 3"]) -> Thumbnail:
    """A thumbnail of an image in memory."""
    picture = Image.fromarray(image)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return np.asarray(picture)
