"""One run folder for all tests of the viewer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blob_scene import BlobRun, write_run
from browser_tab import Tab

from viewer import Viewer, open_run


@pytest.fixture(scope="session")
def blob_run(tmp_path_factory: pytest.TempPathFactory) -> BlobRun:
    return write_run(tmp_path_factory.mktemp("blobs") / "recon")


@pytest.fixture
def viewer(blob_run: BlobRun) -> Iterator[Viewer]:
    """The run on a page of its own."""
    running = open_run(blob_run.folder, port=0, block=False)
    yield running
    running.stop()


@pytest.fixture
def tab(viewer: Viewer, browser: Any, tmp_path: Path) -> Iterator[Tab]:
    """A browser tab on that page."""
    page = Tab.open(browser, viewer.url, tmp_path)
    yield page
    page.close()
