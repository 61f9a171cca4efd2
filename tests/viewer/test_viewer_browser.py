"""The page as a person meets it, in a real browser; assertions are on pixels."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blob_scene import BLUE, CENTERS, GREEN, RED, SCALE, BlobRun, ball, blob_posed_scene
from browser_tab import Tab, middle_of, share_of, wait_for
from PIL import Image

from recon.events import Progress, SceneReady, SplatsUpdated, StageStarted
from recon.geometry import project
from recon.types import Cameras, Splats
from viewer import LiveViewer, Viewer
from viewer.display import camera_view, window_camera
from viewer.screenshot import browser_picture, draw

pytestmark = pytest.mark.browser

BALLS = (RED, GREEN, BLUE)
WHITE = (255, 255, 255)
PALE = 135
"""How far from white a drawn point may be: the page draws at fewer pixels on a busy machine, which blurs points."""


def has_all_balls(picture: np.ndarray) -> bool:
    return all(share_of(picture, rgb) > 0.003 for rgb in BALLS)


def only_client(viewer: Viewer) -> Any:
    clients = list(viewer.server.get_clients().values())
    assert len(clients) == 1
    return clients[0]


def tab_camera(viewer: Viewer, size: tuple[int, int]) -> Cameras:
    """The tab's camera in the world, for a picture of `size` (width, height)."""
    camera = only_client(viewer).camera
    return window_camera(camera.wxyz, camera.position, camera.fov, size, viewer.frame)


def size_of(picture: np.ndarray) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]


def small(picture: np.ndarray) -> np.ndarray:
    """Coarse colours, to compare two renderers."""
    return np.asarray(Image.fromarray(picture).resize((64, 48), Image.Resampling.BOX)).astype(float)


def test_splats_are_where_they_should_be_and_can_be_hidden(viewer: Viewer, tab: Tab, blob_run: BlobRun) -> None:
    picture = tab.until(has_all_balls, "three balls on screen")
    camera = tab_camera(viewer, size_of(picture))
    for rgb, center in CENTERS.items():
        uv, _ = project(torch.tensor([center]) * SCALE, camera.cam_from_world, camera.Ks)
        assert np.hypot(*(np.array(middle_of(picture, rgb)) - uv.reshape(2).numpy())) < 6.0
    # The first view is the middle camera's.
    assert torch.allclose(camera.cam_from_world[0], blob_run.cameras.cam_from_world[1], atol=2e-3)

    tab.choose("Draw", "Nothing")
    tab.until(lambda seen: not any(share_of(seen, rgb) > 1e-4 for rgb in BALLS), "splats hidden")
    tab.choose("Draw", "Points")
    tab.until(lambda seen: share_of(seen, WHITE, PALE) > 1e-3, "points shown")
    tab.choose("Draw", "Splats")
    tab.until(lambda seen: has_all_balls(seen) and share_of(seen, WHITE, PALE) < 1e-3, "splats back, points gone")


def test_drag_moves_the_camera_and_reset_brings_it_back(viewer: Viewer, tab: Tab) -> None:
    before = tab.until(has_all_balls, "three balls on screen")
    pose = tab_camera(viewer, size_of(before)).cam_from_world
    tab.drag((160.0, 0.0))
    moved = tab.until(lambda seen: np.abs(small(seen) - small(before)).mean() > 3.0, "another picture after the drag")
    camera = tab_camera(viewer, size_of(moved))
    assert not torch.allclose(camera.cam_from_world, pose, atol=1e-2)
    for rgb, center in CENTERS.items():  # what is seen agrees with where the server believes the tab is
        if share_of(moved, rgb) > 0.003:
            uv, _ = project(torch.tensor([center]) * SCALE, camera.cam_from_world, camera.Ks)
            assert np.hypot(*(np.array(middle_of(moved, rgb)) - uv.reshape(2).numpy())) < 14.0
    tab.page.get_by_text("Reset view", exact=True).click()
    tab.until(lambda seen: np.abs(small(seen) - small(before)).mean() < 1.0, "the first picture after a reset")


def test_click_on_a_camera_flies_there(viewer: Viewer, tab: Tab, blob_run: BlobRun) -> None:
    first = tab.until(has_all_balls, "three balls on screen")
    for _ in range(3):
        tab.wheel(400.0)
        time.sleep(0.2)
    away = tab.until(lambda seen: share_of(seen, RED) < 0.6 * share_of(first, RED), "zoomed out")
    target = camera_view(blob_run.cameras, 2, viewer.frame)
    depth = viewer.stage.frustum_depth
    picture_center = viewer.frame.world_points(target.position + 0.9 * depth * target.rotation[:, 2])
    camera = tab_camera(viewer, size_of(away))
    uv, _ = project(torch.from_numpy(picture_center).float()[None], camera.cam_from_world, camera.Ks)
    tab.click_at(*uv.reshape(2).tolist())

    def arrived() -> bool:
        now = tab_camera(viewer, (64, 48)).cam_from_world[0]
        return torch.allclose(now, blob_run.cameras.cam_from_world[2], atol=1e-4 * SCALE + 1e-3)

    wait_for(arrived, "the tab's camera at the photo's pose")
    picture = tab.until(has_all_balls, "the balls from the photo's place")
    seen_by = tab_camera(viewer, size_of(picture))
    # The whole photo fits: its field of view is at most the window's, and one side is the same.
    half_photo = torch.tensor([320 / 300.0, 240 / 300.0])
    half_window = torch.tensor(size_of(picture)) / seen_by.Ks[0].diagonal()[:2]
    assert torch.all(half_window > half_photo - 1e-3)
    assert torch.min(half_window - half_photo) < 1e-2
    drawn = draw(blob_run.splats, seen_by, viewer.background, near=SCALE)
    assert has_all_balls(drawn)
    assert np.abs(small(picture) - small(drawn)).mean() < 3.0
    # The photo's own frustum would cover everything from here; the others stay.
    assert share_of(picture, (60, 240, 240), 30) < 0.001


def test_screenshot_downloads_the_view(viewer: Viewer, tab: Tab) -> None:
    seen = tab.until(has_all_balls, "three balls on screen")
    with tab.page.expect_download(timeout=30_000) as download:
        tab.page.get_by_role("button", name="Screenshot").click()
    name = download.value.suggested_filename
    assert name.endswith(".png")
    picture = np.asarray(Image.open(io.BytesIO(download.value.path().read_bytes())))
    assert size_of(picture) == size_of(seen)
    for rgb in BALLS:
        assert np.hypot(*(np.array(middle_of(picture, rgb)) - middle_of(seen, rgb))) < 4.0


def box_of_panel(tab: Tab) -> dict[str, float]:
    """Where the side panel is: the outermost box around the readout that does not hold the 3D picture."""
    return tab.page.evaluate(
        """() => {
            let box = [...document.querySelectorAll('span')].find(s => s.textContent === 'Photos placed');
            while (!box.parentElement.querySelector('canvas')) box = box.parentElement;
            return box.getBoundingClientRect().toJSON();
        }"""
    )


def bottom_of_picture(tab: Tab) -> int:
    _, y, _, height = tab.canvas_box()
    return y + height


def test_panel_and_picture_share_the_window_and_tabs_come_and_go(viewer: Viewer, browser: Any, tmp_path: Path) -> None:
    desktop = Tab.open(browser, viewer.url, tmp_path, (1280, 720))
    desktop.until(has_all_balls, "desktop")
    wait_for(lambda: desktop.canvas_box()[2] >= 960, "the panel to be as narrow as it stays")  # its width settles last
    x, _, width, _ = desktop.canvas_box()
    panel = box_of_panel(desktop)
    assert x == 0
    assert panel["left"] >= width - 1
    assert panel["right"] <= 1280
    button = desktop.page.get_by_role("button", name="Screenshot").bounding_box()
    assert button["y"] + button["height"] < 720  # nothing to scroll for

    phone = Tab.open(browser, viewer.url, tmp_path, (390, 844))
    phone.until(has_all_balls, "phone")
    panel = box_of_panel(phone)
    assert panel["left"] <= 1
    assert panel["width"] >= 388
    assert panel["top"] >= 0.6 * 844
    wait_for(lambda: abs(bottom_of_picture(phone) - box_of_panel(phone)["top"]) <= 2, "the picture to end at the panel")
    phone.page.get_by_text("recon", exact=True).click()  # folds the panel down to its head
    wait_for(lambda: bottom_of_picture(phone) > 750, "the picture to take the room")
    phone.until(has_all_balls, "phone with the panel folded")
    assert phone.page.get_by_text("Software WebGL").count() == 0
    phone.page.locator("button:has-text('Screenshot') svg").wait_for(state="attached")  # icons come last
    assert len(viewer.server.get_clients()) == 2
    phone.close()
    desktop.close()
    wait_for(lambda: not viewer.server.get_clients() and not viewer._pilots, "both tabs to be forgotten")


@pytest.fixture
def live(browser: Any) -> Iterator[LiveViewer]:
    running = LiveViewer("blobs", port=0)
    yield running
    running.stop()


def one_color(rgb: tuple[int, int, int], count: int) -> Splats:
    return Splats.cat([ball(rgb, center, count) for center in CENTERS.values()])


def test_live_run_is_watched_from_before_the_first_splat(
    live: LiveViewer, browser: Any, blob_run: BlobRun, tmp_path: Path
) -> None:
    tab = Tab.open(browser, live.url, tmp_path)
    live(StageStarted("poses"))
    tab.page.get_by_text("Placing the photos").wait_for(timeout=10_000)
    live(SceneReady(blob_posed_scene()))
    tab.until(lambda seen: share_of(seen, WHITE, PALE) > 1e-3, "points before there are splats")
    captured = browser_picture(only_client(live.viewer))  # without splats, a screenshot is the browser's own picture
    assert share_of(captured[..., :3], WHITE, PALE) > 1e-3
    live(Progress("train", 30, 100, "step 30", {"loss": 0.25, "psnr": 19.5}))
    live(SplatsUpdated(30, one_color(RED, 40)))
    tab.until(lambda seen: share_of(seen, RED) > 0.01 and share_of(seen, WHITE, PALE) < 1e-3, "the first splats")
    tab.page.get_by_text("photo PSNR 19.50 dB").wait_for(timeout=10_000)
    tab.close()  # a closed tab must not matter

    second = Tab.open(browser, live.url, tmp_path)
    time.sleep(2.0)
    live(SplatsUpdated(60, one_color(BLUE, 60)))
    second.until(lambda seen: share_of(seen, BLUE) > 0.01 and share_of(seen, RED) < 1e-4, "the next splats instead")
    live.finish(blob_run.folder)
    second.until(has_all_balls, "the finished scene")
    second.page.get_by_text("24.32 dB (2 photos)").wait_for(timeout=10_000)
    assert second.page.get_by_text("Training the splats").count() == 0
    second.close()
