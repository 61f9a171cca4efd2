"""Shapes made by code: each a function of the scene's entry and a seed that returns one mesh object at the origin.

Sizes here are relative; `objects` scales every shape to its height in metres. Modifiers stay on the object.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import bmesh
import bpy
from mathutils import Matrix, Vector, noise

Entry = dict[str, Any]


def _mesh_object(name: str, vertices: list[Any], faces: list[Any]) -> Any:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices, [], faces)
    mesh.validate()
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def _smooth(item: Any, levels: int = 0) -> Any:
    item.data.polygons.foreach_set("use_smooth", [True] * len(item.data.polygons))
    if levels:
        modifier = item.modifiers.new("smooth", "SUBSURF")
        modifier.levels = modifier.render_levels = levels
    return item


def _stretch(item: Any, entry: Entry) -> Any:
    """Relative sides `stretch: [x, y, z]`."""
    x, y, z = entry["stretch"]
    item.data.transform(Matrix.Diagonal((x, y, z, 1)))
    return item


def _sphere(entry: Entry, seed: int) -> Any:
    bpy.ops.mesh.primitive_uv_sphere_add(segments=96, ring_count=48)
    return _stretch(_smooth(bpy.context.object), entry)


def _box(entry: Entry, seed: int) -> Any:
    bpy.ops.mesh.primitive_cube_add(size=1)
    item = _stretch(bpy.context.object, entry)
    bevel = item.modifiers.new("bevel", "BEVEL")
    bevel.width, bevel.segments = 0.03 * min(entry["stretch"]), 3
    return item


def _torus(entry: Entry, seed: int) -> Any:
    bpy.ops.mesh.primitive_torus_add(major_segments=96, minor_segments=32, minor_radius=0.3)
    return _stretch(_smooth(bpy.context.object), entry)


def _monkey(entry: Entry, seed: int) -> Any:
    bpy.ops.mesh.primitive_monkey_add()
    return _smooth(bpy.context.object, 2)


def _lathe(entry: Entry, seed: int) -> Any:
    """A body of revolution: `profile: [[radius, height], ...]` from the foot up, smoothed, 96 steps around.

    With `wall` (relative thickness) it is a hollow vessel, open at the top.
    """
    steps = 96
    profile = entry["profile"]
    vertices = [
        (r * math.cos(a), r * math.sin(a), z)
        for r, z in profile
        for a in (2 * math.pi * k / steps for k in range(steps))
    ]
    faces: list[Any] = [
        (row * steps + k, row * steps + (k + 1) % steps, (row + 1) * steps + (k + 1) % steps, (row + 1) * steps + k)
        for row in range(len(profile) - 1)
        for k in range(steps)
    ]
    faces.append(tuple(reversed(range(steps))))
    if not entry["wall"]:
        faces.append(tuple(range((len(profile) - 1) * steps, len(profile) * steps)))
    item = _mesh_object("lathe", vertices, faces)
    if entry["wall"]:
        shell = item.modifiers.new("wall", "SOLIDIFY")
        shell.thickness, shell.offset = entry["wall"], -1.0
    return _smooth(item, 2)


def _stone(entry: Entry, seed: int) -> Any:
    """A sphere dented by fractal noise."""
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=6)
    item = bpy.context.object
    offset = Vector([random.Random(seed).uniform(-20, 20) for _ in range(3)])
    for vertex in item.data.vertices:
        swell = 0.28 * noise.fractal(1.1 * vertex.co + offset, 1.0, 2.0, 3)
        grain = 0.02 * noise.fractal(9.0 * vertex.co + offset, 1.0, 2.0, 3)
        vertex.co *= 1.0 + swell + grain
    return _stretch(_smooth(item), entry)


def _blocks(entry: Entry, seed: int) -> Any:
    """A tower of `count` layers of three blocks, alternately crossed, each a little out of place."""
    chance = random.Random(seed)
    length, side, height = 3.0, 0.96, 0.6
    mesh = bmesh.new()
    for layer in range(entry["count"]):
        turn = Matrix.Rotation(math.pi / 2 * (layer % 2) + chance.uniform(-0.03, 0.03), 4, "Z")
        for k in range(3):
            if 1 < layer < entry["count"] - 1 and chance.random() < 0.14:
                continue
            place = Vector((chance.uniform(-0.12, 0.12), k - 1.0, layer * height))
            block = Matrix.Diagonal((length, side, 0.97 * height, 1))
            bmesh.ops.create_cube(mesh, size=1, matrix=turn @ Matrix.Translation(place) @ block)
    item = _mesh_object("blocks", [], [])
    mesh.to_mesh(item.data)
    mesh.free()
    bevel = item.modifiers.new("bevel", "BEVEL")
    bevel.width, bevel.segments = 0.03, 2
    return item


def _cage(entry: Entry, seed: int) -> Any:
    """Thin wires along the edges of a coarse ball."""
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=entry["count"])
    item = _stretch(bpy.context.object, entry)
    wires = item.modifiers.new("wires", "WIREFRAME")
    wires.thickness = entry["wall"] or 0.03
    return item


def _spring(entry: Entry, seed: int) -> Any:
    """A wire wound `count` times around the vertical."""
    steps, ring = 60, 10
    total = steps * entry["count"]
    wire = entry["wall"] or 0.06
    vertices, faces = [], []
    for i in range(total + 1):
        angle = 2 * math.pi * i / steps
        center = Vector((math.cos(angle), math.sin(angle), entry["stretch"][2] * 2 * i / total))
        out = Vector((math.cos(angle), math.sin(angle), 0))
        for k in range(ring):
            t = 2 * math.pi * k / ring
            vertices.append(center + wire * (math.cos(t) * out + math.sin(t) * Vector((0, 0, 1))))
    for i in range(total):
        for k in range(ring):
            a, b = i * ring + k, i * ring + (k + 1) % ring
            faces.append((a, b, b + ring, a + ring))
    return _smooth(_mesh_object("spring", vertices, faces))


def _leaves(entry: Entry, seed: int) -> Any:
    """A bush of `count` arched leaves that grow from one point."""
    chance = random.Random(seed)
    vertices: list[Any] = []
    faces: list[Any] = []
    for number in range(entry["count"]):
        turn = Matrix.Rotation(2.4 * number + chance.uniform(-0.3, 0.3), 3, "Z")  # the golden angle, nearly
        steep = chance.uniform(0.5, 1.35)
        _add_leaf(vertices, faces, turn, steep, length=chance.uniform(0.7, 1.1), width=chance.uniform(0.09, 0.16))
    item = _mesh_object("leaves", vertices, faces)
    shell = item.modifiers.new("thickness", "SOLIDIFY")
    shell.thickness = 0.006
    return _smooth(item, 1)


def _add_leaf(
    vertices: list[Any], faces: list[Any], turn: Any, steep: float, *, length: float, width: float, steps: int = 12
) -> None:
    """A blade that starts `steep` radians above the horizontal and bends over, creased along its middle."""
    spot, start = Vector((0.02, 0, 0)), len(vertices)
    for i in range(steps + 1):
        along = i / steps
        half = width * math.sin(math.pi * (0.06 + 0.94 * along)) ** 0.8 + 0.004
        vertices += [turn @ (spot + Vector((0, side * half, 0.35 * abs(side) * half))) for side in (-1, 0, 1)]
        angle = steep - 1.5 * along**1.5
        spot = spot + length / steps * Vector((math.cos(angle), 0, math.sin(angle)))
    for i in range(steps):
        a = start + 3 * i
        faces += [(a, a + 1, a + 4, a + 3), (a + 1, a + 2, a + 5, a + 4)]


def _cloth(entry: Entry, seed: int) -> Any:
    """A sheet that falls over a rounded support in folds."""
    chance, n = random.Random(seed), 220
    phase, folds = chance.uniform(0, 6.28), entry["count"]
    vertices, faces = [], []
    for row in range(n + 1):
        for column in range(n + 1):
            x, y = 2 * column / n - 1, 2 * row / n - 1
            r, angle = math.hypot(x, y), math.atan2(y, x)
            drop = 1 / (1 + math.exp(-9 * (r - 0.55)))
            wave = math.sin(folds * angle + phase) + 0.5 * math.sin((2 * folds + 1) * angle)
            pull = 1 - 0.32 * drop + 0.07 * drop * wave
            ripple = 0.02 * noise.noise(Vector((4 * x, 4 * y, phase)))
            vertices.append((x * pull, y * pull, 0.9 * (1 - drop) + 0.05 * drop * (1 + wave) * r + ripple))
    for row in range(n):
        for column in range(n):
            a = row * (n + 1) + column
            faces.append((a, a + 1, a + n + 2, a + n + 1))
    item = _mesh_object("cloth", vertices, faces)
    shell = item.modifiers.new("thickness", "SOLIDIFY")
    shell.thickness = 0.01
    return _smooth(item)


def _gear(entry: Entry, seed: int) -> Any:
    """A toothed wheel with a hole, standing on its rim, `count` teeth."""
    teeth = entry["count"]
    rim = []
    for k in range(teeth):
        for part, radius in ((0.0, 0.84), (0.3, 0.84), (0.4, 1.0), (0.7, 1.0)):
            rim.append((2 * math.pi * (k + part) / teeth, radius))
    n = len(rim)
    vertices = [
        (r * math.cos(a), y, r * math.sin(a))
        for y in (-0.13, 0.13)
        for ring in (rim, [(a, 0.3) for a, _ in rim])
        for a, r in ring
    ]
    faces = []
    for k in range(n):
        j = (k + 1) % n
        faces += [(k, j, n + j, n + k), (2 * n + j, 2 * n + k, 3 * n + k, 3 * n + j)]
        faces += [(j, k, 2 * n + k, 2 * n + j), (n + k, n + j, 3 * n + j, 3 * n + k)]
    item = _mesh_object("gear", vertices, faces)
    bevel = item.modifiers.new("bevel", "BEVEL")
    bevel.width, bevel.segments = 0.012, 2
    return item


SHAPES: dict[str, Callable[[Entry, int], Any]] = {
    "sphere": _sphere,
    "box": _box,
    "torus": _torus,
    "monkey": _monkey,
    "lathe": _lathe,
    "stone": _stone,
    "blocks": _blocks,
    "cage": _cage,
    "spring": _spring,
    "leaves": _leaves,
    "cloth": _cloth,
    "gear": _gear,
}
