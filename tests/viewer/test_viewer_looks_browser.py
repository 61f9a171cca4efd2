"""Frames drawn on the server, photos laid over, runs side by side, lengths, floors and films, in a real browser."""

import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from blob_scene import (
    BLUE,
    CENTERS,
    GREEN,
    RED,
    SCALE,
    THUMBNAIL_COLORS,
    ball,
    blob_cameras,
    blob_splats,
    write_run,
)
from browser_tab import Tab, middle_of, share_of
from PIL import Image

from recon.compress import write_ply
from recon.geometry import Sim3, exp_so3
from recon.types import Splats
from recon.video import ffmpeg_path
from viewer import Viewer, open_run
from viewer.display import window_camera
from viewer.edit import transform_splats
from viewer.looks import SEEN_COLORS
from viewer.screenshot import draw

pytestmark = pytest.mark.browser

YELLOW = (235, 225, 40)
GREEN_SEEN = tuple(round(255 * c) for c in SEEN_COLORS[3].tolist())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """Two runs: the three balls, and the same in yellow in a world that is turned, shifted and three times as large."""
    first = write_run(tmp_path_factory.mktemp("first") / "recon")
    motion = Sim3(torch.tensor(3.0), exp_so3(torch.tensor([0.3, 1.1, -0.5])), torch.tensor([0.02, -0.01, 0.05]))
    yellow = Splats.cat([ball(YELLOW, center) for center in CENTERS.values()])
    cameras = motion.apply_cameras(blob_cameras())
    second = write_run(tmp_path_factory.mktemp("second") / "recon", transform_splats(yellow, motion), cameras)
    running = open_run(first.folder, second.folder, port=0, block=False)
    running.stage.show_cameras(False)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tab(page: Viewer, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    opened = Tab.open(browser, page.url, tmp_path_factory.mktemp("shots"), (900, 660))
    opened.until(lambda seen: there(seen, RED) and there(seen, YELLOW), "opened with both runs")
    opened.choose("Runs", "Off")
    yield opened
    opened.close()


def there(seen: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return share_of(seen, rgb) > 0.003


def all_there(seen: np.ndarray) -> bool:
    return all(there(seen, rgb) for rgb in (RED, GREEN, BLUE))


def small(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((64, 48), Image.Resampling.BOX)).astype(float)


def only_client(viewer: Viewer) -> Any:
    (client,) = viewer.server.get_clients().values()
    return client


def wait_for(condition: Callable[..., bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.05)


def test_two_runs_share_one_picture_and_the_wipe_moves_between_them(page: Viewer, tab: Tab) -> None:
    tab.choose("Runs", "Wipe")
    seen = tab.until(lambda now: there(now, RED) and there(now, YELLOW), "a wipe between two runs")
    cut = seen.shape[1] // 2
    assert share_of(seen[:, cut + 3 :], RED) < 1e-4
    assert share_of(seen[:, : cut - 3], YELLOW) < 1e-4
    right_ball = middle_of(seen[:, cut + 3 :], YELLOW)
    tab.type_into("Wipe", 1.0)
    whole = tab.until(lambda now: all_there(now) and share_of(now, YELLOW) < 1e-4, "only the first run")
    # Both runs are in one world: the ball on the right is where the other run's was.
    green = middle_of(whole, GREEN)
    assert green[0] > cut
    tab.type_into("Wipe", 0.0)
    other = tab.until(lambda now: there(now, YELLOW) and not there(now, RED), "only the second run")
    assert share_of(other, YELLOW) == pytest.approx(sum(share_of(whole, c) for c in (RED, GREEN, BLUE)), rel=0.25)
    tab.choose("Runs", "Side by side")
    sides = tab.until(lambda now: there(now, RED) and there(now, YELLOW), "both side by side")
    assert share_of(sides[:, : cut - 3], YELLOW) < 1e-4
    tab.choose("Runs", "Off")
    tab.until(all_there, "one run again")
    assert right_ball[1] == pytest.approx(green[1], abs=40)


def test_what_is_selected_is_tinted_on_its_side_of_the_wipe(page: Viewer, tab: Tab) -> None:
    tab.choose("Runs", "Wipe")
    tab.type_into("Wipe", 0.7)
    seen = tab.until(lambda now: there(now, RED) and there(now, YELLOW), "a wipe with nothing selected")
    cut = round(0.7 * seen.shape[1])
    tab.section("Edit")
    tab.press("All")
    tinted = tab.until(lambda now: share_of(now[:, : cut - 3], RED) < 1e-4, "the left run tinted")
    assert share_of(tinted[:, : cut - 3], (255, 160, 60), 70) > 0.01
    right = slice(cut + 3, None)
    assert share_of(tinted[:, right], YELLOW) == pytest.approx(share_of(seen[:, right], YELLOW), rel=0.05)
    tab.press("None")
    tab.section("Look")
    tab.until(lambda now: there(now, RED), "nothing selected")
    tab.choose("Runs", "Off")
    tab.until(all_there, "one run again")


def test_exact_splats_are_those_of_our_renderer_also_after_moving(page: Viewer, tab: Tab) -> None:
    tab.choose("Draw", "Splats, exact")
    before = tab.until(all_there, "exact splats")
    tab.drag((120.0, 30.0))
    seen = tab.until(lambda now: np.abs(small(now) - small(before)).mean() > 3.0, "another view, drawn by the server")
    camera = only_client(page).camera
    size = seen.shape[1], seen.shape[0]
    ours = window_camera(camera.wxyz, camera.position, camera.fov, size, page.frame)
    drawn = draw(blob_splats(), ours, page.background, near=0.1 * SCALE)
    assert np.abs(small(seen) - small(drawn)).mean() < 1.5
    tab.page.get_by_text("Server:").wait_for()
    tab.press("Reset view")
    tab.until(lambda now: np.abs(small(now) - small(before)).mean() < 1.5, "the first view, sharp again")


def test_depth_normals_and_uncertainty_are_drawn_as_what_they_are(page: Viewer, tab: Tab) -> None:
    tab.choose("Draw", "Depth")
    depth = tab.until(lambda now: not there(now, GREEN) and share_of(now, page.background, 8) < 0.97, "depth")
    assert len(np.unique(depth.reshape(-1, 3), axis=0)) > 50
    tab.page.get_by_text("near", exact=True).wait_for()
    tab.choose("Draw", "Normals")
    facing = (128, 128, 250)  # what looks at the viewer is blue
    tab.until(lambda now: share_of(now, facing, 70) > 0.005, "normals")
    tab.page.get_by_text("to you").wait_for()
    tab.choose("Draw", "Uncertainty")
    tab.until(lambda now: share_of(now, GREEN_SEEN, 40) > 0.01, "seen by all three cameras")
    tab.page.get_by_text("Seen by").wait_for()
    tab.choose("Draw", "Splats")
    tab.until(all_there, "splats drawn by the browser again")


def test_a_photo_is_laid_over_the_view_from_its_place(page: Viewer, tab: Tab) -> None:
    tab.press("Photo ›")
    tab.page.wait_for_timeout(1500)
    photo = page._pilots[only_client(page).client_id].photo
    assert photo is not None
    color = THUMBNAIL_COLORS[photo]
    tab.type_into("Photo", 1.0)
    tab.until(lambda now: share_of(now, color, 20) > 0.6 and not there(now, RED), "the photo")
    tab.type_into("Photo", 0.5)
    half = tuple(round((c + b) / 2) for c, b in zip(color, page.background))
    tab.until(lambda now: share_of(now, half, 20) > 0.4, "half photo, half scene")
    tab.type_into("Photo", 0.0)
    tab.until(all_there, "the scene alone")


def test_lengths_scale_and_floor_are_kept_for_the_next_time(page: Viewer, tab: Tab) -> None:
    tab.section("Measure")
    seen = tab.until(all_there, "before measuring")
    spots = [middle_of(seen, rgb) for rgb in (RED, GREEN, BLUE)]
    tab.press("Measure a length")
    tab.told("Click two points.")
    for count, spot in enumerate(spots[:2], start=1):
        tab.click_at(*spot)
        wait_for(lambda n=count: len(page.panels.measure.points) == n, "the click to arrive")
    tab.page.get_by_text("Length:").wait_for()
    tab.type_into("True length", 2.8)
    tab.press("Set the scale")
    tab.page.get_by_text("Length: 2.8 m").wait_for()
    notes = json.loads((page.contents.folder / "view.json").read_text())
    assert notes["unit"] == "m"
    assert notes["units_per_world"] == pytest.approx(1 / SCALE, rel=0.1)  # the balls are 2.8 mm apart

    tab.press("3 points")
    tab.told("Click three points of the floor.")
    for count, spot in enumerate(spots, start=1):
        tab.click_at(*spot)
        wait_for(lambda n=count: len(page.panels.measure.points) == n, "the click to arrive")
    tab.page.get_by_text("The floor is set.").wait_for()
    notes = json.loads((page.contents.folder / "view.json").read_text())
    up = np.array(notes["up"])
    centers = np.array(list(CENTERS.values()))
    normal = np.cross(centers[1] - centers[0], centers[2] - centers[0])
    assert abs(up @ normal) / np.linalg.norm(normal) > 0.97
    again = open_run(page.contents.folder, port=0, block=False)
    try:
        np.testing.assert_allclose(again.frame.up, up, atol=1e-6)
        assert again.notes.unit == "m"
    finally:
        again.stop()
    tab.press("Clear marks")


def test_views_are_kept_and_a_film_goes_through_them(page: Viewer, tab: Tab) -> None:
    folder = page.contents.folder
    tab.section("Film")
    tab.press("Save")
    tab.page.wait_for_timeout(300)
    start = only_client(page).camera.position.copy()
    tab.wheel(300.0)
    tab.page.wait_for_timeout(1200)
    tab.press("Save")
    tab.page.wait_for_timeout(500)
    assert [view["name"] for view in json.loads((folder / "view.json").read_text())["views"]] == ["View 1", "View 2"]
    tab.type_into("Timeline", 1.0)
    tab.page.wait_for_timeout(300)
    tab.type_into("Timeline", 0.0)
    tab.page.wait_for_timeout(800)
    assert np.linalg.norm(only_client(page).camera.position - start) < 0.2
    first = tab.until(all_there, "the first view, by the timeline")
    play_and_pause(page, tab, first)
    tab.choose("Size", "640 × 360")
    tab.choose("Frames/s", "12")
    tab.type_into("Seconds", 1.0)
    tab.choose("Format", "PNGs")
    tab.press("Render")
    tab.page.get_by_text("Done: films/film-1").wait_for()
    frames = sorted((folder / "films" / "film-1").glob("*.png"))
    assert len(frames) == 12
    pictures = [np.asarray(Image.open(path)) for path in (frames[0], frames[-1])]
    assert pictures[0].shape == (360, 640, 3)
    assert all(there(pictures[0], rgb) for rgb in (RED, GREEN, BLUE))
    assert share_of(pictures[1], RED) < 0.9 * share_of(pictures[0], RED)  # the second view is from farther away


def play_and_pause(page: Viewer, tab: Tab, first: np.ndarray) -> None:
    """Along the path from `first` to a view from farther away: stopped on the way, moved by the slider, to the end."""
    size = share_of(first, RED)
    tab.type_into("Seconds", 10.0)
    tab.press("Play")
    deadline = time.monotonic() + 60.0
    while share_of(tab.picture(), RED) > 0.95 * size:
        assert time.monotonic() < deadline, "nothing moves after Play"
    tab.press("Pause")
    tab.page.get_by_role("button", name="Play", exact=True).wait_for()
    paused = tab.until(lambda now: share_of(now, RED) < 0.96 * size, "paused on the way")
    position = only_client(page).camera.position.copy()
    tab.page.wait_for_timeout(700)
    np.testing.assert_array_equal(only_client(page).camera.position, position)
    np.testing.assert_allclose(small(tab.picture()), small(paused), atol=2.0)
    tab.type_into("Timeline", 1.0)
    last = tab.until(lambda now: share_of(now, RED) < 0.9 * size, "the end of the path, by the slider")
    tab.type_into("Timeline", 0.0)
    tab.until(lambda now: np.abs(small(now) - small(first)).mean() < 1.0, "the start of the path, by the slider")
    tab.type_into("Seconds", 1.0)
    tab.press("Play")
    tab.until(lambda now: np.abs(small(now) - small(last)).mean() < 1.0, "played to the end")
    wait_for(lambda: page.panels.film._time.value == 1.0 and page.panels.film._playing is None, "the ride to be over")


@pytest.mark.skipif(ffmpeg_path() is None, reason="no ffmpeg")
def test_a_film_is_cancelled_without_a_trace_and_a_short_one_plays(page: Viewer, tab: Tab, tmp_path: Path) -> None:
    folder = page.contents.folder / "films"
    tab.section("Film")
    tab.choose("Format", "MP4")
    tab.choose("Path", "Photos")
    tab.choose("Size", "1920 × 1080")
    tab.type_into("Seconds", 60.0)
    tab.press("Render")
    tab.press("Cancel")
    tab.page.get_by_text("Cancelled; nothing was kept.").wait_for()
    assert not list(folder.glob("*.mp4"))
    assert not list(folder.glob(".*"))
    tab.choose("Size", "640 × 360")
    tab.type_into("Seconds", 1.0)
    tab.press("Render")
    tab.page.get_by_text("Done: films/film-1.mp4").wait_for()
    played = iio.imread(folder / "film-1.mp4", plugin="FFMPEG")
    assert played.shape == (12, 360, 640, 3)
    assert there(played[5], RED)


def test_the_film_of_a_bare_file_is_handed_over_and_nothing_stays(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    write_ply(tmp_path / "balls.ply", blob_splats())
    viewer = open_run(tmp_path / "balls.ply", port=0, block=False)
    try:
        tab = Tab.open(browser, viewer.url, tmp_path)
        tab.until(all_there, "a bare file")
        tab.section("Film")
        tab.press("Save")
        tab.page.get_by_role("combobox", name="View", exact=True).and_(tab.page.locator("[value='View 1']")).wait_for()
        tab.choose("Size", "640 × 360")
        tab.choose("Frames/s", "12")
        tab.type_into("Seconds", 1.0)
        tab.choose("Format", "PNGs")
        with tab.page.expect_download() as download:
            tab.press("Render")
        with zipfile.ZipFile(download.value.path()) as packed:
            frames = sorted(packed.namelist())
            picture = np.asarray(Image.open(packed.open(frames[5])))
        assert download.value.suggested_filename == "film-1.zip"
        assert len(frames) == 12
        assert picture.shape == (360, 640, 3)
        assert all(there(picture, rgb) for rgb in (RED, GREEN, BLUE))
        tab.page.get_by_text("Done: film-1.zip").wait_for()
        assert not list((tmp_path / "scratch").iterdir())
        tab.close()
    finally:
        viewer.stop()
