"""Reading a mesh to look at: GLB and OBJ (y up, as glTF says and OBJ is used) and PLY with faces."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError

_HEADER_BYTES = 4096
_MATERIALS = (".mtl", ".png", ".jpg", ".jpeg")
_Y_UP = (".glb", ".obj")
# Ours, as files from OpenCV poses, has -y up.
_OURS_FROM_Y_UP = np.diag([1.0, -1.0, -1.0, 1.0])


def is_mesh(path: Path) -> bool:
    """Whether a file holds triangles rather than splats."""
    if path.suffix.lower() in _Y_UP:
        return True
    if path.suffix.lower() != ".ply":
        return False
    header = path.open("rb").read(_HEADER_BYTES).split(b"end_header")[0]
    return any(line.startswith(b"element face ") and line.split()[2] != b"0" for line in header.splitlines())


def read_mesh(path: Path) -> Any:
    """A `trimesh.Trimesh` in our axes. The file cannot make us open others, but a material and pictures beside an OBJ.

    Raises:
        InputError: the file is damaged or empty.
    """
    import trimesh  # which viser brings

    kind = path.suffix.lower().removeprefix(".")
    try:
        beside = {"resolver": _beside(path)} if kind == "obj" else {}
        loaded = trimesh.load(io.BytesIO(path.read_bytes()), file_type=kind, process=False, **beside)
        mesh = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
        if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
            raise ValueError("it holds no triangles")
    except Exception as error:  # trimesh passes on whatever its parsers stumble over
        raise InputError(f"{path} cannot be read as a mesh: {error}. Export it again.") from error
    if path.suffix.lower() in _Y_UP:
        mesh.apply_transform(_OURS_FROM_Y_UP)
    return mesh


def _beside(path: Path) -> Any:
    """Gives trimesh the files that an OBJ names, if they are in its own folder and what an OBJ needs."""
    from trimesh.resolvers import FilePathResolver

    class Beside(FilePathResolver):
        def get(self, name: str) -> bytes:
            file = path.parent / name.strip()
            if file.suffix.lower() not in _MATERIALS or file.resolve().parent != path.parent.resolve():
                raise ValueError(f"{name} is not a material or a picture beside {path.name}")
            return file.read_bytes()

    return Beside(str(path))


def to_glb(mesh: Any) -> bytes:
    """A mesh for the browser. Colours hold light as the photos saw it, so it is lit only if it has none."""
    import trimesh

    def unlit(tree: dict[str, Any]) -> None:
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_materials_unlit"]
        for entry in tree.setdefault("materials", []):
            entry["extensions"] = {**entry.get("extensions", {}), "KHR_materials_unlit": {}}

    coloured = mesh.visual.defined
    data: bytes = trimesh.exchange.gltf.export_glb(trimesh.Scene(mesh), tree_postprocessor=unlit if coloured else None)
    return data
