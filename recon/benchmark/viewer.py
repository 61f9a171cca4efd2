"""`recon bench viewer`: how soon, how smoothly and for how long, as a person at a headless browser meets it.

`recon view` runs in a process of its own on a made-up scene; everything is measured through its page, and what the
processes use is asked of the system. Wall times mean something only while nothing else wants the cores.
"""

import contextlib
import io
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from recon.benchmark import machine
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult, Cell, Table
from recon.compress import write_ply
from recon.errors import MissingDependencyError, ResourceError
from recon.pipeline.monitor import cpu_seconds
from recon.types import Splats

FIRST, MOVING, LARGE = 300_000, 100_000, 1_000_000
WINDOW = (900, 480)
"""Of the browser; beside the panel this leaves a picture of 640 x 480."""
BACKGROUND = (24, 26, 31)
STARTS = 3
DRAG_SECONDS, WARM_SECONDS = 6.0, 2.0
TABS = 20
QUICK_ROUNDS, FULL_SECONDS = 2, 300.0
PATIENCE = 180.0
FLAGS = (
    *("--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
# The page decodes each of the server's frames from a blob and lets go of it when that is done.
_COUNT_FRAMES = """
window.reconFrames = 0;
const pictures = new Set(), make = URL.createObjectURL, drop = URL.revokeObjectURL;
URL.createObjectURL = (blob) => {
  const url = make.call(URL, blob);
  if (blob.type === "image/jpeg") pictures.add(url);
  return url;
};
URL.revokeObjectURL = (url) => { if (pictures.delete(url)) window.reconFrames += 1; drop.call(URL, url); };
"""


@dataclass(frozen=True)
class Usage:
    """CPU-seconds and what was shown over a while."""

    seconds: float
    server_cpu: float
    browser_cpu: float
    frames: int
    """Pictures of the server that the page decoded."""

    @property
    def rate(self) -> float:
        return self.frames / self.seconds


@dataclass(frozen=True)
class Start:
    """How long it took from the command to a picture."""

    url_seconds: float
    """To the line with the address."""
    seconds: float
    """To splats in the browser's window."""
    server_cpu: float
    browser_cpu: float
    memory_gb: float


@dataclass(frozen=True)
class Round:
    """After many tabs were opened and closed."""

    tabs: int
    threads: int
    memory_mb: float


def run(options: BenchOptions) -> BenchResult:
    """All figures; with `--full` tabs come and go for five minutes.

    Raises:
        MissingDependencyError: no playwright, or no Chromium.
        ResourceError: the viewer does not start.
    """
    started = cpu_seconds()
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as scratch, browser() as opened:
        files = {count: Path(scratch) / f"room-{count}.ply" for count in (FIRST, MOVING, LARGE)}
        for count, path in files.items():
            write_ply(path, room(count, options.seed))
        rows = [*start_rows(opened, files), *moving_rows(opened, files)]
        rounds = tabs_that_come_and_go(opened, files[MOVING], QUICK_ROUNDS if options.quick else None)
    return BenchResult(
        name="viewer",
        description="The viewer, through headless Chromium with software WebGL on the same machine",
        command="recon bench viewer" if options.quick else "recon bench viewer --full",
        tables=(figure_table(rows), round_table(rounds)),
        machine=machine.describe(),
        versions=machine.versions(),
        seeds={"scene": options.seed},
        options={"quick": options.quick, "window": list(WINDOW), "tabs": TABS},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=cpu_seconds() - started,
    )


def room(count: int, seed: int = 0) -> Splats:
    """A deep wall of small Gaussians with one band of harmonics, as large in the picture as those of real scenes."""
    g = torch.Generator().manual_seed(seed)
    means = (torch.rand(count, 3, generator=g) - 0.5) * torch.tensor([8.0, 6.0, 2.0]) + torch.tensor([0.0, 0.0, 6.0])
    size = -4.2 - 0.5 * math.log(count / MOVING)  # covers as much, however many there are
    return Splats(
        means,
        torch.randn(count, 4, generator=g),
        torch.randn(count, 3, generator=g) * 0.4 + size,
        torch.randn(count, generator=g) + 1.0,
        torch.randn(count, 1, 3, generator=g),
        0.1 * torch.randn(count, 3, 3, generator=g),
    )


# Processes


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A running headless Chromium: `$CHROMIUM`, one on the path, or playwright's own."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise MissingDependencyError("recon bench viewer needs playwright: pip install playwright") from error
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        except Error as error:
            raise MissingDependencyError(
                "recon bench viewer needs a Chromium that starts: install one, run `playwright install chromium`, or "
                f"set CHROMIUM. {error}"
            ) from error
        try:
            yield running
        finally:
            running.close()


@dataclass(frozen=True)
class Server:
    """`recon view` in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    url_seconds: float
    started: float
    """Monotonic time of the command."""

    @property
    def usage(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def cpu(self) -> float:
        times = self.usage.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def viewing(path: Path) -> Iterator[Server]:
    """Serve a file.

    Raises:
        ResourceError: it did not start.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "recon.cli", "view", str(path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None, "a pipe was asked for"
        line = process.stdout.readline()
        if not line.startswith("Viewer: "):
            raise ResourceError(f"recon view did not start: {line or 'it said nothing'}; the reason is above.")
        yield Server(process, line.split()[1], time.monotonic() - started, started)
    finally:
        process.kill()
        process.wait()


def browser_cpu(server: Server) -> float:
    """CPU-seconds of everything else that this process started and that still runs."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.pid != server.process.pid:
                times = child.cpu_times()
                total += times.user + times.system
    return total


# What is seen


def open_tab(opened: Any, url: str) -> Any:
    page = opened.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]})
    page.set_default_timeout(1000 * PATIENCE)
    page.add_init_script(_COUNT_FRAMES)
    page.goto(url)
    return page


def await_splats(page: Any) -> None:
    """Return when the middle of the picture shows anything but the background.

    Looking costs the processor that draws the page 0.1 s, so until the server has sent a picture it is done seldom.

    Raises:
        ResourceError: nothing came.
    """
    from playwright.sync_api import TimeoutError as NothingYet

    deadline = time.monotonic() + PATIENCE
    clip = {"x": 220, "y": 140, "width": 200, "height": 200}
    while time.monotonic() < deadline:
        with contextlib.suppress(NothingYet):
            page.wait_for_function("window.reconFrames > 0", timeout=1000, polling=30)
        seen = np.asarray(
            Image.open(io.BytesIO(page.screenshot(clip=clip, type="jpeg", quality=60))).convert("RGB")
        ).astype(int)
        away = np.abs(seen - BACKGROUND).max(axis=2) > 12
        if float(away.mean()) > 0.5 and float(seen.std()) > 8.0:  # and not the white of an empty page
            return
        time.sleep(0.05)
    raise ResourceError(f"No splats on the page within {PATIENCE:.0f} s.")


def measure_start(opened: Any, path: Path) -> Start:
    """From the command to splats in a browser that runs already."""
    with viewing(path) as server:
        before = browser_cpu(server)
        page = open_tab(opened, server.url)
        await_splats(page)
        seconds = time.monotonic() - server.started
        memory = server.usage.memory_info().rss / 1e9
        found = Start(server.url_seconds, seconds, server.cpu(), browser_cpu(server) - before, memory)
        page.close()
    return found


def measure_moving(opened: Any, path: Path) -> Usage:
    """Drag in the picture for a while, as a person who orbits does."""
    with viewing(path) as server:
        page = open_tab(opened, server.url)
        await_splats(page)
        row = page.locator("xpath=//label[normalize-space()='Draw']").locator("xpath=ancestor::div[.//input][1]")
        row.locator("input").first.click()
        page.get_by_role("option", name="Splats, exact", exact=True).click()  # by the server, whatever the page can do
        page.wait_for_function("window.reconFrames > 0")
        page.mouse.move(320, 240)
        page.mouse.down()
        _drag(page, WARM_SECONDS)
        before = server.cpu(), browser_cpu(server), _frames(page)
        seconds = _drag(page, DRAG_SECONDS)
        after = server.cpu(), browser_cpu(server), _frames(page)
        page.mouse.up()
        page.close()
    server_cpu, other_cpu, frames = (b - a for a, b in zip(before, after))
    return Usage(seconds, server_cpu, other_cpu, int(frames))


def _frames(page: Any) -> int:
    count: int = page.evaluate("window.reconFrames")
    return count


def _drag(page: Any, seconds: float) -> float:
    """Circle with the button held; the seconds that it took."""
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        page.mouse.move(320 + 60 * math.sin(2.5 * now), 240 + 25 * math.cos(2.5 * now))
        time.sleep(1 / 60)
    return time.monotonic() - begun


def tabs_that_come_and_go(opened: Any, path: Path, rounds: int | None) -> list[Round]:
    """Open and close `TABS` tabs at a time, so often, or for `FULL_SECONDS`; some leave while the page still loads."""
    found: list[Round] = []
    with viewing(path) as server:
        begun = time.monotonic()
        while len(found) < rounds if rounds is not None else time.monotonic() - begun < FULL_SECONDS:
            pages = [open_tab(opened, server.url) for _ in range(TABS)]
            for page in pages[: TABS // 2]:
                page.wait_for_selector("canvas")
            for page in pages:
                page.close()
            threads = _settled_threads(server)
            memory = server.usage.memory_info().rss / 1e6
            found.append(Round(TABS * (len(found) + 1), threads, memory))
    return found


def _settled_threads(server: Server) -> int:
    """Threads of the server once their number has stood still for a second."""
    threads, since = server.usage.num_threads(), time.monotonic()
    while time.monotonic() - since < 1.0:
        time.sleep(0.1)
        if (now := server.usage.num_threads()) != threads:
            threads, since = now, time.monotonic()
    return threads


# Tables


def start_rows(opened: Any, files: dict[int, Path]) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for count, wanted in ((FIRST, "3 s"), (LARGE, "opens")):
        starts = sorted((measure_start(opened, files[count]) for _ in range(STARTS)), key=lambda start: start.seconds)
        middle = starts[STARTS // 2]
        what = f"first splats of {count // 1000} k (address after {middle.url_seconds:.1f} s)"
        seconds = f"{middle.seconds:.1f} s ({starts[0].seconds:.1f} to {starts[-1].seconds:.1f})"
        rows.append((what, seconds, wanted, middle.server_cpu, middle.browser_cpu, middle.memory_gb))
    return rows


def moving_rows(opened: Any, files: dict[int, Path]) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for count, wanted in ((MOVING, "15 a second"), (LARGE, "usable")):
        used = measure_moving(opened, files[count])
        what = f"{count // 1000} k while moving, drawn by the server at 640 x 480"
        rows.append((what, f"{used.rate:.1f} a second", wanted, used.server_cpu, used.browser_cpu, None))
    return rows


def figure_table(rows: list[tuple[Cell, ...]]) -> Table:
    """What a person waits for."""
    return Table(
        title="Waiting and moving",
        columns=("what", "measured", "wanted", "server CPU-s", "browser CPU-s", "server GB"),
        rows=tuple(rows),
        note=(
            f"Wall time from the command, start of Python included: median of {STARTS}, and range. Frames over "
            f"{DRAG_SECONDS:.0f} s of dragging. The browser draws in software on the same cores."
        ),
    )


def round_table(rounds: list[Round]) -> Table:
    """The server after all tabs were closed."""
    shown = rounds if len(rounds) <= 4 else [rounds[0], rounds[len(rounds) // 2], rounds[-2], rounds[-1]]
    return Table(
        title="Tabs that come and go",
        columns=("tabs so far", "threads", "memory MB"),
        rows=tuple((r.tabs, r.threads, r.memory_mb) for r in shown),
        note=f"{TABS} at a time, half of them closed before they were loaded; counted while none is open.",
    )
