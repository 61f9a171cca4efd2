"""One object of a scene: a shape made by code or a model file, sized, placed and given its material."""

import math
from pathlib import Path
from typing import Any

import bpy
from materials import make_material
from mathutils import Matrix, Vector
from shapes import SHAPES

OBJECT_INDEX = 1
"""The pass index of everything that belongs in the mask."""


def build_object(scene: Any, entry: dict[str, Any], *, models: Path, seed: int) -> None:
    """Add one entry of a scene's `objects`: it stands on the platform, `height_m` high, centred at `at_m`."""
    parts = _import_model(models / entry["model"]) if entry.get("model") else _make_shape(entry, seed)
    bpy.context.view_layer.update()
    _place(parts, entry)
    for part in parts:
        part.pass_index = OBJECT_INDEX


def _make_shape(entry: dict[str, Any], seed: int) -> list[Any]:
    part = SHAPES[entry["shape"]](entry, seed)
    part.data.materials.clear()
    part.data.materials.append(make_material(entry["material"], seed))
    return [part]


def _import_model(path: Path) -> list[Any]:
    """The meshes of a glTF file, without its cameras, lights, animation and hierarchy."""
    before = set(bpy.data.objects)
    bpy.ops.import_scene.gltf(filepath=str(path))
    new = [item for item in bpy.data.objects if item not in before]
    bpy.context.view_layer.update()
    meshes = [item for item in new if item.type == "MESH" and not item.hide_get()]
    for item in meshes:
        world = item.matrix_world.copy()
        item.animation_data_clear()
        item.parent = None
        item.matrix_world = world
    for item in set(new) - set(meshes):
        bpy.data.objects.remove(item)
    return meshes


def _place(parts: list[Any], entry: dict[str, Any]) -> None:
    """Turn about the vertical, tip, scale to the height and set down."""
    spin = Matrix.Rotation(math.radians(entry["turn_deg"]), 4, "Z") @ Matrix.Rotation(
        math.radians(entry["tip_deg"]), 4, "X"
    )
    low, high = _bounds([spin @ part.matrix_world for part in parts], parts)
    scale = entry["height_m"] / max(high.z - low.z, 1e-9)
    x, y = entry["at_m"]
    foot = Vector((x, y, entry["lift_m"])) - scale * Vector(((low.x + high.x) / 2, (low.y + high.y) / 2, low.z))
    for part in parts:
        part.matrix_world = Matrix.Translation(foot) @ Matrix.Scale(scale, 4) @ spin @ part.matrix_world


def _bounds(matrices: list[Any], parts: list[Any]) -> tuple[Vector, Vector]:
    """Corners of the box around all vertices (after modifiers), each part under its matrix."""
    graph = bpy.context.evaluated_depsgraph_get()
    low, high = Vector([math.inf] * 3), Vector([-math.inf] * 3)
    for matrix, part in zip(matrices, parts):
        for vertex in part.evaluated_get(graph).data.vertices:
            point = matrix @ vertex.co
            low = Vector(map(min, low, point))
            high = Vector(map(max, high, point))
    return low, high
