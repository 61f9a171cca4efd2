"""COLMAP's model files, binary and text: https://colmap.github.io/format.html

Read and written here rather than through pycolmap: its native library and Pillow in one process ended in heap
corruption, a child process only to parse three small files is slow, and these files can be checked row by row so that
a damaged one is a plain error.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.files import atomic_path

# id: (name, number of parameters); src/colmap/sensor/models.h of COLMAP, documented at colmap.github.io/cameras.html
CAMERA_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}
MODEL_IDS = {name: i for i, (name, _) in CAMERA_MODELS.items()}
NO_POINT = (1 << 64) - 1
KINDS = ("cameras", "images", "points3D")


@dataclass(frozen=True)
class ColmapCamera:
    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True)
class ColmapImage:
    name: str
    camera_id: int
    quat: tuple[float, ...]
    """wxyz, camera from world."""
    translation: tuple[float, ...]
    observations: tuple[tuple[float, float, int], ...] = ()
    """(x, y, point id) in pixels from the corner of the first pixel; NO_POINT where it belongs to no 3D point."""


@dataclass(frozen=True)
class ColmapPoint:
    xyz: tuple[float, ...]
    rgb: tuple[int, ...]
    error_px: float
    track: tuple[tuple[int, int], ...] = ()
    """(image id, index into its observations)."""


@dataclass(frozen=True)
class ColmapModel:
    cameras: dict[int, ColmapCamera]
    images: dict[int, ColmapImage]
    points: dict[int, ColmapPoint]


def read_files(folder: Path) -> ColmapModel:
    """Read `cameras`, `images` and, when there, `points3D` from `folder`; binary is preferred as COLMAP does.

    Raises:
        InputError: a file is missing or damaged.
    """
    binary = (folder / "cameras.bin").exists()
    if not binary and not (folder / "cameras.txt").exists():
        raise InputError(
            f"{folder} holds no COLMAP model (no cameras.bin or cameras.txt). Give a folder such as sparse/0."
        )
    readers: tuple[Callable[[bytes], dict], ...] = (_text_cameras, _text_images, _text_points)
    if binary:
        readers = (_binary_cameras, _binary_images, _binary_points)
    parts: list[dict] = []
    for kind, reader in zip(KINDS, readers):
        path = folder / f"{kind}.{'bin' if binary else 'txt'}"
        if kind == "points3D" and not path.exists():
            parts.append({})
            continue
        parts.append(_read(path, reader))
    return ColmapModel(*parts)


def write_files(folder: Path, model: ColmapModel) -> None:
    """Write the binary files, each atomically.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    for kind, data in zip(KINDS, (_pack_cameras(model), _pack_images(model), _pack_points(model))):
        with atomic_path(folder / f"{kind}.bin") as temporary:
            temporary.write_bytes(data)


def _read(path: Path, reader: Callable[[bytes], dict]) -> dict:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check the COLMAP folder.") from error
    try:
        return reader(data)
    except (ValueError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise InputError(f"{path} is damaged ({error}). Export the COLMAP model again.") from error


class _Cursor:
    """Little-endian values one after another; running off the end is a struct.error."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def rows(self, dtype: np.dtype) -> np.ndarray:
        """A count (uint64), then as many rows."""
        (count,) = self.take("Q")
        size = count * dtype.itemsize
        if size > len(self.data) - self.at:
            raise ValueError("it is truncated")
        self.at += size
        return np.frombuffer(self.data, dtype, count, self.at - size)

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        value = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return value


_OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<u8")])
_TRACK = np.dtype([("image", "<u4"), ("index", "<u4")])


def _binary_cameras(data: bytes) -> dict[int, ColmapCamera]:
    cursor = _Cursor(data)
    cameras: dict[int, ColmapCamera] = {}
    for _ in range(cursor.take("Q")[0]):
        camera_id, model_id, width, height = cursor.take("IiQQ")
        if model_id not in CAMERA_MODELS:
            raise ValueError(f"camera model {model_id} is unknown")
        model, n_params = CAMERA_MODELS[model_id]
        _check_new(camera_id, cameras)
        cameras[camera_id] = ColmapCamera(model, width, height, cursor.take(f"{n_params}d"))
    return cameras


def _binary_images(data: bytes) -> dict[int, ColmapImage]:
    cursor = _Cursor(data)
    images: dict[int, ColmapImage] = {}
    for _ in range(cursor.take("Q")[0]):
        image_id, *pose, camera_id = cursor.take("I7dI")
        name = cursor.text()
        seen = cursor.rows(_OBSERVATION)
        _check_new(image_id, images)
        images[image_id] = ColmapImage(name, camera_id, tuple(pose[:4]), tuple(pose[4:]), tuple(seen.tolist()))
    return images


def _binary_points(data: bytes) -> dict[int, ColmapPoint]:
    cursor = _Cursor(data)
    points: dict[int, ColmapPoint] = {}
    for _ in range(cursor.take("Q")[0]):
        point_id, x, y, z, r, g, b, error = cursor.take("Q3d3Bd")
        _check_new(point_id, points)
        points[point_id] = ColmapPoint((x, y, z), (r, g, b), error, tuple(cursor.rows(_TRACK).tolist()))
    return points


def _check_new(key: int, read: dict) -> None:
    if key in read:
        raise ValueError(f"id {key} appears twice")


def _lines(data: bytes) -> Iterator[str]:
    for line in data.decode("utf-8").splitlines():
        if not line.lstrip().startswith("#"):
            yield line.strip()


def _text_cameras(data: bytes) -> dict[int, ColmapCamera]:
    cameras: dict[int, ColmapCamera] = {}
    for line in filter(None, _lines(data)):
        camera_id, model, width, height, *params = line.split()
        if model not in MODEL_IDS:
            raise ValueError(f"camera model {model} is unknown")
        if len(params) != CAMERA_MODELS[MODEL_IDS[model]][1]:
            raise ValueError(f"camera {camera_id} has {len(params)} parameters")
        _check_new(int(camera_id), cameras)
        cameras[int(camera_id)] = ColmapCamera(model, int(width), int(height), tuple(map(float, params)))
    return cameras


def _text_images(data: bytes) -> dict[int, ColmapImage]:
    """Two lines an image: the pose, and the observations, which may be an empty line."""
    lines = list(_lines(data))
    while lines and not lines[0]:
        lines.pop(0)
    images: dict[int, ColmapImage] = {}
    for i in range(0, len(lines), 2):
        if not lines[i]:
            continue
        image_id, *pose, camera_id, name = lines[i].split(maxsplit=9)
        if len(pose) != 7:
            raise ValueError(f"line {lines[i]!r} is not an image")
        numbers = lines[i + 1].split() if i + 1 < len(lines) else []
        seen = tuple(
            (float(x), float(y), NO_POINT if point == "-1" else int(point))
            for x, y, point in zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True)
        )
        values = tuple(map(float, pose))
        _check_new(int(image_id), images)
        images[int(image_id)] = ColmapImage(name, int(camera_id), values[:4], values[4:], seen)
    return images


def _text_points(data: bytes) -> dict[int, ColmapPoint]:
    points: dict[int, ColmapPoint] = {}
    for line in filter(None, _lines(data)):
        point_id, x, y, z, r, g, b, error, *track = line.split()
        pairs = tuple(zip(map(int, track[0::2]), map(int, track[1::2]), strict=True))
        xyz = (float(x), float(y), float(z))
        _check_new(int(point_id), points)
        points[int(point_id)] = ColmapPoint(xyz, (int(r), int(g), int(b)), float(error), pairs)
    return points


def _pack_cameras(model: ColmapModel) -> bytes:
    out = [struct.pack("<Q", len(model.cameras))]
    for camera_id, c in model.cameras.items():
        out.append(struct.pack("<IiQQ", camera_id, MODEL_IDS[c.model], c.width, c.height))
        out.append(struct.pack(f"<{len(c.params)}d", *c.params))
    return b"".join(out)


def _pack_images(model: ColmapModel) -> bytes:
    out = [struct.pack("<Q", len(model.images))]
    for image_id, image in model.images.items():
        out.append(struct.pack("<I7dI", image_id, *image.quat, *image.translation, image.camera_id))
        out.append(image.name.encode("utf-8") + b"\0" + struct.pack("<Q", len(image.observations)))
        out.append(np.array(list(image.observations), _OBSERVATION).tobytes())
    return b"".join(out)


def _pack_points(model: ColmapModel) -> bytes:
    out = [struct.pack("<Q", len(model.points))]
    for point_id, point in model.points.items():
        out.append(struct.pack("<Q3d3BdQ", point_id, *point.xyz, *point.rgb, point.error_px, len(point.track)))
        out.append(np.array(list(point.track), _TRACK).tobytes())
    return b"".join(out)
