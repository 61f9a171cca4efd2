"""`recon run --view` as a person starts it: a process of its own, watched in a browser until the splats get better."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_tab import Tab

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PHOTOS = ("door_03.jpg", "door_05.jpg", "door_07.jpg", "door_09.jpg")
TINY = (
    *("--quality", "draft", "--holdout", "1", "--set", "images.max_side=360", "--set", "poses.max_side=360"),
    *("--set", "train.max_side=240", "--set", "train.steps=3000", "--set", "train.init.max_gaussians=2500"),
    *("--set", "train.densify.max_gaussians=3000", "--set", "train.publish_every=10"),
)
SECONDS = 200.0


@pytest.fixture
def page_of_a_run(tmp_path: Path) -> Iterator[str]:
    """Address of the page of a run that just began."""
    (tmp_path / "photos").mkdir()
    for name in PHOTOS:
        shutil.copy(ROOT / "assets" / "demo" / name, tmp_path / "photos" / name)
    command = ("run", "--images", str(tmp_path / "photos"), "--view", "--port", "0", *TINY)
    process = subprocess.Popen(
        [sys.executable, "-m", "recon.cli", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("Viewer: "):
            break
    url = said[-1].removeprefix("Viewer: ").strip() if said[-1:] and said[-1].startswith("Viewer: ") else None
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()  # or the run would wait for someone to read what it says
    try:
        assert url is not None, "".join(said)
        yield url
    finally:
        process.kill()
        process.wait()
        reader.join(timeout=10)


def readings(tab: Tab) -> tuple[int, float, float] | None:
    """Step, PSNR and loss that stand below the pictures; None before there are any."""
    line = tab.page.get_by_text(re.compile(r"^PSNR .* step \d+$"))
    found = re.fullmatch(r"PSNR ([\d.]+) dB · loss ([\d.]+) · step (\d+)", line.inner_text()) if line.count() else None
    return None if found is None else (int(found[3]), float(found[1]), float(found[2]))


def later(tab: Tab, step: int) -> tuple[int, float, float]:
    """The readings after `step`."""
    deadline = time.monotonic() + SECONDS
    while (now := readings(tab)) is None or now[0] <= step:
        assert time.monotonic() < deadline, f"nothing new after step {step}"
        time.sleep(0.1)
    return now


def pair(tab: Tab) -> tuple[np.ndarray, np.ndarray]:
    """Photo and splats as they stand side by side in the panel."""
    box = tab.page.locator("img[src^='blob:']").bounding_box()
    x, y, width, height = (round(box[key]) for key in ("x", "y", "width", "height"))
    both = tab.pixels()[y : y + height, x : x + width].astype(float)
    half = width // 2 - 2
    return both[:, :half], both[:, -half:]


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in {SECONDS:.0f} s: {what}"
        time.sleep(0.1)


def likeness(both: tuple[np.ndarray, np.ndarray]) -> float:
    """Difference of the splats to the photo, in shares of that of their mirror image."""
    photo, splats = both
    return float(np.abs(photo - splats).mean() / np.abs(photo - splats[:, ::-1]).mean())


def test_a_run_is_watched_beside_a_held_out_photo_and_one_it_trains_on(
    page_of_a_run: str, browser: Any, tmp_path: Path
) -> None:
    tab = Tab.open(browser, page_of_a_run, tmp_path, (1280, 900))
    later(tab, 0)
    until(lambda: "held out" in tab.value_of("Watch"), "a held-out photo to be watched")  # placed while it trains
    kept = tab.value_of("Watch").split()[1]
    assert kept in PHOTOS
    seen = readings(tab)
    assert seen is not None
    _, psnr, _ = later(tab, max(seen[0], 150))
    assert psnr > 12.0  # its camera is not fitted to the splats
    until(lambda: pair(tab)[0].std() > 20.0 and likeness(pair(tab)) < 0.8, "the held-out photo beside its like")
    held_out, _ = pair(tab)

    trained = [name for name in PHOTOS if name != kept]
    tab.choose("Watch", f"2 {trained[1]}")
    until(lambda: np.abs(pair(tab)[0] - held_out).mean() > 10.0, "the photo chosen")
    _, psnr, loss = later(tab, 400)
    assert psnr > 17.0
    assert 0.0 < loss < 0.5
    until(lambda: likeness(pair(tab)) < 0.6, "splats like the photo")
    assert tab.value_of("Watch") == f"2 {trained[1]}"
    curve = tab.page.locator("svg[role=img]").get_attribute("aria-label")
    first, last = (float(number) for number in re.findall(r"[\d.]+", curve))
    assert last < 0.7 * first
    tab.page.screenshot(path=tmp_path / "watched.png")
    tab.close()
