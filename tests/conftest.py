"""What every test gets: run-time shape checks, polite thread counts, skips that are counted."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from jaxtyping import install_import_hook

TESTS = Path(__file__).parent
ROOT = TESTS.parent
sys.path.insert(0, str(TESTS))  # `reference.<module>`: the naive loops

# Shapes in signatures are enforced here and only here; the hook must be in place before recon is first imported.
assert "recon" not in sys.modules, "recon was imported before the hook that checks its shapes: see conftest.py"
install_import_hook(["recon", "viewer"], "runtime_types.check")

# At most two: small tensors do not gain from more, and a machine that also runs a browser loses. One where pytest-xdist
# runs a process for each core.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
NO_CUDA = "no CUDA device"
NO_BROWSER = "no chromium: install Debian's chromium, run `playwright install chromium`, or set CHROMIUM"


def chromium_path() -> str | None:
    """The browser for `browser` tests: $CHROMIUM, Debian's chromium, or the one `playwright install` fetched."""
    from shutil import which

    for name in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        if name and (found := which(name)):
            return found
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
        return path if Path(path).exists() else None
    except Exception:  # any failure of a missing or broken playwright means: no browser
        return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def skip(marker: str, reason: str) -> None:
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))

    if not torch.cuda.is_available():
        skip("requires_cuda", NO_CUDA)
    if any(item.get_closest_marker("browser") for item in items) and chromium_path() is None:
        skip("browser", NO_BROWSER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what was skipped, from the reports: these come from all processes."""
    said = [report.longrepr[-1] for report in terminalreporter.stats.get("skipped", [])]  # (file, line, reason)
    cuda, browser = (sum(reason in one for one in said) for reason in (NO_CUDA, NO_BROWSER))
    terminalreporter.write_line(f"skipped for lack of a CUDA device: {cuda}; for lack of a browser: {browser}")


@pytest.fixture(scope="session")
def demo_images() -> Path:
    """The folder of the six demo photos."""
    return ROOT / "assets" / "demo"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser binary; only for tests marked `browser`."""
    path = chromium_path()
    assert path is not None, "use this fixture only in tests marked browser"
    return path


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """One headless browser for all tests of a process, where Playwright runs only once at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        try:
            yield running
        finally:
            running.close()


@pytest.fixture(autouse=True)
def one_browser_at_a_time(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two browsers that draw in software take all of a small machine, and then both wait too long for their pages."""
    if request.node.get_closest_marker("browser") is None:
        yield
    else:
        with FileLock(tmp_path_factory.getbasetemp().parent / "browser.lock"):  # pytest-xdist's processes share it
            yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in every test, whatever ran before."""
    torch.manual_seed(0)
