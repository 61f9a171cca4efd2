"""Textured meshes as files: GLB, OBJ with its material and texture, PLY with colours at the vertices."""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from recon.files import atomic_path, write_text
from recon.mesh.surface import TexturedMesh
from recon.types import Cameras

SUFFIXES = (".glb", ".obj", ".ply")
SNAP = 0.97
"""Cosine (14 degrees) up to which an axis of the world is taken for the vertical."""
JPEG_QUALITY = 92


def write_mesh(path: Path, mesh: TexturedMesh, y_up: Float[np.ndarray, "3 3"]) -> None:
    """Write `mesh` in the format of the suffix: .glb, .obj (with .mtl and .png beside it) or .ply.

    GLB and OBJ are turned by `y_up`, as their readers expect; the origin and the scale stay the run's. PLY stays in
    the run's world, where splats.ply and points.ply are.

    Raises:
        ValueError: another suffix.
        ResourceError: the folder is not writable or the disk is full.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"a mesh is written as {', '.join(SUFFIXES)}, got {path}")
    if kind == ".glb":
        content = _glb(mesh, y_up)
    elif kind == ".obj":
        _write_texture(path.with_suffix(".png"), mesh)
        write_text(path.with_suffix(".mtl"), _material(path.with_suffix(".png").name))
        content = _obj(mesh, y_up, path.with_suffix(".mtl").name).encode()
    else:
        content = _ply(mesh)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def y_up_rotation(cameras: Cameras) -> Float[np.ndarray, "3 3"]:
    """The rotation of the world that makes up +y, and the way the cameras look on average -z.

    Up is where the photos' upper edges point, level with their horizontals; an axis of the world that is almost there
    is taken for it, so that a world that has a vertical keeps it.
    """
    world_from_cam = cameras.world_from_cam.double()
    right, mean_up = world_from_cam[:, :3, 0], -world_from_cam[:, :3, 1].mean(0)
    # Photos are seldom rolled: up is across all their horizontals. Where these are parallel, the mean decides.
    spread = right.T @ right / len(right) - 0.1 * torch.outer(mean_up, mean_up)
    up = torch.linalg.eigh(spread).eigenvectors[:, 0]
    up = up * torch.where(up @ mean_up < 0, -1.0, 1.0)
    if up.abs().max() > SNAP:
        up = torch.where(up.abs() == up.abs().max(), up.sign(), torch.zeros_like(up))
    back = -world_from_cam[:, :3, 2].mean(0)
    back = back - (back @ up) * up
    if torch.linalg.vector_norm(back) < 1e-3:  # the cameras stand all around: any heading will do
        back = torch.linalg.cross(torch.eye(3, dtype=up.dtype)[int(up.abs().argmin())], up)
    back = torch.nn.functional.normalize(back, dim=0)
    return torch.stack([torch.linalg.cross(up, back), up, back]).numpy()


def _turned(mesh: TexturedMesh, y_up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and normals with y up."""
    turn = y_up.T.astype(np.float32)
    return mesh.surface.vertices @ turn, mesh.surface.normals() @ turn


def _glb(mesh: TexturedMesh, y_up: np.ndarray) -> bytes:
    """Binary glTF. The texture holds light as the photos saw it, so the material is unlit (KHR_materials_unlit)."""
    import trimesh
    from trimesh.visual.material import PBRMaterial

    vertices, normals = _turned(mesh, y_up)
    material = PBRMaterial(
        name="photos", baseColorTexture=_as_jpeg(mesh), metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    shape = trimesh.Trimesh(
        vertices, mesh.surface.faces, vertex_normals=normals, process=False,
        visual=trimesh.visual.TextureVisuals(uv=mesh.uv, material=material),
    )  # fmt: skip

    def unlit(tree: dict) -> None:
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_materials_unlit"]
        for entry in tree["materials"]:
            entry["extensions"] = {"KHR_materials_unlit": {}}

    return trimesh.exchange.gltf.export_glb(trimesh.Scene(shape), include_normals=True, tree_postprocessor=unlit)


def _as_jpeg(mesh: TexturedMesh) -> Image.Image:
    """The texture as a picture that was read from a JPEG: trimesh stores it as such, a fifth of PNG's size."""
    stream = io.BytesIO()
    Image.fromarray(mesh.texture).save(stream, "JPEG", quality=JPEG_QUALITY)
    return Image.open(stream)


def _write_texture(path: Path, mesh: TexturedMesh) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(mesh.texture).save(temporary, compress_level=4)


def _material(texture: str) -> str:
    return f"newmtl photos\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 0\nmap_Kd {texture}\n"


def _obj(mesh: TexturedMesh, y_up: np.ndarray, material: str) -> str:
    """Wavefront OBJ: positions, texture coordinates and normals share their numbers, which count from 1."""
    vertices, normals = _turned(mesh, y_up)
    lines = [f"mtllib {material}", "o scene"]
    lines += [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in vertices.tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.uv.tolist()]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in normals.tolist()]
    lines += ["usemtl photos"]
    lines += [f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in (mesh.surface.faces + 1).tolist()]
    return "\n".join(lines) + "\n"


def _ply(mesh: TexturedMesh) -> bytes:
    import trimesh

    colors = np.rint(255 * mesh.surface.colors).astype(np.uint8)
    shape = trimesh.Trimesh(mesh.surface.vertices, mesh.surface.faces, vertex_colors=colors, process=False)
    return trimesh.exchange.ply.export_ply(shape)
