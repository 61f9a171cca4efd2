"""Splats of a painted ball become a mesh of that ball, with its paint on it."""

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from mesh_scenes import SMALL, ball_shots, ball_splats, paint, ring
from reference.mesh_loops import covered, depth_of

from recon import cli
from recon.cli.options import parse
from recon.cli.run_command import photos_config
from recon.errors import InputError, MissingDependencyError
from recon.geometry.se3 import look_at
from recon.mesh import Surface, TexturedMesh, make_mesh, write_mesh, y_up_rotation
from recon.mesh.clean import boundary_loops, close_holes, decimate, large_parts, smooth
from recon.mesh.coverage import cover, depth_map
from recon.mesh.grid import space_around
from recon.pipeline import STAGES
from recon.pipeline.core import Run
from recon.render import select_rasterizer
from recon.types import Cameras

CPU = select_rasterizer("cpu")


@pytest.fixture(scope="module")
def ball() -> TexturedMesh:
    """The mesh of the ball from six photos with masks."""
    cameras = ring()
    return make_mesh(ball_splats(), ball_shots(cameras), cameras[[]], CPU, SMALL)


def paint_error(mesh: TexturedMesh) -> np.ndarray:
    """Difference of the texture and the true paint in the middle of each triangle."""
    side = len(mesh.texture)
    column, row = (mesh.uv[mesh.surface.faces].mean(1) * [1, -1] * side + [0, side]).astype(int).T
    middles = mesh.surface.corners().mean(1)
    on_ball = middles / np.linalg.norm(middles, axis=1, keepdims=True)
    return np.abs(mesh.texture[row, column] / 255 - paint(torch.from_numpy(on_ball)).numpy()).mean(1)


def icosphere(subdivisions: int = 3) -> Surface:
    shape = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = shape.vertices.astype(np.float32)
    return Surface(vertices, shape.faces.astype(np.int64), np.full_like(vertices, 0.5))


def test_the_surface_is_the_ball(ball: TexturedMesh) -> None:
    radius = np.linalg.norm(ball.surface.vertices, axis=1)
    assert np.median(np.abs(radius - 1)) < 0.02
    assert np.abs(radius - 1).max() < 0.12
    area = np.linalg.norm(ball.surface.face_normals(), axis=1).sum()
    assert area == pytest.approx(4 * math.pi, rel=0.06)
    assert 500 < len(ball.surface.faces) <= SMALL.max_faces


def test_triangles_face_outwards(ball: TexturedMesh) -> None:
    outwards = (ball.surface.face_normals() * ball.surface.corners().mean(1)).sum(1)
    assert (outwards > 0).mean() > 0.99


def test_masks_all_around_close_the_mesh(ball: TexturedMesh) -> None:
    shape = trimesh.Trimesh(ball.surface.vertices, ball.surface.faces)  # joins what seams cut
    assert shape.is_watertight


def test_without_masks_only_what_was_seen_is_surface() -> None:
    cameras = ring()[[0, 2]]
    mesh = make_mesh(ball_splats(), ball_shots(cameras, masked=False), cameras[[]], CPU, SMALL)
    middles = mesh.surface.corners().mean(1)
    seen_by = (cameras.centers.numpy() @ middles.T > 1).any(0)  # before the ball's horizon
    assert seen_by.mean() > 0.97
    assert not trimesh.Trimesh(mesh.surface.vertices, mesh.surface.faces).is_watertight


def test_the_texture_shows_the_paint(ball: TexturedMesh) -> None:
    error = paint_error(ball)
    assert np.median(error) < 0.02
    assert (error < 0.1).mean() > 0.95


def test_a_photo_with_another_exposure_leaves_no_patch() -> None:
    cameras = ring()
    shots = ball_shots(cameras)
    darker = replace(shots, photos=[0.75 * shots.photos[0], *shots.photos[1:]])
    error = paint_error(make_mesh(ball_splats(), darker, cameras[[]], CPU, SMALL))
    assert np.median(error) < 0.025
    assert np.quantile(error, 0.95) < 0.1


def test_places_no_photo_sees_take_the_splats_colour() -> None:
    cameras = ring()
    shots = ball_shots(cameras)
    unseen = replace(shots, photos=[torch.zeros_like(p) for p in shots.photos], masks=None)
    low = replace(unseen, cameras=replace(cameras, cam_from_world=cameras.cam_from_world @ look_away()))
    mesh = make_mesh(ball_splats(), low, cameras, CPU, SMALL)
    assert np.median(paint_error(mesh)) < 0.08


def look_away() -> torch.Tensor:
    """A shift that takes the ball out of every picture."""
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([0.0, 0.0, 50.0])
    return shift


def test_charts_lie_side_by_side(ball: TexturedMesh) -> None:
    assert ball.uv.min() >= 0
    assert ball.uv.max() <= 1
    side = 512
    parts = list(cover((ball.uv * side)[ball.surface.faces], side, side))
    texels = np.concatenate([part[0] for part in parts])
    assert len(texels) > 0.3 * side * side
    assert len(texels) - len(np.unique(texels)) < 0.002 * len(texels)  # neighbours share centres on their edge


def test_cover_is_what_the_loop_covers() -> None:
    random = np.random.default_rng(0)
    xy = random.uniform(-3, 15, (20, 3, 2))
    found = [(int(p), int(f)) for pixels, faces, _ in cover(xy, 12, 9) for p, f in zip(pixels, faces)]
    assert len(found) > 50
    assert len(found) == len(set(found))
    assert set(found) == covered(xy, 12, 9)


def test_depth_map_is_where_rays_meet_the_triangle() -> None:
    corners = np.array([[-1.0, -1.0, 2.0], [1.5, -0.5, 5.0], [0.0, 1.0, 3.0]])
    K = np.array([[14.3, 0, 8.1], [0, 13.7, 6.2], [0, 0, 1]])
    projected = corners @ K.T
    depth = depth_map(projected[:, :2] / projected[:, 2:], corners[:, 2], np.array([[0, 1, 2]]), 16, 12)
    assert np.isfinite(depth).sum() > 20
    np.testing.assert_allclose(depth, depth_of(corners, K, 16, 12), rtol=1e-9)


def test_the_grid_reaches_far_and_back() -> None:
    space = space_around(torch.randn(5000, 3) * torch.tensor([1.0, 2.0, 0.5]), 64, 0.05, 0.2)
    points = torch.randn(2000, 3) * torch.tensor([4.0, 8.0, 2.0])
    grid = space.to_grid(points)
    torch.testing.assert_close(space.to_world(grid), points, rtol=1e-3, atol=1e-3)
    inside = space.holds(points)
    assert 0.05 < inside.float().mean() < 0.95
    step = space.to_grid(points + 1e-2) - grid
    torch.testing.assert_close(step[inside], torch.full_like(step[inside], 1e-2 / space.voxel), rtol=0.05, atol=1e-3)


def test_specks_go() -> None:
    sphere, speck = icosphere(3), icosphere(1)
    both = Surface(
        np.concatenate([sphere.vertices, 9 * speck.vertices + 30]),  # few triangles, however large
        np.concatenate([sphere.faces, speck.faces + len(sphere.vertices)]),
        np.concatenate([sphere.colors, speck.colors]),
    )
    assert len(large_parts(both, 0.1).faces) == len(sphere.faces)
    assert len(large_parts(both, 0.01).faces) == len(sphere.faces) + len(speck.faces)


def test_small_holes_are_closed_and_rims_stay() -> None:
    sphere = icosphere()
    height = sphere.corners().mean(1)[:, 2]
    pierced = sphere.part((height < 0.97) & (height > -0.5))
    assert sorted(len(loop) > 20 for loop in boundary_loops(pierced.faces)) == [False, True]
    closed = close_holes(pierced, 20)
    assert [len(loop) > 20 for loop in boundary_loops(closed.faces)] == [True]
    added = closed.face_normals()[len(pierced.faces) :]
    assert (added[:, 2] > 0).all()
    assert len(close_holes(pierced, 3).faces) == len(pierced.faces)


def test_smoothing_takes_noise_and_keeps_size() -> None:
    sphere = icosphere()
    noise = np.random.default_rng(0).normal(0, 0.01, sphere.vertices.shape).astype(np.float32)
    smoothed = smooth(replace(sphere, vertices=sphere.vertices + noise), 6)
    radius = np.linalg.norm(smoothed.vertices, axis=1)
    assert radius.std() < 0.006
    assert radius.mean() == pytest.approx(1, abs=0.01)


def test_decimation_keeps_shape_and_colours() -> None:
    sphere = icosphere()
    colored = replace(sphere, colors=(0.5 + 0.5 * sphere.vertices).astype(np.float32))
    small = decimate(colored, 300)
    assert len(small.faces) <= 300
    assert np.abs(np.linalg.norm(small.vertices, axis=1) - 1).max() < 0.1
    np.testing.assert_allclose(small.colors, 0.5 + 0.5 * small.vertices, atol=0.12)


def test_glb_reads_back(ball: TexturedMesh, tmp_path: Path) -> None:
    turn = y_up_rotation(ring())
    write_mesh(tmp_path / "ball.glb", ball, turn)
    (shape,) = trimesh.load(tmp_path / "ball.glb").geometry.values()
    np.testing.assert_allclose(shape.vertices, ball.surface.vertices @ turn.T, atol=1e-5)
    np.testing.assert_array_equal(shape.faces, ball.surface.faces)
    np.testing.assert_allclose(shape.visual.uv, ball.uv, atol=1e-5)
    picture = np.asarray(shape.visual.material.baseColorTexture.convert("RGB")).astype(float)
    assert np.abs(picture - ball.texture).mean() < 6  # JPEG
    header = (tmp_path / "ball.glb").read_bytes()
    length = int.from_bytes(header[12:16], "little")
    assert "KHR_materials_unlit" in json.loads(header[20 : 20 + length])["materials"][0]["extensions"]


def test_obj_reads_back(ball: TexturedMesh, tmp_path: Path) -> None:
    write_mesh(tmp_path / "ball.obj", ball, y_up_rotation(ring()))
    assert {path.name for path in tmp_path.iterdir()} == {"ball.obj", "ball.mtl", "ball.png"}
    shape = trimesh.load(tmp_path / "ball.obj", process=False, maintain_order=True)
    assert len(shape.faces) == len(ball.surface.faces)
    assert shape.visual.material.image.size == ball.texture.shape[:2]
    assert np.linalg.norm(shape.vertices, axis=1).mean() == pytest.approx(1, abs=0.03)


def test_ply_keeps_the_world_and_has_colours(ball: TexturedMesh, tmp_path: Path) -> None:
    write_mesh(tmp_path / "ball.ply", ball, y_up_rotation(ring()))
    shape = trimesh.load(tmp_path / "ball.ply", process=False)
    np.testing.assert_allclose(shape.vertices, ball.surface.vertices, atol=1e-5)
    np.testing.assert_allclose(shape.visual.vertex_colors[:, :3] / 255, ball.surface.colors, atol=0.003)


def test_up_is_where_the_photos_say() -> None:
    turn = y_up_rotation(ring())
    np.testing.assert_allclose(turn @ [0, 0, 1], [0, 1, 0], atol=1e-9)
    level = Cameras.create(torch.eye(4)[None], torch.eye(3)[None], 10, 10)  # an estimated world: +y down
    np.testing.assert_allclose(y_up_rotation(level), np.diag([1.0, -1, -1]), atol=1e-9)
    tilted = look_at(torch.tensor([[0.0, -2, -2], [1, -2, -2]]), torch.zeros(2, 3), torch.tensor([[0.0, -1, 0]] * 2))
    for cameras in (ring(), Cameras.create(tilted, torch.eye(3).expand(2, 3, 3), 10, 10)):
        turn = y_up_rotation(cameras)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(turn) == pytest.approx(1)


def test_no_surface_is_said_so() -> None:
    cameras = ring()
    with pytest.raises(InputError, match="show no surface"):
        make_mesh(ball_splats(opacity=0.01), ball_shots(cameras), cameras[[]], CPU, SMALL)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "xatlas" else find(name, *rest)
    )
    cameras = ring()
    with pytest.raises(MissingDependencyError, match=r"needs xatlas.*recon\[mesh\]"):
        make_mesh(ball_splats(100), ball_shots(cameras), cameras[[]], CPU, SMALL)


def test_a_run_asks_for_the_packages_before_its_work(monkeypatch: pytest.MonkeyPatch, demo_images: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    config = photos_config(parse(["run", "--images", str(demo_images), "--out", "unused", "--mesh"]))
    assert config.mesh.enabled
    with pytest.raises(MissingDependencyError, match="PyMCubes"):
        Run(config, STAGES).plan()


def test_a_wrong_suffix_is_refused(ball: TexturedMesh, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.glb, \.obj, \.ply"):
        write_mesh(tmp_path / "ball.stl", ball, np.eye(3))
    assert cli.run(["export", str(tmp_path), "--format", "mesh", "--out", str(tmp_path / "ball.glb")]) == 2
