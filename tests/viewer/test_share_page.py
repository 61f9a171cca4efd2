"""The page of `recon export --html`, opened from disk in a real browser; assertions are on pixels.

The scenes are synthetic: three balls, and a cloud of Gaussians of every shape whose colours depend on the view.
"""

import io
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blob_scene import BLUE, GREEN, HEIGHT, RED, SCALE, WIDTH, BlobRun, write_run
from browser_tab import middle_of, share_of
from PIL import Image

from recon import cli
from recon.render import render, select_rasterizer
from recon.report.scene_page.page import BACKGROUND
from recon.types import Splats

pytestmark = pytest.mark.browser

BALLS = (RED, GREEN, BLUE)
TITLE = "<img src=x onerror=alert(1)>&amp;"
SECONDS = 60_000
"""Patience with a busy machine, in milliseconds."""


@dataclass
class Opened:
    """A tab with the page, and what it asked the network for."""

    page: Any
    requests: list[str]
    errors: list[str]

    @staticmethod
    def open(
        browser: Any, file: Path, window: tuple[int, int] = (640, 400), script: str = "", **options: Any
    ) -> "Opened":
        """Open `file` where every request to the network is refused; `script` runs before the page's own."""
        context = browser.new_context(viewport={"width": window[0], "height": window[1]}, **options)
        opened = Opened(context.new_page(), [], [])
        context.set_offline(True)
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("dialog", lambda dialog: opened.errors.append(f"a dialog: {dialog.message}"))
        if script:
            opened.page.add_init_script(script)
        opened.page.goto(file.as_uri(), timeout=SECONDS)
        return opened

    def settled(self) -> np.ndarray:
        """What the window shows when nothing moves any more, [H, W, 3] uint8."""
        self.page.wait_for_timeout(100)  # an event that was just sent is on its way
        self.page.wait_for_selector("body[data-settled]", state="attached", timeout=SECONDS)
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot(timeout=SECONDS))).convert("RGB"))

    def scene(self) -> np.ndarray:
        """The settled picture without what floats over it."""
        self.page.evaluate("for (const e of document.querySelectorAll('header, footer')) e.style.opacity = 0")
        picture = self.settled()
        self.page.evaluate("for (const e of document.querySelectorAll('header, footer')) e.style.opacity = 1")
        return picture

    def drag(self, by: tuple[float, float], button: str = "left") -> None:
        mouse, start = self.page.mouse, (320, 150)
        mouse.move(*start)
        mouse.down(button=button)
        for step in range(1, 5):
            mouse.move(start[0] + by[0] * step / 4, start[1] + by[1] * step / 4)
        mouse.up(button=button)


def place(picture: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    return np.array(middle_of(picture, rgb))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return -10 * math.log10(float(((a.astype(float) - b.astype(float)) ** 2).mean()) / 255**2)


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Splats | None], tuple[Path, BlobRun]]:
    """Makes a run of that title and its page."""

    def make(title: str, splats: Splats | None = None) -> tuple[Path, BlobRun]:
        run = write_run(tmp_path_factory.mktemp("share") / title / "recon", splats)
        file = run.folder.parent / "scene.html"
        assert cli.run(["export", str(run.folder), "--html", str(file)]) == 0
        return file, run

    return make


@pytest.fixture(scope="module")
def balls(share: Any) -> Path:
    return share(TITLE)[0]


@pytest.fixture
def opened(browser: Any, balls: Path) -> Iterator[Opened]:
    tab = Opened.open(browser, balls)
    yield tab
    assert not tab.errors
    tab.page.context.close()


def cloud() -> Splats:
    """Long, flat and round Gaussians, faint and opaque, one behind the other, with all three degrees of harmonics."""
    n, generator = 1000, torch.Generator().manual_seed(1)
    return Splats(
        means=torch.randn(n, 3, generator=generator) * torch.tensor([1.3, 0.9, 1.3]) * SCALE,
        quats=torch.randn(n, 4, generator=generator),
        log_scales=torch.randn(n, 3, generator=generator) - 2.5 + math.log(SCALE),
        logit_opacities=2 * torch.randn(n, generator=generator),
        sh0=0.8 * torch.randn(n, 1, 3, generator=generator),
        shN=0.25 * torch.randn(n, 15, 3, generator=generator),
    )


def test_page_agrees_with_the_rasterizer_and_asks_for_nothing(browser: Any, share: Any) -> None:
    file, run = share("cloud", cloud())
    tab = Opened.open(browser, file, (WIDTH, HEIGHT))
    scores = []
    for _ in range(3):
        tab.page.keyboard.press("n")
        picture = tab.scene()
        photo = int(tab.page.locator("#number").text_content().split("/")[0]) - 1
        truth = render(
            run.splats,
            run.cameras[photo],
            select_rasterizer("cpu"),
            background=torch.tensor(BACKGROUND) / 255,
            near_plane=0.01 * SCALE,
        ).rgb[0]
        scores.append((photo, psnr(picture, 255 * truth.clamp(0, 1).numpy())))
    assert {photo for photo, _ in scores} == {0, 1, 2}
    assert min(score for _, score in scores) > 40.0, scores
    assert not tab.errors
    assert {url.split(":")[0] for url in tab.requests} == {"file", "blob"}
    assert sum(url.startswith("file:") for url in tab.requests) == 1
    tab.page.context.close()


def test_hostile_title_is_text(opened: Opened) -> None:
    opened.settled()
    assert opened.page.title() == f"{TITLE} - recon"
    assert opened.page.locator("h1").text_content() == TITLE
    assert opened.page.locator("img").count() == 0
    assert "240 Gaussians" in opened.page.locator("#facts").text_content().replace("\u202f", " ")


def test_mouse_orbits_moves_and_zooms_and_reset_brings_back(opened: Opened) -> None:
    first = opened.scene()
    assert all(share_of(first, rgb) > 0.003 for rgb in BALLS)
    opened.drag((70, 0))
    orbited = opened.scene()
    # What is behind the middle goes against the pointer; blue stays above the others: up stays up.
    assert place(orbited, BLUE)[0] < place(first, BLUE)[0] - 5
    assert place(orbited, BLUE)[1] < min(place(orbited, rgb)[1] for rgb in (RED, GREEN)) - 20
    opened.page.get_by_role("button", name="Reset").click()
    opened.page.wait_for_timeout(1000)
    assert np.abs(opened.scene().astype(int) - first).max() <= 2

    opened.drag((60, 30), button="right")
    moved = opened.scene()
    for rgb in BALLS:
        assert np.linalg.norm(place(moved, rgb) - place(first, rgb) - (60, 30)) < 12  # as far as the pointer
    opened.page.keyboard.press("r")
    opened.page.wait_for_timeout(1000)
    assert np.abs(opened.scene().astype(int) - first).max() <= 2
    opened.page.mouse.wheel(0, 300)
    assert share_of(opened.scene(), GREEN) < 0.7 * share_of(first, GREEN)


def test_keys_move_and_double_click_centres(opened: Opened) -> None:
    first = opened.scene()
    opened.page.keyboard.down("ArrowRight")
    opened.page.wait_for_timeout(700)
    opened.page.keyboard.up("ArrowRight")
    turned = opened.scene()
    assert place(turned, BLUE)[0] > place(first, BLUE)[0] + 5
    opened.page.mouse.dblclick(*place(turned, GREEN))
    opened.page.wait_for_timeout(1000)
    assert np.linalg.norm(place(opened.scene(), GREEN) - (320, 200)) < 12


COUNT_FRAMES = """() => {
  window.unsettled = 0;
  const look = () => {
    if (!("settled" in document.body.dataset)) window.unsettled++;
    requestAnimationFrame(look);
  };
  look();
}"""


def test_photo_buttons_fly_smoothly(opened: Opened) -> None:
    first = opened.scene()
    assert opened.page.locator("output").text_content() == "2 / 3 photo_1.jpg"
    opened.page.evaluate(COUNT_FRAMES)
    opened.page.get_by_role("button", name="Next photo").click()
    opened.page.wait_for_timeout(1300)
    third = opened.scene()
    assert opened.page.evaluate("window.unsettled") >= 2, "the flight takes time"
    assert opened.page.locator("output").text_content() == "3 / 3 photo_2.jpg"
    assert np.linalg.norm(place(third, RED) - place(first, RED)) > 5
    opened.page.get_by_role("button", name="Previous photo").click()
    opened.page.wait_for_timeout(1000)
    assert np.abs(opened.scene().astype(int) - first).max() <= 2


def test_background_help_and_full_screen(opened: Opened) -> None:
    assert opened.page.locator("#help").is_visible()
    opened.page.get_by_role("button", name="How to move").click()
    assert not opened.page.locator("#help").is_visible()
    assert np.abs(opened.scene()[5, 5].astype(int) - BACKGROUND).max() <= 1
    opened.page.get_by_label("Background colour").fill("#00ffee")
    assert opened.scene()[5, 5].tolist() == [0, 255, 238]
    opened.page.keyboard.press("f")
    opened.page.wait_for_function("document.fullscreenElement !== null", timeout=10_000)
    opened.page.get_by_role("button", name="Full screen").click()
    opened.page.wait_for_function("document.fullscreenElement === null", timeout=10_000)


def touch(client: Any, kind: str, *points: tuple[float, float]) -> None:
    fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
    client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def test_phone_fits_and_takes_fingers(browser: Any, balls: Path) -> None:
    tab = Opened.open(browser, balls, (390, 844), has_touch=True, is_mobile=True, device_scale_factor=2)
    first = tab.scene()
    assert first.shape[:2] == (1688, 780)  # the device's own pixels
    boxes = [box.bounding_box() for box in tab.page.locator("nav button:visible, nav label:visible").all()]
    assert len(boxes) == 6
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 40 for box in boxes)
    lefts = sorted((box["x"], box["x"] + box["width"]) for box in boxes)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(lefts))

    fingers = tab.page.context.new_cdp_session(tab.page)
    touch(fingers, "touchStart", (150, 420), (240, 420))
    touch(fingers, "touchMove", (105, 460), (285, 460))  # twice as far apart, and 40 down
    touch(fingers, "touchEnd")
    pinched = tab.scene()
    apart = [np.linalg.norm(place(picture, RED) - place(picture, GREEN)) for picture in (first, pinched)]
    assert 1.6 < apart[1] / apart[0] < 2.5
    touch(fingers, "touchStart", (200, 300))
    touch(fingers, "touchMove", (240, 300))
    touch(fingers, "touchEnd")
    orbited = tab.scene()
    assert place(orbited, BLUE)[0] < place(pinched, BLUE)[0] - 5
    assert not tab.errors
    tab.page.context.close()


def test_desktop_layout(browser: Any, balls: Path) -> None:
    tab = Opened.open(browser, balls, (1280, 720))
    tab.settled()
    header, panel, line = (tab.page.locator(name).bounding_box() for name in ("header", "nav", "#help"))
    assert header["y"] + header["height"] < 100
    assert line["y"] + line["height"] <= panel["y"]
    assert line["height"] < 40, "one line"
    assert panel["y"] + panel["height"] <= 720
    assert panel["width"] < 1280
    tab.page.context.close()


def test_lost_graphics_come_back(opened: Opened) -> None:
    first = opened.scene()
    opened.page.evaluate(
        """() => new Promise((done) => {
            const canvas = document.querySelector("canvas");
            const graphics = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
            canvas.addEventListener("webglcontextlost", () => setTimeout(() => graphics.restoreContext(), 50));
            canvas.addEventListener("webglcontextrestored", () => setTimeout(done, 50));
            graphics.loseContext();
        })"""
    )
    assert np.abs(opened.scene().astype(int) - first).max() <= 1


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("HTMLCanvasElement.prototype.getContext = () => null", "needs WebGL 2"),
        ("delete window.DecompressionStream", "too old"),
    ],
)
def test_what_a_browser_lacks_is_said(browser: Any, balls: Path, missing: str, message: str) -> None:
    tab = Opened.open(browser, balls, script=missing)
    tab.page.get_by_text(message).wait_for(timeout=SECONDS)
    assert not tab.page.locator("nav").is_visible()
    tab.page.context.close()
