"""Materials made of shader nodes, so that textures need no files. Coordinates are metres of the object as modelled."""

import random
from collections.abc import Callable
from typing import Any

import bpy

Spec = dict[str, Any]
Pattern = Callable[["Graph", Spec], Any]


class Graph:
    """A material's nodes, with the seed that moves its patterns about."""

    def __init__(self, material: Any, seed: int) -> None:
        self.tree = material.node_tree
        self.offset = tuple(random.Random(seed).uniform(-50, 50) for _ in range(3))

    def node(self, kind: str, **inputs: Any) -> Any:
        """A node of `kind`; inputs are values, or sockets to link from. Spaces in names are written `_`."""
        node = self.tree.nodes.new(kind)
        for name, value in inputs.items():
            socket = node.inputs[name.replace("_", " ")]
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return node

    def position(self, stretch: tuple[float, float, float] = (1, 1, 1)) -> Any:
        """Object coordinates, shifted by the seed: no two seeds see the same part of a pattern."""
        where = self.node("ShaderNodeTexCoord").outputs["Object"]
        return self.node("ShaderNodeMapping", Vector=where, Location=self.offset, Scale=stretch).outputs["Vector"]

    def ramp(self, factor: Any, colors: list[list[float]], hard: bool = False) -> Any:
        """Colours spread evenly over 0 to 1."""
        ramp = self.node("ShaderNodeValToRGB", Fac=factor)
        ramp.color_ramp.interpolation = "CONSTANT" if hard else "LINEAR"
        elements = ramp.color_ramp.elements
        while len(elements) < len(colors):
            elements.new(1.0)
        steps = len(colors) if hard else max(len(colors) - 1, 1)
        for i, color in enumerate(colors):
            elements[i].position, elements[i].color = min(i / steps, 1.0), (*color, 1.0)
        return ramp.outputs["Color"]

    def mix(self, factor: Any, a: Any, b: Any) -> Any:
        """`a` where factor is 0, `b` where it is 1."""
        node = self.node("ShaderNodeMixRGB", Fac=factor, Color1=a, Color2=b)
        return node.outputs["Color"]


def make_material(spec: Spec, seed: int) -> Any:
    """A material from a `material:` of a scene file."""
    material = bpy.data.materials.new(spec["pattern"])
    material.use_nodes = True
    surface = material.node_tree.nodes["Principled BSDF"]
    values = {
        "Roughness": spec["roughness"],
        "Metallic": spec["metallic"],
        "Transmission Weight": spec["transmission"],
        "Coat Weight": spec["coat"],
        "IOR": 1.45,
    }
    for name, value in values.items():
        surface.inputs[name].default_value = value
    graph = Graph(material, seed)
    color = PATTERNS[spec["pattern"]](graph, spec)
    if not isinstance(color, bpy.types.NodeSocket):
        surface.inputs["Base Color"].default_value = (*color, 1.0)
        return material
    graph.tree.links.new(color, surface.inputs["Base Color"])
    if spec["bump"] > 0:
        bump = graph.node("ShaderNodeBump", Height=color, Strength=spec["bump"], Distance=0.002)
        graph.tree.links.new(bump.outputs["Normal"], surface.inputs["Normal"])
    return material


def _plain(graph: Graph, spec: Spec) -> Any:
    return spec["colors"][0]


def _noise(graph: Graph, spec: Spec) -> Any:
    field = graph.node("ShaderNodeTexNoise", Vector=graph.position(), Scale=spec["scale"], Detail=8.0, Roughness=0.65)
    stretched = graph.node("ShaderNodeMapRange", Value=field.outputs["Fac"])
    stretched.inputs["From Min"].default_value, stretched.inputs["From Max"].default_value = 0.3, 0.7
    return graph.ramp(stretched.outputs["Result"], spec["colors"])


def _cells(graph: Graph, spec: Spec) -> Any:
    """Irregular tiles of the colours, with dark joints."""
    place, scale = graph.position(), spec["scale"]
    tiles = graph.node("ShaderNodeTexVoronoi", Vector=place, Scale=scale)
    shade = graph.node("ShaderNodeSeparateColor", Color=tiles.outputs["Color"]).outputs["Red"]
    edges = graph.node("ShaderNodeTexVoronoi", Vector=place, Scale=scale)
    edges.feature = "DISTANCE_TO_EDGE"
    joint = graph.node("ShaderNodeMath")
    joint.operation = "LESS_THAN"
    graph.tree.links.new(edges.outputs["Distance"], joint.inputs[0])
    joint.inputs[1].default_value = 0.05
    return graph.mix(joint.outputs["Value"], graph.ramp(shade, spec["colors"], hard=True), (0.03, 0.03, 0.03, 1))


def _wood(graph: Graph, spec: Spec) -> Any:
    """Grain along x: noise drawn out, over rings."""
    scale = spec["scale"]
    grain = graph.node("ShaderNodeTexNoise", Vector=graph.position((0.08, 1, 1)), Scale=scale * 4, Detail=6.0)
    along = graph.position((0.15, 1, 1))
    rings = graph.node("ShaderNodeTexWave", Vector=along, Scale=scale, Distortion=6.0, Detail=3.0)
    factor = graph.mix(0.5, grain.outputs["Fac"], rings.outputs["Fac"])
    return graph.ramp(factor, spec["colors"])


def _checker(graph: Graph, spec: Spec) -> Any:
    a, b = ((*color, 1.0) for color in spec["colors"][:2])
    scale = spec["scale"]
    board = graph.node("ShaderNodeTexChecker", Vector=graph.position(), Scale=scale, Color1=a, Color2=b)
    return graph.mix(0.25, board.outputs["Color"], _noise(graph, spec | {"scale": 2 * scale}))


def _weave(graph: Graph, spec: Spec) -> Any:
    """Two crossing sets of threads, over a broad stain."""
    scale = spec["scale"]
    warp, weft = (
        graph.node("ShaderNodeTexWave", Vector=graph.position(stretch), Scale=scale).outputs["Fac"]
        for stretch in ((1, 0, 0), (0, 1, 0))
    )
    threads = graph.mix(0.5, warp, weft)
    broad = _noise(graph, spec | {"scale": scale / 12})
    return graph.mix(0.35, broad, threads)


def _print(graph: Graph, spec: Spec) -> Any:
    """A printed sheet: random marks of three sizes, which features of any scale hold on to."""
    paper, ink = spec["colors"]
    color: Any = (*paper, 1.0)
    for scale, share in ((14.0, 0.45), (45.0, 0.5), (130.0, 0.5)):
        cells = graph.node("ShaderNodeTexVoronoi", Vector=graph.position(), Scale=scale)
        cells.distance = "CHEBYCHEV"
        parts = graph.node("ShaderNodeSeparateColor", Color=cells.outputs["Color"]).outputs
        chosen, tint = graph.node("ShaderNodeMath"), parts["Green"]
        chosen.operation = "LESS_THAN"
        graph.tree.links.new(parts["Red"], chosen.inputs[0])
        chosen.inputs[1].default_value = share
        near = graph.node("ShaderNodeMath")
        near.operation = "LESS_THAN"
        graph.tree.links.new(cells.outputs["Distance"], near.inputs[0])
        near.inputs[1].default_value = 0.32
        both = graph.node("ShaderNodeMath")
        both.operation = "MULTIPLY"
        graph.tree.links.new(chosen.outputs["Value"], both.inputs[0])
        graph.tree.links.new(near.outputs["Value"], both.inputs[1])
        inks = graph.ramp(tint, [ink, [0.45, 0.08, 0.06], [0.05, 0.2, 0.4], [0.55, 0.4, 0.08]], hard=True)
        color = graph.mix(both.outputs["Value"], color, inks)
    return color


PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "noise": _noise,
    "cells": _cells,
    "wood": _wood,
    "checker": _checker,
    "weave": _weave,
    "print": _print,
}
