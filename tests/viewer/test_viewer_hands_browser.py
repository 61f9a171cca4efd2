"""Hands on the scene: gizmos dragged by the mouse, the object taken from its background, the floor, the turntable."""

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from blob_scene import BLUE, CENTERS, GREEN, HEIGHT, RED, SCALE, WIDTH, ball, blob_cameras, blob_splats, write_run
from browser_tab import Tab, middle_of, share_of, wait_for
from PIL import Image

from recon.compress import read_splats
from recon.geometry import exp_so3, project, rotmat_to_quat
from recon.types import SH_C0, Splats
from viewer import Viewer, open_run
from viewer.looks import Look, Model, draw_look

pytestmark = pytest.mark.browser

GREY = (150, 150, 150)
GREEN_SELECTED = (184, 165, 30)
TILT = exp_so3(torch.tensor([0.12, 0.0, 0.16]))
"""The floor's plane from a level one."""


def floor(side: int = 24) -> Splats:
    """A tilted sheet of flat Gaussians below the balls."""
    steps = torch.linspace(-1.7, 1.7, side)
    x, z = (grid.reshape(-1) for grid in torch.meshgrid(steps, steps, indexing="ij"))
    flat = torch.stack([x, torch.zeros_like(x), z], dim=1)
    count = len(flat)
    return Splats(
        (flat @ TILT.T + torch.tensor([0.0, 1.3, 0.4])) * SCALE,
        rotmat_to_quat(TILT).expand(count, 4).clone(),
        (torch.tensor([0.09, 0.004, 0.09]) * SCALE).log().expand(count, 3).clone(),
        torch.full((count,), 4.0),
        ((torch.tensor(GREY) / 255.0 - 0.5) / SH_C0).expand(count, 1, 3).clone(),
        torch.zeros(count, 0, 3),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """Three balls over a tilted floor. The photos are cut out: they are opaque on the blue ball alone."""
    run = write_run(tmp_path_factory.mktemp("floor") / "recon", Splats.cat([blob_splats(), floor()]))
    cameras = json.loads((run.folder / "cameras.json").read_text())
    for index, frame in enumerate(cameras["frames"]):
        frame["file_path"] = f"photos/photo_{index}.png"
    (run.folder / "cameras.json").write_text(json.dumps(cameras))
    (run.folder / "photos").mkdir()
    running = open_run(run.folder, port=0, block=False)
    for index in range(3):
        alone = Model(ball(BLUE, CENTERS[BLUE]), running.frame)
        seen = draw_look(alone, blob_cameras()[index], Look.EXACT, (255, 255, 255))
        alpha = np.where(seen.min(axis=2) < 200, 255, 0).astype(np.uint8)
        cut = Image.fromarray(np.dstack([seen, alpha]), "RGBA")
        assert cut.size == (WIDTH, HEIGHT)
        cut.save(run.folder / "photos" / f"photo_{index}.png")
    running.stop()
    running = open_run(run.folder, port=0, block=False)
    running.stage.show_cameras(False)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tab(page: Viewer, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    opened = Tab.open(browser, page.url, tmp_path_factory.mktemp("shots"), (900, 700))
    opened.until(all_there, "balls over a floor")
    yield opened
    opened.close()


def there(seen: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return share_of(seen, rgb) > 0.003


def gone(seen: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return share_of(seen, rgb) < 1e-4


def all_there(seen: np.ndarray) -> bool:
    return all(there(seen, rgb) for rgb in (RED, GREEN, BLUE)) and share_of(seen, GREY, 40) > 0.02


def client_of(page: Viewer) -> Any:
    (client,) = page.server.get_clients().values()
    return client


def drag_arrow(page: Viewer, tab: Tab, name: str, axis: int, by: float) -> None:
    """Take a gizmo by the arrow of one of its axes and pull it so many display units along."""
    gizmo = page.server.scene._handle_from_node_name[name]
    assert page.frame is not None
    along = np.eye(3)[axis]
    start = np.asarray(gizmo.position, dtype=np.float64)
    places = np.stack([start + along * reach for reach in (0.75 * gizmo.scale, 0.75 * gizmo.scale + by)])
    camera = page.camera_of(client_of(page))
    world = torch.from_numpy(page.frame.world_points(places)).float()
    uv = project(world, camera.cam_from_world[0], camera.Ks[0])[0].tolist()
    tab.sweep(tuple(uv[0]), tuple(uv[1]))


def test_a_volume_is_dragged_to_what_it_should_select(page: Viewer, tab: Tab) -> None:
    assert page.editor is not None
    assert page.frame is not None
    tab.section("Edit")
    tab.choose("By", "Sphere")
    tab.type_into("Radius", 1.4)
    wait_for(lambda: "/volume" in page.server.scene._handle_from_node_name, "a ball's gizmo")
    gizmo = page.server.scene._handle_from_node_name["/volume"]
    tab.until(lambda now: all_there(now), "a ball to select with")
    goal = page.frame.points(np.array(CENTERS[GREEN]) * SCALE)
    for axis in (0, 1):
        before = np.asarray(gizmo.position)[axis]
        drag_arrow(page, tab, "/volume", axis, float(goal[axis] - before))
        wait_for(
            lambda a=axis: abs(gizmo.position[a] - goal[a]) < 0.6, f"axis {axis} of the volume to follow the mouse"
        )
    tab.press("Select inside")
    seen = tab.until(lambda now: gone(now, GREEN) and there(now, GREEN_SELECTED), "green selected")
    assert there(seen, RED)
    assert there(seen, BLUE)
    tab.choose("By", "Rectangle")
    tab.press("None")
    tab.until(all_there, "the volume put away")


def test_what_is_selected_follows_the_handle(page: Viewer, tab: Tab) -> None:
    assert page.editor is not None
    tab.section("Edit")
    page.editor.select(torch.arange(len(page.editor.splats)) < 80)  # the red ball
    tab.until(lambda now: gone(now, RED), "red tinted")
    before = page.editor.splats.means[:80].mean(0)
    tab.press("Move")
    wait_for(lambda: "/handle" in page.server.scene._handle_from_node_name, "the handle")
    tab.until(lambda now: True, "the handle drawn")
    assert page.frame is not None
    shift = -1.0 * SCALE * page.frame.scale  # upwards
    drag_arrow(page, tab, "/handle", 1, shift)
    wait_for(lambda: bool((page.editor.splats.means[:80].mean(0) - before).norm() > 0.5 * SCALE), "the ball to move")
    moved = page.editor.splats.means[:80].mean(0) - before
    assert moved[1] == pytest.approx(-1.0 * SCALE, rel=0.25)
    assert abs(moved[0]) < 1e-6
    assert abs(moved[2]) < 1e-6
    tab.press("Move")  # puts the handle down
    tab.press("None")
    seen = tab.until(all_there, "the red ball in its new place")
    camera = page.camera_of(client_of(page))
    centre = project((before + moved)[None], camera.cam_from_world[0], camera.Ks[0])[0][0].numpy()
    assert np.hypot(*(np.array(middle_of(seen, RED)) - centre)) < 8.0
    tab.press("Undo")
    tab.press("None")
    tab.until(all_there, "and back")


def test_the_object_of_the_masks_is_taken_from_its_background(page: Viewer, tab: Tab) -> None:
    tab.section("Edit")
    tab.choose("By", "Object")
    tab.press("Find the object")
    tab.until(lambda now: gone(now, BLUE) and there(now, RED) and there(now, GREEN), "the blue ball found")
    tab.press("Keep only")
    tab.press("None")
    alone = tab.until(lambda now: there(now, BLUE) and gone(now, RED) and gone(now, GREEN), "the object alone")
    assert share_of(alone, GREY, 40) < 0.002
    tab.choose("Format", ".ply")
    tab.press("Save a copy")
    folder = page.contents.folder
    assert folder is not None
    wait_for((folder / "edits" / "scene-1.ply").exists, "the saved file")
    saved = read_splats(folder / "edits" / "scene-1.ply")
    assert 76 <= len(saved) <= 90
    assert float((saved.rgb - torch.tensor(BLUE) / 255.0).abs().mean()) < 0.03
    tab.press("Undo")
    tab.press("None")
    tab.choose("By", "Rectangle")
    tab.until(all_there, "background and all")


def test_the_turntable_circles_until_it_is_stopped(page: Viewer, tab: Tab) -> None:
    tab.section("Look")
    start = tab.until(all_there, "before the turn")
    camera = client_of(page).camera
    distance = np.linalg.norm(camera.position - camera.look_at)
    place = middle_of(start, RED)
    tab.press("Turntable")
    deadline = time.monotonic() + 60.0
    while np.hypot(*(np.array(middle_of(tab.picture(), RED)) - place)) < 25.0:
        assert time.monotonic() < deadline, "nothing turns"
    tab.press("Turntable")
    turned = tab.until(lambda now: there(now, RED), "stopped")
    position = camera.position.copy()
    tab.page.wait_for_timeout(500)
    np.testing.assert_array_equal(camera.position, position)
    assert np.linalg.norm(camera.position - camera.look_at) == pytest.approx(distance, rel=1e-3)
    assert np.hypot(*(np.array(middle_of(turned, RED)) - place)) > 25.0
    tab.press("Reset view")
    tab.until(lambda now: all_there(now) and np.hypot(*(np.array(middle_of(now, RED)) - place)) < 4.0, "the first view")


def test_the_floor_is_set_from_an_area_of_it(page: Viewer, tab: Tab) -> None:
    tab.section("Measure")
    seen = tab.until(all_there, "before the floor")
    rows, columns = np.nonzero(np.abs(seen.astype(int) - GREY).max(axis=2) <= 40)
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    tab.press("Area")
    tab.told("Drag a rectangle over a part of the floor.")
    middle = (top + bottom) / 2
    tab.sweep((left + 0.3 * (right - left), middle), (left + 0.7 * (right - left), bottom - 0.1 * (bottom - top)))
    tab.page.get_by_text("The floor is set.").wait_for()
    folder = page.contents.folder
    assert folder is not None
    up = np.array(json.loads((folder / "view.json").read_text())["up"])
    truth = -TILT[:, 1].double().numpy()
    assert np.degrees(np.arccos(min(up @ truth, 1.0))) < 3.0
    assert page.frame is not None
    np.testing.assert_allclose(page.frame.up, up, atol=1e-6)
    # The floor is level now: seen from this place, up on the screen is up in the scene.
    wait_for(lambda: abs(float(page.camera_of(client_of(page)).cam_from_world[0, 0, :3].numpy() @ up)) < 0.02, "level")
    level = tab.until(all_there, "level")
    assert np.abs(level.astype(int) - seen).mean() > 1.0
    (folder / "view.json").unlink()
