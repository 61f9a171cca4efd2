"""Scenes made by a path tracer, laid out like SpaRe's: exact cameras, masks and depth, test views kept apart."""

from recon.benchmark.generate.cap import cap_positions, rig
from recon.benchmark.generate.render import GenerateConfig, Generated, find_blender, generate
from recon.benchmark.generate.scenes import SceneSpec, choose_scenes, load_scene, scene_names
from recon.benchmark.generate.split import ViewSplit, choose_views

__all__ = [
    "GenerateConfig",
    "Generated",
    "SceneSpec",
    "ViewSplit",
    "cap_positions",
    "choose_scenes",
    "choose_views",
    "find_blender",
    "generate",
    "load_scene",
    "rig",
    "scene_names",
]
