"""The photo studio: a white platform in a black box under six lamps. Metres; z up; the platform's top is z = 0."""

import math
from typing import Any

import bpy
from materials import make_material
from mathutils import Vector

BOX_M = 2.4
PLATFORM_M = 0.52
LAMP_COUNT = 6
LAMP_DISTANCE_M = 0.95
LAMP_SIDE_M = 0.34
LAMP_W = 1.7
"""Of one of six: all on, the white platform comes out at about 0.8 in sRGB."""
SINGLE_LAMP_GAIN = 3.2
"""A lamp alone is turned up, as DTU's single lamps are exposed longer."""
ALL_ON = 3
"""The lighting in which all lamps are on; the other six numbers are one lamp each."""
MAT_SIDE_M = 0.46


def _paper(pattern: str, roughness: float, *colors: list[float]) -> dict[str, Any]:
    still = {"scale": 1.0, "metallic": 0.0, "transmission": 0.0, "coat": 0.0, "bump": 0.0}
    return still | {"pattern": pattern, "colors": list(colors), "roughness": roughness}


PLATFORM_WHITE = _paper("plain", 0.7, [0.78, 0.78, 0.77])
BLACK = _paper("plain", 1.0, [0.004, 0.004, 0.004])
MAT_PRINT = _paper("print", 0.8, [0.8, 0.8, 0.78], [0.05, 0.06, 0.1])


def empty_scene() -> Any:
    """Blender's scene with nothing in it."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.world = bpy.data.worlds.new("dark")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0, 0, 0, 1)
    return scene


def build_studio(scene: Any, platform: str, seed: int) -> list[Any]:
    """Box, platform (`white`, or `mat` for a printed sheet on it) and lamps; returns the lamps."""
    bpy.ops.mesh.primitive_cube_add(size=BOX_M, location=(0, 0, BOX_M / 2 - 0.6))
    bpy.context.object.data.materials.append(make_material(BLACK, seed))
    bpy.ops.mesh.primitive_cube_add(size=1, location=(0, 0, -0.01))
    table = bpy.context.object
    table.scale = (PLATFORM_M, PLATFORM_M, 0.02)
    table.data.materials.append(make_material(PLATFORM_WHITE, seed))
    if platform == "mat":
        bpy.ops.mesh.primitive_plane_add(size=MAT_SIDE_M, location=(0, 0, 0.0004))
        bpy.context.object.data.materials.append(make_material(MAT_PRINT, seed))
    return [_lamp(scene, number) for number in range(LAMP_COUNT)]


def _lamp(scene: Any, number: int) -> Any:
    """One of the six area lamps: a ring above the object, alternately steep and slanting."""
    azimuth = math.radians(60.0 * number + 30.0)
    elevation = math.radians(62.0 if number % 2 else 42.0)
    ring = LAMP_DISTANCE_M * math.cos(elevation)
    data = bpy.data.lights.new(f"lamp{number}", "AREA")
    data.shape, data.size = "SQUARE", LAMP_SIDE_M
    lamp = bpy.data.objects.new(data.name, data)
    lamp.location = (ring * math.sin(azimuth), -ring * math.cos(azimuth), LAMP_DISTANCE_M * math.sin(elevation))
    lamp.rotation_euler = (-Vector(lamp.location)).to_track_quat("-Z", "Y").to_euler()
    lamp.visible_camera = False
    scene.collection.objects.link(lamp)
    return lamp


def light(lamps: list[Any], lighting: int) -> None:
    """Switch to one of the seven lightings: 3 is all lamps, 0 1 2 4 5 6 are single ones."""
    single = lighting - (lighting > ALL_ON)
    for number, lamp in enumerate(lamps):
        if lighting == ALL_ON:
            lamp.data.energy = LAMP_W
        else:
            lamp.data.energy = LAMP_W * SINGLE_LAMP_GAIN if number == single else 0.0
