"""Reading a mesh to look at: GLB (y up, as glTF says) and PLY with faces."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError

_HEADER_BYTES = 4096
# glTF has y up; ours, as files from OpenCV poses, has -y up.
_OURS_FROM_GLTF = np.diag([1.0, -1.0, -1.0, 1.0])


def is_mesh(path: Path) -> bool:
    """Whether a file holds triangles rather than splats."""
    if path.suffix.lower() == ".glb":
        return True
    if path.suffix.lower() != ".ply":
        return False
    header = path.open("rb").read(_HEADER_BYTES).split(b"end_header")[0]
    return any(line.startswith(b"element face ") and line.split()[2] != b"0" for line in header.splitlines())


def read_mesh(path: Path) -> Any:
    """A `trimesh.Trimesh` in our axes. Read from memory: the file cannot make us open others.

    Raises:
        InputError: the file is damaged or empty.
    """
    import trimesh  # which viser brings

    kind = path.suffix.lower().removeprefix(".")
    try:
        loaded = trimesh.load(io.BytesIO(path.read_bytes()), file_type=kind, process=False)
        mesh = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
        if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
            raise ValueError("it holds no triangles")
    except Exception as error:  # trimesh passes on whatever its parsers stumble over
        raise InputError(f"{path} cannot be read as a mesh: {error}. Export it again.") from error
    if kind == "glb":
        mesh.apply_transform(_OURS_FROM_GLTF)
    return mesh
