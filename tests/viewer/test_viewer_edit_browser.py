"""Editing as a person does it: select, delete, undo, hide, crop, move, copy, save and reopen. Assertions on pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blob_scene import BLUE, GREEN, RED, write_run
from browser_tab import Tab, middle_of, share_of, wait_for

from recon.compress import SPLAT_SUFFIXES, read_splats
from viewer import Viewer, open_run
from viewer.contents import load

pytestmark = pytest.mark.browser

TINTED = (255, 160, 60)
"""Near what anything selected looks like."""
LINE = (255, 240, 200)
"""The dashes of a lasso."""


@pytest.fixture(scope="module")
def editing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """One page for all tests of this file: each leaves the scene as it found it."""
    run = write_run(tmp_path_factory.mktemp("edited") / "recon")
    running = open_run(run.folder, port=0, block=False)
    running.stage.show_cameras(False)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tab(editing: Viewer, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    page = Tab.open(browser, editing.url, tmp_path_factory.mktemp("shots"), (900, 660))
    page.until(all_there, "the scene to edit")
    page.section("Edit")
    yield page
    page.close()


def there(seen: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return share_of(seen, rgb) > 0.003


def all_there(seen: np.ndarray) -> bool:
    return all(there(seen, rgb) for rgb in (RED, GREEN, BLUE))


def gone(seen: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return share_of(seen, rgb) < 1e-4


def around(seen: np.ndarray, rgb: tuple[int, int, int], margin: int = 25) -> tuple[tuple[float, float], ...]:
    """Upper left and lower right of a rectangle around all pixels of that colour."""
    rows, columns = np.nonzero(np.abs(seen.astype(int) - rgb).max(axis=2) <= 60)
    low, high = (columns.min() - margin, rows.min() - margin), (columns.max() + margin, rows.max() + margin)
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))


def select_ball(tab: Tab, rgb: tuple[int, int, int]) -> np.ndarray:
    seen = tab.picture()
    tab.choose("By", "Rectangle")
    tab.press("Draw a rectangle")
    tab.told("Drag over what you mean.")
    tab.sweep(*around(seen, rgb))
    return tab.until(lambda now: gone(now, rgb) and share_of(now, TINTED, 70) > 0.003, "a ball tinted as selected")


def test_a_rectangle_selects_and_delete_and_undo_are_seen(editing: Viewer, tab: Tab) -> None:
    select_ball(tab, RED)
    tab.page.get_by_text("80 of 240 Gaussians selected").wait_for()
    tab.press("Delete")
    after = tab.until(lambda seen: gone(seen, RED) and gone(seen, TINTED), "red deleted")
    assert there(after, GREEN)
    assert there(after, BLUE)
    assert editing.editor is not None
    assert len(editing.editor.splats) == 160
    tab.press("Undo")
    tab.until(lambda seen: share_of(seen, TINTED, 70) > 0.003, "red back, and still selected")
    tab.press("None")
    tab.until(all_there, "nothing selected")
    tab.press("Redo")
    tab.until(lambda seen: gone(seen, RED), "deleted again")
    tab.press("Undo")
    tab.press("None")
    tab.until(all_there, "as before")


def test_hidden_things_come_back_and_keep_only_crops(editing: Viewer, tab: Tab) -> None:
    select_ball(tab, BLUE)
    tab.press("Hide")
    tab.until(lambda seen: gone(seen, BLUE) and there(seen, RED), "blue hidden")
    tab.press("Show all")
    tab.until(all_there, "blue shown again")
    select_ball(tab, BLUE)
    tab.press("Keep only")
    tab.until(lambda seen: there(seen, BLUE) and gone(seen, RED) and gone(seen, GREEN), "only blue kept")
    for _ in range(3):
        tab.press("Undo")
    tab.press("None")
    tab.until(all_there, "all undone")
    assert editing.editor is not None
    assert not editing.editor.selected.any()


def test_box_and_sphere_crop_the_scene(editing: Viewer, tab: Tab) -> None:
    assert editing.frame is not None
    tab.choose("By", "Sphere")
    wait_for(lambda: "/volume" in editing.server.scene._handle_from_node_name, "a ball's gizmo")
    gizmo = editing.server.scene._handle_from_node_name["/volume"]
    gizmo.position = editing.frame.points(np.array([1.4e-3, 0.3e-3, 0.4e-3]))  # over the green ball
    tab.type_into("Radius", 1.2)
    tab.press("Select inside")
    tab.until(lambda seen: gone(seen, GREEN) and there(seen, RED), "green selected by the ball")
    tab.press("None")
    tab.choose("By", "Box")
    tab.press("Select inside")
    tab.until(lambda seen: gone(seen, GREEN) and there(seen, RED), "green selected by the box")
    tab.press("Delete")
    tab.page.get_by_text("0 of 160 Gaussians selected").wait_for()
    tab.press("Undo")
    tab.press("None")
    tab.choose("By", "Rectangle")
    tab.until(all_there, "green back, the box put away")


def test_a_lasso_selects_what_it_goes_around_and_the_camera_stays(editing: Viewer, tab: Tab) -> None:
    """A U around the red and the green ball: the blue one lies in its bounding box, but outside of the line."""
    seen = tab.until(all_there, "before the lasso")
    (left, _), (red_right, bottom) = around(seen, RED)
    (green_left, _), (right, _) = around(seen, GREEN)
    top = around(seen, BLUE)[0][1]
    blue_bottom = around(seen, BLUE, 3)[1][1]
    line = [(left, top), (left, bottom), (right, bottom), (right, top), (green_left, top), (green_left, blue_bottom)]
    line += [(red_right, blue_bottom), (red_right, top)]
    tab.choose("By", "Lasso")
    tab.press("Draw around it")
    tab.page.locator("#recon-lasso").wait_for()
    assert editing.editor is not None
    drawn: list[np.ndarray] = []
    tab.trace(line, lambda: drawn.append(tab.picture()))
    assert share_of(drawn[0], LINE, 30) > share_of(seen, LINE, 30) + 5e-4  # the line is seen while it is drawn
    after = tab.until(lambda now: gone(now, RED) and gone(now, GREEN) and there(now, BLUE), "two balls in the lasso")
    assert abs(share_of(after, BLUE) / share_of(seen, BLUE) - 1) < 0.02  # the camera did not move
    assert tab.page.locator("#recon-lasso").count() == 0
    tab.page.get_by_text("160 of 240 Gaussians selected").wait_for()
    assert torch.equal(editing.editor.selected, torch.arange(240) < 160)
    tab.press("Draw around it")
    tab.page.locator("#recon-lasso").wait_for()
    tab.page.keyboard.press("Escape")
    assert tab.page.locator("#recon-lasso").count() == 0
    tab.press("None")
    tab.until(all_there, "nothing selected")


def test_a_click_selects_what_is_alike(editing: Viewer, tab: Tab) -> None:
    tab.choose("By", "Alike")
    seen = tab.picture()
    tab.press("Click on it")
    tab.told("Click what you mean.")
    tab.click_at(*middle_of(seen, GREEN))
    tab.until(lambda now: gone(now, GREEN) and there(now, RED) and there(now, BLUE), "green selected by a click")
    assert editing.editor is not None
    assert 0 < int(editing.editor.selected.sum()) < 160
    tab.press("None")
    tab.until(all_there, "nothing selected")


def test_floaters_are_previewed_before_they_go(editing: Viewer, tab: Tab) -> None:
    tab.choose("By", "Floaters")
    assert editing.editor is not None
    tab.type_into("Photos <", 1)
    tab.until(lambda seen: bool(editing.editor.selected.any()), "a preview of the hidden insides")
    inside = int(editing.editor.selected.sum())
    assert 0 < inside < 200
    tab.type_into("Photos <", 0)
    tab.page.get_by_text("0 of 240 Gaussians selected").wait_for()
    tab.choose("By", "Rectangle")


def test_a_copy_is_moved_and_the_scene_saved_in_every_format(
    editing: Viewer, tab: Tab, browser: Any, tmp_path: Path
) -> None:
    assert editing.editor is not None
    assert editing.frame is not None
    folder = editing.contents.folder
    original = (folder / "splats.ply").read_bytes()
    before = share_of(tab.picture(), RED)
    select_ball(tab, RED)
    tab.press("Duplicate")
    tab.page.get_by_text("80 of 320 Gaussians selected").wait_for()
    handle = editing.server.scene._handle_from_node_name["/handle"]
    from recon.geometry import Sim3

    shift = torch.tensor([0.0, -1.6e-3, 0.0], dtype=torch.float64)
    one = Sim3.identity(torch.float64)
    editing.panels.edit._moved(Sim3(one.scale, one.R, shift))  # what letting go of the handle calls
    assert handle is not editing.server.scene._handle_from_node_name["/handle"]  # it went along
    tab.press("None")
    tab.until(lambda seen: share_of(seen, RED) > 1.6 * before, "a second red ball")
    for suffix in (*SPLAT_SUFFIXES, ".html"):
        tab.choose("Format", suffix)
        tab.press("Save a copy")
        tab.page.get_by_text(f"edits/scene-1{suffix} in recon").wait_for()
    for suffix in SPLAT_SUFFIXES:
        saved = load(folder / "edits" / f"scene-1{suffix}").splats
        assert saved is not None
        assert len(saved) == 320
        assert (saved.means[240:].mean(0) - saved.means[:80].mean(0) - shift).abs().max() < 2e-4 or suffix != ".ply"
    page = browser.new_page(viewport={"width": 640, "height": 480})
    page.goto((folder / "edits" / "scene-1.html").as_uri())
    opened = Tab(page, tmp_path)
    opened.until(lambda seen: share_of(seen, RED) > 1.5 * max(share_of(seen, GREEN), 0.003), "two red balls on a page")
    opened.close()
    assert (folder / "splats.ply").read_bytes() == original
    assert len(read_splats(folder / "splats.ply")) == 240
    for _ in range(2):
        tab.press("Undo")
    tab.press("None")
    tab.until(all_there, "back to the original")
