"""Cameras and pictures: colour with all its samples; depth and mask by one ray through each pixel's centre."""

import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

SENSOR_MM = 36.0
DEPTH_STEP_M = 2.0**-14
"""Depth is rounded to 0.06 mm, a quarter of what a pixel covers at 1600 x 1200: it packs to half the size."""
FAR_M = 100.0


class Camera:
    """Blender's camera with the job's lens, moved from view to view."""

    def __init__(self, scene: Any, job: dict[str, Any]) -> None:
        self._poses = {view["view"]: Matrix(view["world_from_opengl"]) for view in job["views"]}
        data = bpy.data.cameras.new("camera")
        data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_MM
        data.lens = SENSOR_MM * job["focal_px"] / job["size"][0]
        data.clip_start, data.clip_end = 0.01, FAR_M
        self._item = bpy.data.objects.new("camera", data)
        scene.collection.objects.link(self._item)
        scene.camera = self._item

    def move(self, view: int) -> None:
        self._item.matrix_world = self._poses[view]


def set_up_renderer(scene: Any, job: dict[str, Any]) -> None:
    """Cycles on the processor, plain sRGB output."""
    render = scene.render
    render.engine, scene.cycles.device = "CYCLES", "CPU"
    render.resolution_x, render.resolution_y = job["size"]
    render.resolution_percentage = 100
    render.use_persistent_data = True
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
    render.image_settings.compression = 90
    cycles = scene.cycles
    cycles.seed = job["seed"]
    cycles.use_adaptive_sampling = False
    cycles.max_bounces, cycles.transmission_bounces, cycles.diffuse_bounces = 12, 12, 3
    cycles.sample_clamp_indirect = 4.0
    cycles.blur_glossy = 0.5


def render_shot(scene: Any, shot: dict[str, Any], job: dict[str, Any]) -> None:
    """Render what the shot names: image always, mask and depth where asked for. Whole files or none."""
    if shot.get("depth") and not (Path(shot["depth"]).is_file() and Path(shot["mask"]).is_file()):
        _render_geometry(scene, Path(shot["depth"]), Path(shot["mask"]))
    if not Path(shot["image"]).is_file():
        _render_color(scene, Path(shot["image"]), job)


def _render_color(scene: Any, target: Path, job: dict[str, Any]) -> None:
    scene.use_nodes = False
    scene.cycles.samples = job["samples"]
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    partial = _partial(target)
    scene.render.filepath = str(partial)
    bpy.ops.render.render(write_still=True)
    partial.replace(target)


def _render_geometry(scene: Any, depth: Path, mask: Path) -> None:
    """One sample a pixel, at its centre: the smallest filter that Cycles takes is a hundredth of a pixel."""
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_object_index = True
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
    with tempfile.TemporaryDirectory() as folder:
        _connect_outputs(scene, folder)
        bpy.ops.render.render(write_still=False)
        z, index = (_read_exr(next(Path(folder).glob(f"{name}*.exr"))) for name in ("z", "index"))
    layer.use_pass_z = layer.use_pass_object_index = False
    z = np.where(z < FAR_M, np.round(z / DEPTH_STEP_M) * DEPTH_STEP_M, 0.0).astype(np.float32)
    _write_npz(depth, z)
    _write_mask(mask, index > 0.5)


def _connect_outputs(scene: Any, folder: str) -> None:
    """Blender gives passes out through its compositor only."""
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers = tree.nodes.new("CompositorNodeRLayers")
    output = tree.nodes.new("CompositorNodeOutputFile")
    output.base_path = folder
    output.format.file_format, output.format.color_depth = "OPEN_EXR", "32"
    output.file_slots.clear()
    for name, socket in (("z", "Depth"), ("index", "IndexOB")):
        output.file_slots.new(name)
        tree.links.new(layers.outputs[socket], output.inputs[name])


def _read_exr(path: Path) -> Any:
    """First channel, [H,W], top row first (Blender's pixels start at the bottom)."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1, :, 0]


def _write_npz(target: Path, depth: Any) -> None:
    partial = _partial(target)
    np.savez_compressed(partial, depth=depth)
    partial.replace(target)


def _write_mask(target: Path, inside: Any) -> None:
    """A grey PNG, 255 inside; each row is a filter byte (none) and its pixels. Blender's writer would manage colour."""
    height, width = inside.shape
    rows = np.pad(np.where(inside, 255, 0).astype(np.uint8), ((0, 0), (1, 0)))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    partial = _partial(target)
    partial.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    )
    partial.replace(target)


def _partial(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.stem}.part{target.suffix}")
