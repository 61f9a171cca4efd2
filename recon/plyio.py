"""PLY files of points: the container that splats, sparse points and other programs' clouds share.

Parsing is plyfile's. Here is what it leaves open: every way in which a file can be broken ends in an `InputError`, and
files are written whole or not at all.
"""

import re
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement

from recon.errors import InputError
from recon.files import atomic_path
from recon.types import PointCloud

MAX_HEADER_BYTES = 1 << 20


def read_vertices(path: Path | str) -> np.ndarray:
    """The `vertex` element of a PLY file (ASCII or binary, either byte order) as a structured array in memory.

    Raises:
        InputError: missing, truncated or otherwise not a PLY file with a `vertex` element of scalars.
    """
    path = Path(path)
    _check_header(path)
    try:
        # Mapped, because plyfile reads unmapped binary rows one at a time in Python (50 times slower, measured).
        with path.open("rb") as stream:
            elements = {element.name: element.data for element in PlyData.read(stream, mmap="c")}
    except OSError as error:
        raise InputError(
            f"Could not read {path}: {error.strerror or error}. Check the file and its permissions."
        ) from error
    except (Exception, RecursionError, MemoryError) as error:  # a damaged header can trip any line of the parser
        raise InputError(f"{path} is damaged: {_first_line(error)}. Export or download it again.") from error
    if "vertex" not in elements:
        found = ", ".join(elements) or "no elements"
        raise InputError(f"{path} holds no `vertex` element (found {found}). Give a PLY file of points or splats.")
    vertices = np.array(elements["vertex"])  # a copy, so that the file may be replaced
    if any(vertices.dtype[name].hasobject for name in vertices.dtype.names or ()):
        raise InputError(f"{path} has list properties on its vertices. Give a PLY file of points or splats.")
    return vertices


def write_vertices(path: Path | str, vertices: np.ndarray, comments: tuple[str, ...] = ()) -> None:
    """Write a structured array as the `vertex` element of a binary little-endian PLY file, atomically."""
    element = PlyElement.describe(vertices, "vertex")
    with atomic_path(path) as temporary:
        PlyData([element], text=False, byte_order="<", comments=list(comments)).write(str(temporary))


def write_points(path: Path | str, points: PointCloud) -> None:
    """Write a cloud as x y z, normals when known, and 8-bit red green blue; opens in MeshLab, CloudCompare, Open3D.

    Confidence and spacing go into float properties of those names, which other programs skip.
    """
    columns: dict[str, torch.Tensor] = dict(zip("xyz", points.xyz.unbind(1)))
    if points.normals is not None:
        columns |= dict(zip(("nx", "ny", "nz"), points.normals.unbind(1)))
    rgb = (points.rgb.clamp(0, 1) * 255).round().to(torch.uint8)
    columns |= dict(zip(("red", "green", "blue"), rgb.unbind(1)))
    columns["confidence"] = points.confidence
    if points.spacing is not None:
        columns["spacing"] = points.spacing
    dtype = [(name, "u1" if value.dtype == torch.uint8 else "<f4") for name, value in columns.items()]
    vertices = np.empty(len(points), dtype=dtype)
    for name, value in columns.items():
        vertices[name] = value.detach().cpu().numpy()
    write_vertices(path, vertices)


def read_points(path: Path | str) -> PointCloud:
    """Read a cloud written by `write_points` or another program: x y z, optional colour (grey without) and normals.

    Points with non-finite coordinates are left out.

    Raises:
        InputError: not a readable PLY file, or one without x, y and z.
    """
    vertices = read_vertices(path)
    names = set(vertices.dtype.names or ())
    if not {"x", "y", "z"} <= names:
        raise InputError(f"{path} has no x, y, z properties (found {', '.join(sorted(names))}). Give a PLY of points.")
    xyz = columns_of(vertices, ("x", "y", "z"))
    keep = torch.isfinite(xyz).all(1)
    rgb = _read_rgb(vertices, names)
    normals = columns_of(vertices, ("nx", "ny", "nz")) if {"nx", "ny", "nz"} <= names else None
    confidence = columns_of(vertices, ("confidence",))[:, 0] if "confidence" in names else torch.ones(len(vertices))
    spacing = columns_of(vertices, ("spacing",))[:, 0] if "spacing" in names else None
    return PointCloud(
        xyz[keep],
        rgb[keep],
        confidence[keep],
        None if normals is None else normals[keep],
        None if spacing is None else spacing[keep],
    )


def columns_of(vertices: np.ndarray, names: tuple[str, ...] | list[str]) -> torch.Tensor:
    """The named properties side by side, [N, len(names)] float32."""
    out = np.empty((len(vertices), len(names)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for column, name in enumerate(names):
            out[:, column] = vertices[name]
    return torch.from_numpy(out)


def _read_rgb(vertices: np.ndarray, names: set[str]) -> torch.Tensor:
    """Colours in [0, 1]; integer properties are divided by their range, floats taken as they are."""
    for triple in (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue")):
        if set(triple) <= names:
            dtype = vertices.dtype[triple[0]]
            scale = np.iinfo(dtype).max if dtype.kind in "iu" else 1.0
            return (torch.nan_to_num(columns_of(vertices, triple)) / float(scale)).clamp(0, 1)
    return torch.full((len(vertices), 3), 0.5)


def _check_header(path: Path) -> None:
    """Refuse early what is not a PLY file, and counts that the file is too short for.

    The parser would allocate memory, or loop, for as many rows as the header claims.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(MAX_HEADER_BYTES)
            size = stream.seek(0, 2)
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check the path.") from error
    if not head.startswith(b"ply"):
        found = "an empty file" if not head else f"it starts with {head[:8]!r}"
        raise InputError(f"{path} is not a PLY file ({found}). Export or download it again.")
    header, end, _ = head.partition(b"end_header")
    if not end:
        raise InputError(f"{path} is damaged: its header has no end. Export or download it again.")
    for count in re.findall(rb"^\s*element\s+\S+\s+(\d+)", header, re.MULTILINE):
        if len(count) > 15 or int(count) > size:
            raise InputError(
                f"{path} is truncated: {count.decode()} rows announced in a file of {size} bytes. "
                "Export or download it again."
            )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text or type(error).__name__
