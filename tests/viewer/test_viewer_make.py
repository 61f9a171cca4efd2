"""Paths, films, notes, comparisons, photos laid over, meshes and places to write to, without a browser."""

import json
import math
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from blob_scene import BLUE, CENTERS, GREEN, RED, SCALE, ball, blob_cameras, blob_splats, write_run
from browser_tab import middle_of, share_of
from PIL import Image

from recon.compress import write_ply
from recon.errors import InputError
from recon.geometry import Sim3, exp_so3, project
from recon.types import Cameras, Splats
from viewer import Viewer
from viewer.blend import photo_over
from viewer.compare import Comparison, align, draw_comparison
from viewer.contents import Contents, load
from viewer.display import DEFAULT_FOV_RAD, DisplayFrame, View, first_view, fit_display, view_camera
from viewer.edit import Window, transform_splats
from viewer.film import FilmCancelled, FilmOrder, path_through, render_film
from viewer.gizmo import Handle, about
from viewer.looks import Look, Model, depth_color, draw_look
from viewer.notes import Notes, SavedView, read_notes, write_notes
from viewer.picking import area_points, fit_plane, surface_point
from viewer.places import new_path

FRAME = fit_display(blob_cameras(), blob_splats().means.double().numpy())


def model() -> Model:
    return Model(blob_splats(), FRAME)


def view_at(x: float, z: float, fov: float = 0.9) -> View:
    return View(np.array([x, 0.0, z]), np.array([0.0, 0.0, 5.0]), np.array([0.0, -1.0, 0.0]), fov, 1.5)


def test_a_path_passes_through_its_views_at_an_even_pace() -> None:
    views = [view_at(-3.0, -6.0), view_at(0.0, -8.0, 0.7), view_at(6.0, -5.0)]
    path = path_through(views, 301)
    positions = np.stack([view.position for view in path])
    for view in views:
        near = np.linalg.norm(positions - view.position, axis=1).argmin()
        assert np.linalg.norm(positions[near] - view.position) < 0.05
        assert path[near].fov_y_rad == pytest.approx(view.fov_y_rad, abs=0.01)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert steps.max() < 2.5 * steps.mean()
    for view in path:
        assert (view.look_at - view.position) @ view.up == pytest.approx(0.0, abs=1e-9)
    closed = path_through(views, 100, closed=True)
    gap = np.linalg.norm(closed[-1].position - closed[0].position)
    assert 0 < gap < 3 * np.linalg.norm(closed[1].position - closed[0].position)
    assert len(path_through(views[:1], 7)) == 7
    with pytest.raises(ValueError):
        path_through([], 5)


def test_a_film_is_whole_or_not_there(tmp_path: Path) -> None:
    views = path_through([first_view(blob_cameras(), FRAME)], 4)
    order = FilmOrder(model(), views, (96, 64), 12, "PNGs", tmp_path / "film")
    seen: list[int] = []
    assert render_film(order, seen.append, threading.Event()) == tmp_path / "film"
    assert seen == [1, 2, 3, 4]
    frames = sorted((tmp_path / "film").iterdir())
    assert len(frames) == 4
    assert share_of(np.asarray(Image.open(frames[0])), RED) > 0.003
    stop = threading.Event()
    other = FilmOrder(model(), views, (96, 64), 12, "PNGs", tmp_path / "other")
    with pytest.raises(FilmCancelled):
        render_film(other, lambda done: stop.set(), stop)
    assert [path.name for path in tmp_path.iterdir()] == ["film"]


def test_notes_come_back_and_damage_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved = SavedView.of(view_at(1.0, -7.0), FRAME, "View 1")
    notes = Notes("cm", 12.5, (0.0, -1.0, 0.0), (1.0, 2.0, 3.0)).with_view(saved)
    write_notes(tmp_path, notes)
    assert read_notes(tmp_path) == notes
    np.testing.assert_allclose(notes.views[0].view(FRAME).position, [1.0, 0.0, -7.0], atol=1e-9)
    assert notes.length(2.0) == "25 cm"
    assert Notes().length(0.25) == "0.25 units"
    for damage in (
        "{",
        "[1]",
        json.dumps({"up": [1, 2]}),
        json.dumps({"units_per_world": -1}),
        json.dumps({"views": [1]}),
    ):
        (tmp_path / "view.json").write_text(damage)
        assert read_notes(tmp_path) == Notes()
    assert caplog.text.count("view.json") == 5
    assert read_notes(None) == Notes()


def test_nothing_is_written_outside_of_the_run(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    first = new_path(run, "edits", "scene", ".ply")
    assert first == run / "edits" / "scene-1.ply"
    first.write_bytes(b"kept")
    assert new_path(run, "edits", "scene", ".ply").name == "scene-2.ply"
    (run / "films").symlink_to(elsewhere)
    with pytest.raises(InputError, match="leads out of"):
        new_path(run, "films", "film", ".mp4")
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("common", [3, 2])
def test_runs_in_different_worlds_are_brought_together(tmp_path: Path, common: int) -> None:
    motion = Sim3(torch.tensor(2.5), exp_so3(torch.tensor([0.4, -0.7, 1.2])), torch.tensor([0.1, 0.2, -0.3]))
    other_cameras = motion.apply_cameras(blob_cameras())
    here = load(write_run(tmp_path / "a").folder)
    there = load(write_run(tmp_path / "b", transform_splats(blob_splats(), motion), other_cameras).folder)
    names = tuple(name if i < common else f"other_{i}" for i, name in enumerate(there.names))
    there = Contents(there.title, there.splats, there.cameras, names, points=there.points)
    back = align(here, there)
    assert there.splats is not None
    moved = back.apply_points(there.splats.means.double())
    torch.testing.assert_close(moved, blob_splats().means.double(), atol=1e-3 * SCALE, rtol=0)


def test_runs_without_a_common_photo_share_a_place() -> None:
    far = transform_splats(blob_splats(), Sim3(torch.tensor(7.0), torch.eye(3), torch.tensor([5.0, 0.0, 0.0])))
    back = align(Contents("a", blob_splats()), Contents("b", far))
    torch.testing.assert_close(
        back.apply_points(far.means.double()), blob_splats().means.double(), atol=1e-6, rtol=1e-3
    )


def test_a_wipe_shows_each_run_on_its_side() -> None:
    white = Model(Splats.cat([ball((240, 240, 240), center) for center in CENTERS.values()]), FRAME)
    camera = blob_cameras()[1]
    single = [draw_look(m, camera, Look.EXACT, (0, 0, 0)) for m in (model(), white)]
    pair = draw_comparison([model(), white], ["", ""], camera, Comparison(wipe=0.5), Look.EXACT, (0, 0, 0))
    np.testing.assert_array_equal(pair[:, :158], single[0][:, :158])
    assert np.abs(pair[:, 162:].astype(int) - single[1][:, 162:]).max() <= 1
    sides = draw_comparison([model(), white], ["", ""], camera, Comparison(side_by_side=True), Look.EXACT, (0, 0, 0))
    assert np.abs(sides[:, :158].astype(int) - single[0][:, 80:238]).max() <= 1


def test_a_depth_has_one_colour_on_both_sides_of_a_wipe() -> None:
    """Whatever else a side shows: each taken by itself, one ball among three is as near and as far as can be."""
    camera, lone = blob_cameras()[1], ball(RED, CENTERS[RED])
    models, titles = [model(), Model(lone, FRAME)], ["", ""]
    left, right = (draw_comparison(models, titles, camera, Comparison(wipe=w), Look.DEPTH, (0, 0, 0)) for w in (1, 0))
    there = right.sum(axis=2) > 0
    inside = cv2.erode(there.astype(np.uint8), np.ones((9, 9))) > 0
    assert inside.sum() > 50
    assert np.abs(left[inside].astype(int) - right[inside]).mean() < 3.0
    alone = draw_look(models[1], camera, Look.DEPTH, (0, 0, 0))
    assert np.abs(alone[inside].astype(int) - right[inside]).mean() > 20.0


def test_a_photo_is_laid_where_its_camera_saw_it() -> None:
    """The photo is a rendering with one ball marked; from a wider, turned camera in its place it lands on the ball."""
    photo_camera = blob_cameras()[1]
    photo = draw_look(model(), photo_camera, Look.EXACT, (0, 0, 0))
    R = exp_so3(torch.tensor([0.05, -0.08, 0.1]))
    pose = photo_camera.cam_from_world.clone()
    pose[0, :3] = R @ pose[0, :3]
    K = torch.tensor([[260.0, 0.0, 250.0], [0.0, 260.0, 180.0], [0.0, 0.0, 1.0]])
    wide = Cameras.create(pose, K[None], 500, 360)
    nothing = np.zeros((360, 500, 3), dtype=np.uint8)
    laid = photo_over(nothing, wide, photo, photo_camera, 1.0)
    for rgb, center in CENTERS.items():
        uv, _ = project(torch.tensor([center]) * SCALE, wide.cam_from_world[0], wide.Ks[0])
        assert np.hypot(*(np.array(middle_of(laid, rgb)) - uv[0].numpy())) < 3.0
    half = photo_over(nothing, wide, photo, photo_camera, 0.5)
    assert np.abs(half.astype(int) - laid // 2).max() <= 2
    np.testing.assert_array_equal(photo_over(photo, photo_camera, 0 * photo, photo_camera, 0.0), photo)


def test_the_point_under_the_pointer_is_on_the_surface() -> None:
    camera = blob_cameras()[1]
    for _, center in CENTERS.items():
        middle = torch.tensor(center) * SCALE
        uv, _ = project(middle[None], camera.cam_from_world[0], camera.Ks[0])
        point = surface_point(model(), camera, (float(uv[0, 0]) / 320, float(uv[0, 1]) / 240))
        assert point is not None
        assert np.linalg.norm(point - middle.numpy()) < 0.5 * SCALE
    assert surface_point(model(), camera, (0.01, 0.01)) is None
    points = area_points(model(), camera, Window(0.0, 0.0, 1.0, 1.0))
    assert len(points) > 100
    assert np.abs(points).max() < 3.0 * SCALE


def test_a_plane_is_found_among_other_things() -> None:
    rng = np.random.default_rng(0)
    normal = np.array([0.2, -0.9, 0.3]) / np.linalg.norm([0.2, -0.9, 0.3])
    flat = rng.normal(size=(300, 3))
    flat -= (flat @ normal)[:, None] * normal
    flat += 0.005 * rng.normal(size=(300, 1)) * normal
    leg = flat[:40] * 0.2 + normal * rng.uniform(0.3, 1.0, size=(40, 1))
    middle, found = fit_plane(np.concatenate([flat, leg]) + 4.0, towards=4.0 + 10.0 * normal)
    assert found @ normal > math.cos(math.radians(1.0))
    assert abs((middle - 4.0) @ normal) < 0.02
    assert fit_plane(flat[:3], towards=-10.0 * normal)[1] @ normal < 0
    with pytest.raises(ValueError, match="line"):
        fit_plane(np.outer(np.arange(4.0), [1.0, 2.0, 3.0]), towards=np.zeros(3))
    with pytest.raises(ValueError, match="three points"):
        fit_plane(flat[:2], towards=np.zeros(3))


def test_meshes_open_upright_and_splats_stay_splats(tmp_path: Path) -> None:
    cone = trimesh.creation.cone(0.5, 2.0)  # its tip at +z
    cone.apply_transform(trimesh.transformations.rotation_matrix(-math.pi / 2, [1, 0, 0]))  # glTF: at +y
    cone.export(tmp_path / "cone.glb")
    opened = load(tmp_path / "cone.glb")
    assert opened.mesh is not None
    tip = opened.mesh.vertices[np.abs(opened.mesh.vertices).max(axis=1).argmax()]
    assert tip[1] == pytest.approx(-2.0, abs=1e-6)  # up is -y here
    assert len(opened.centers()) == len(opened.mesh.vertices)
    cone.export(tmp_path / "cone.ply")
    assert load(tmp_path / "cone.ply").mesh is not None
    write_ply(tmp_path / "splats.ply", blob_splats())
    assert load(tmp_path / "splats.ply").splats is not None
    (tmp_path / "broken.glb").write_bytes(b"glTF rubbish")
    with pytest.raises(InputError, match="cannot be read as a mesh"):
        load(tmp_path / "broken.glb")


def test_views_in_world_units_do_not_move_with_the_display() -> None:
    other = DisplayFrame(FRAME.scale * 2.0, FRAME.origin + 1e-3, FRAME.up)
    view = view_at(1.0, -6.0)
    camera = view_camera(view, (64, 48), FRAME)
    again = view_camera(SavedView.of(view, FRAME, "x").view(other), (64, 48), other)
    torch.testing.assert_close(again.cam_from_world, camera.cam_from_world, atol=1e-6, rtol=1e-5)
    assert share_of(draw_look(Model(blob_splats(), other), again, Look.EXACT, (0, 0, 0)), GREEN) > 0.001
    assert share_of(draw_look(model(), camera, Look.EXACT, (0, 0, 0)), BLUE) > 0.001


@pytest.mark.parametrize("reach", [0.1, 0.5, 4.0])
def test_a_handle_fits_into_the_window(viewer: Viewer, reach: float) -> None:
    """However large what it holds is: its arms end inside of what a tab sees."""
    handle = Handle(viewer.server, lambda motion: None)
    eye, middle = np.array([0.0, 0.0, -5.0]) * SCALE, np.zeros(3)
    handle.show(middle, reach * SCALE, eye, FRAME)
    gizmo = viewer.server.scene._handle_from_node_name["/handle"]
    away = float(np.linalg.norm(FRAME.points(eye) - gizmo.position))
    assert 0.02 < gizmo.scale / away < math.tan(DEFAULT_FOV_RAD / 2.0)
    handle.hide()


def test_depth_goes_from_blue_far_away_to_red_nearby() -> None:
    far, near = depth_color(np.array([[0.0, 1.0]]))[0]
    assert far[2] > 2.0 * far[0]
    assert near[0] > 2.0 * near[2]


def test_a_handle_turns_about_the_middle_of_what_it_holds() -> None:
    R = exp_so3(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    middle, shift = np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 0.0])
    motion = about(middle, middle + shift, R.numpy(), scale=2.0)
    points = torch.from_numpy(np.stack([middle, middle + np.array([1.0, 0.0, 0.0])]))
    moved = motion.apply_points(points).numpy()
    np.testing.assert_allclose(
        moved, np.stack([middle + shift, middle + shift + np.array([0.0, 2.0, 0.0])]), atol=1e-12
    )
