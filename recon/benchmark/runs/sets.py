"""Which scenes a run takes, with which split, at which size: from the data sets' own readers, manifests and splits."""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recon.benchmark.demo import CHECKOUT_FOLDER
from recon.data.decode import shrunk_size
from recon.data.formats import Scene, open_scene
from recon.data.formats.base import file_size
from recon.data.manifests import Manifest, evaluation_size, find_manifest, split_names
from recon.data.split_files import Split, committed_splits, read_splits
from recon.errors import InputError

DEMO = "demo"
"""The set of the demo photos."""
TRACK_PHOTOS = {"1": 3, "2": 9}
"""SpaRe's tracks by their number of input photos."""


@dataclass(frozen=True)
class BenchSet:
    """Scenes, each with its split."""

    name: str
    track: str
    """`1`, `2` or a number of photos."""
    scenes: tuple[tuple[Scene, Split], ...]


def open_set(
    name: str, track: str, split: str | None = None, only: Sequence[str] = (), max_side: int | None = None
) -> BenchSet:
    """The set `demo`, or the folder of scenes `name`, with the split of `track`.

    Args:
        split: a file, or the name of a committed split; by default the one that belongs to the set and the track.
        only: names of scenes; those of the split that are there otherwise.
        max_side: longest side in pixels; the protocol's size otherwise, or that of the photos.

    Raises:
        InputError: no such set, split or scene, or a view or an input photo that the split names is not there.
    """
    root = find_root(name)
    splits = read_splits(_split_file(root, name, track, split))
    if unknown := sorted(set(only) - set(splits)):
        raise InputError(f"The split has no scene {', '.join(unknown)}. It has: {', '.join(splits)}.")
    chosen = list(only) or [scene for scene in splits if (root / scene).is_dir()]
    if not chosen:
        raise InputError(f"{root} has no folder of a scene of the split ({', '.join(list(splits)[:5])}, ...).")
    pairs = tuple((_open(root, scene, max_side), splits[scene]) for scene in chosen)
    for found, views in pairs:
        views.check(f"The split of {found.name}", found.indices)
        inputs = found.at(views.input_views)
        if missing := [n for n, path in zip(inputs.names, inputs.image_paths) if path is None]:
            raise InputError(f"{found.name} lacks the input photos {', '.join(missing)}. Is the download complete?")
    return BenchSet(root.name if name != DEMO else DEMO, track, pairs)


def find_root(name: str) -> Path:
    """The folder that holds the scenes of a set, one folder each.

    Raises:
        InputError: there is none.
    """
    root = CHECKOUT_FOLDER.parent if name == DEMO else Path(name).expanduser()
    if not root.is_dir() or (name == DEMO and not CHECKOUT_FOLDER.is_dir()):
        raise InputError(f"There is no set {name!r} here: give a folder with one folder for each scene, or {DEMO}.")
    return root


def open_truth(root: Path, scene: str, max_side: int | None = None) -> Scene:
    """A scene with its test photos, at the size that is measured.

    Raises:
        InputError: it is not there, or damaged.
    """
    if not (root / scene).is_dir():
        raise InputError(f"The truth {root} has no folder {scene}. Give the folder that holds those of all scenes.")
    return _open(root, scene, max_side)


def view_file(scene: Scene, index: int, suffix: str = ".png") -> str:
    """File name of the picture of the view that the split calls `index`; folders in the scene's own name are kept
    apart by underscores."""
    name = scene.names[scene.indices.index(index)].replace("/", "_")
    return f"{Path(name).stem}{suffix}"


def photo_bytes(scene: Scene, index: int) -> tuple[str, bytes]:
    """A photo as a file: as it was downloaded where nothing is to be done to it, else as a PNG of what the protocol
    gives out (straightened, shrunk, on white)."""
    row = scene.indices.index(index)
    path = scene.image_paths[row]
    assert path is not None, "withheld photos are refused when the set is opened"
    size = (int(scene.cameras.width[row]), int(scene.cameras.height[row]))
    if scene.distortion is None and file_size(path) == size:
        return view_file(scene, index, path.suffix), path.read_bytes()
    return view_file(scene, index), png_bytes(scene.image(row).mul(255).round().byte().numpy())


def png_bytes(picture: np.ndarray) -> bytes:
    """An 8-bit picture [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def photos_of_track(track: str) -> int:
    """How many inputs a track gives.

    Raises:
        InputError: neither 1, 2 nor a number of photos from 3.
    """
    if track not in TRACK_PHOTOS and not (track.isdecimal() and int(track) >= 3):
        raise InputError(f"--track is 1 (3 photos), 2 (9 photos) or a number of photos from 3, got {track!r}.")
    return TRACK_PHOTOS.get(track) or int(track)


def _open(root: Path, name: str, max_side: int | None) -> Scene:
    manifest = _manifest(root)
    scene = open_scene(root / name, None if manifest is None else manifest.format)
    own = int(scene.cameras.width[0]), int(scene.cameras.height[0])
    size = own if manifest is None or name not in manifest.scenes else evaluation_size(manifest, scene)
    if max_side is not None:
        size = shrunk_size(*size, max_side)
    return scene if size == own else scene.sized(*size)


@functools.cache
def _manifest(root: Path) -> Manifest | None:
    """The known data set whose scenes lie in `root`."""
    try:
        return find_manifest(root)
    except InputError:  # somebody's own scenes
        return None


def _split_file(root: Path, name: str, track: str, given: str | None) -> Path:
    """Raises InputError when the choice is open."""
    count = photos_of_track(track)
    if given is not None:
        return Path(given) if given.endswith(".json") else committed_splits(given)
    if name == DEMO:
        return committed_splits(f"{DEMO}_{count}")
    beside = [*sorted(root.glob(f"Track{track}_split*.json")), root / f"split_{count}.json"]
    manifest = _manifest(root)
    known = () if manifest is None else split_names(manifest)
    wanted = (f"_{count}", f"Track{track}_split", f"Track{track}_split_test", f"Track{track}_split_development")
    found = [file for file in beside if file.is_file()]
    found += [committed_splits(split) for split in known if split.endswith(wanted)]
    if len(found) != 1:
        choice = ", ".join(file.stem for file in found) or f"none beside {root} or committed for {count} photos"
        raise InputError(f"Say which split to take with --split NAME or --split FILE.json. Found: {choice}.")
    return found[0]
