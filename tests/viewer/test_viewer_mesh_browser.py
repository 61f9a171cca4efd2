"""`recon view FILE` on meshes, as a person starts it: what is red in the file is red, and up, on the page."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from browser_tab import Tab, middle_of, share_of
from PIL import Image

from recon.mesh.surface import Surface, TexturedMesh
from recon.mesh.write import write_mesh
from viewer.contents import load

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
RED, BLUE = (210, 40, 40), (40, 60, 210)
OURS_FROM_Y_UP = np.diag([1.0, -1.0, -1.0])


@contextmanager
def viewing(path: Path) -> Iterator[str]:
    """`recon view PATH` in a process of its own; the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "recon.cli", "view", str(path), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Viewer: "), line
        yield line.split()[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


def panel() -> TexturedMesh:
    """An upright square that is red in its upper half and blue in its lower; +y is down."""
    corners = np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    faces = np.array([[0, 2, 1], [0, 3, 2], [0, 1, 2], [0, 2, 3]])  # both sides
    texture = np.zeros((64, 64, 3), dtype=np.uint8)
    texture[:32], texture[32:] = RED, BLUE
    colors = np.array([RED, RED, BLUE, BLUE]) / 255.0
    uv = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    return TexturedMesh(Surface(corners, faces, colors), uv, texture)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_mesh_is_shown_upright_in_its_own_colours(suffix: str, browser: Any, tmp_path: Path) -> None:
    write_mesh(tmp_path / f"panel{suffix}", panel(), OURS_FROM_Y_UP)
    with viewing(tmp_path / f"panel{suffix}") as url:
        tab = Tab.open(browser, url, tmp_path, (900, 600))
        tab.page.get_by_text("Triangles").wait_for()
        seen = tab.until(lambda now: share_of(now, RED, 25) > 0.05 and share_of(now, BLUE, 25) > 0.05, "the panel")
        assert middle_of(seen, RED, 25)[1] < middle_of(seen, BLUE, 25)[1] - 50
        before = share_of(seen, RED, 25)
        tab.wheel(600.0)
        tab.until(lambda now: 0.005 < share_of(now, RED, 25) < 0.8 * before, "from farther away")
        tab.choose("Draw", "Nothing")
        tab.until(lambda now: share_of(now, RED, 25) < 1e-4, "hidden")
        tab.close()


def test_an_obj_opens_nothing_but_what_is_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "meshes"
    folder.mkdir()
    write_mesh(folder / "panel.obj", panel(), OURS_FROM_Y_UP)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "secret.png")
    loaded = load(folder / "panel.obj").mesh
    assert np.asarray(loaded.visual.material.image.convert("RGB"))[0, 0].tolist() == list(RED)
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        (folder / "panel.mtl").write_text(f"newmtl photos\nmap_Kd {name}\n")
        (folder / "link.png").unlink(missing_ok=True)
        (folder / "link.png").symlink_to(tmp_path / "secret.png")
        mesh = load(folder / "panel.obj").mesh
        assert isinstance(mesh, trimesh.Trimesh)
        assert getattr(mesh.visual.material, "image", None) is None, name
    (folder / "panel.mtl").unlink()
    assert len(load(folder / "panel.obj").mesh.faces) == 4
