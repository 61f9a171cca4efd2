"""A headless Chromium as a person's eyes and hands: look at pixels, drag, click."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WINDOW = (800, 480)
SECONDS_TO_SETTLE = 90.0


@dataclass
class Tab:
    """One page of the viewer."""

    page: Any
    shots: Path
    """Folder that keeps the picture of every `until`, to be looked at."""

    @staticmethod
    def open(browser: Any, url: str, shots: Path, window: tuple[int, int] = WINDOW) -> "Tab":
        page = browser.new_page(viewport={"width": window[0], "height": window[1]}, accept_downloads=True)
        page.set_default_timeout(1000.0 * SECONDS_TO_SETTLE)  # a machine that does other things too is slow
        page.goto(url)
        page.wait_for_selector("canvas")
        page.wait_for_selector("button:has-text('Screenshot')")
        return Tab(page, shots)

    def close(self) -> None:
        self.page.close()

    def pixels(self) -> np.ndarray:
        """What the window shows, [H, W, 3] uint8."""
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def canvas_box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height of the 3D picture in the window."""
        box = self.page.locator("canvas").first.bounding_box()
        return round(box["x"]), round(box["y"]), round(box["width"]), round(box["height"])

    def picture(self) -> np.ndarray:
        """The 3D picture, [h, w, 3] uint8."""
        x, y, width, height = self.canvas_box()
        return self.pixels()[y : y + height, x : x + width]

    def until(self, condition: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
        """Wait until the picture stands still and `condition(picture)` holds; the picture.

        Splats fade in and cameras glide, so a first match is not the end: two equal pictures in a row are.
        """
        deadline = time.monotonic() + SECONDS_TO_SETTLE
        before = self.picture()
        while True:
            time.sleep(0.15)
            now = self.picture()
            same = now.shape == before.shape and int(np.abs(now.astype(int) - before.astype(int)).max()) <= 8
            done = same and condition(now)
            if done or time.monotonic() > deadline:
                shot = self.shots / f"{what.replace(' ', '_')}.png"
                Image.fromarray(self.pixels()).save(shot)
                assert done, f"not in {SECONDS_TO_SETTLE:.0f} s: {what}; see {shot}"
                return now
            before = now

    def click_at(self, u: float, v: float) -> None:
        """Click a pixel of the 3D picture as a person does: move there, hesitate, press, release."""
        x, y, _, _ = self.canvas_box()
        self.page.mouse.move(x + u, y + v)
        time.sleep(0.3)
        self.page.mouse.down()
        self.page.mouse.up()

    def drag(self, by: tuple[float, float]) -> None:
        """Drag from the middle of the 3D picture."""
        x, y, width, height = self.canvas_box()
        u, v = x + width / 2, y + height * 0.7
        self.page.mouse.move(u, v)
        self.page.mouse.down()
        for step in range(1, 9):
            self.page.mouse.move(u + by[0] * step / 8, v + by[1] * step / 8)
        self.page.mouse.up()

    def wheel(self, amount: float) -> None:
        """Turn the mouse wheel over the middle of the 3D picture; positive zooms out."""
        x, y, width, height = self.canvas_box()
        self.page.mouse.move(x + width / 2, y + height / 2)
        self.page.mouse.wheel(0, amount)

    def toggle(self, label: str) -> None:
        """Click a checkbox of the panel by its label."""
        self.page.get_by_label(label, exact=True).click()

    def told(self, text: str) -> None:
        """Wait for a message, then a moment for what was sent with it."""
        self.page.get_by_text(text, exact=True).last.wait_for()
        time.sleep(0.2)

    def section(self, name: str) -> None:
        """Turn to a section of the panel."""
        self.page.get_by_role("tab", name=name).click()

    def press(self, name: str) -> None:
        """Press a button of the panel."""
        self.page.get_by_role("button", name=name, exact=True).locator("visible=true").first.click()

    def choose(self, label: str, option: str) -> None:
        """Choose from a list of the panel."""
        self._row(label).locator("input").first.click()
        self.page.get_by_role("option", name=option, exact=True).locator("visible=true").click()

    def value_of(self, label: str) -> str:
        """What a list or a field of the panel shows."""
        value: str = self._row(label).locator("input").first.input_value()
        return value

    def type_into(self, label: str, value: float | str) -> None:
        """Type into a field of the panel, or the field beside a slider."""
        field = self._row(label).locator("input").last
        field.fill(str(value))
        field.evaluate("element => element.blur()")  # Tab would open the list after it

    def _row(self, label: str) -> Any:
        name = self.page.locator(f"xpath=//label[normalize-space()='{label}']").locator("visible=true").first
        return name.locator("xpath=ancestor::div[.//input or .//button][1]")

    def trace(self, corners: list[tuple[float, float]], seen: Callable[[], None] = lambda: None) -> None:
        """Draw a line through pixels of the 3D picture with the button held down; `seen()` before it is let go."""
        x, y, _, _ = self.canvas_box()
        self.page.mouse.move(x + corners[0][0], y + corners[0][1])
        self.page.mouse.down()
        for u, v in corners[1:]:
            self.page.mouse.move(x + u, y + v, steps=8)
        seen()
        self.page.mouse.up()

    def sweep(self, low: tuple[float, float], high: tuple[float, float]) -> None:
        """Drag from one pixel of the 3D picture to another, slowly enough to be seen as a drag."""
        x, y, _, _ = self.canvas_box()
        self.page.mouse.move(x + low[0], y + low[1])
        time.sleep(0.2)
        self.page.mouse.down()
        for step in range(1, 9):
            self.page.mouse.move(*(o + a + (b - a) * step / 8 for o, a, b in zip((x, y), low, high)))
        time.sleep(0.1)
        self.page.mouse.up()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Until something is so; fails saying what, if it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.05)


def share_of(picture: np.ndarray, rgb: tuple[int, int, int], tolerance: int = 60) -> float:
    """Share of the pixels whose colour is near `rgb`."""
    return float((np.abs(picture.astype(int) - rgb).max(axis=2) <= tolerance).mean())


def middle_of(picture: np.ndarray, rgb: tuple[int, int, int], tolerance: int = 60) -> tuple[float, float]:
    """Mean position (u, v) in pixels of those pixels."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - rgb).max(axis=2) <= tolerance)
    assert len(rows), f"no pixel is near {rgb}"
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5
