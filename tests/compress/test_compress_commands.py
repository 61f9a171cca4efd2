"""`recon convert` and `recon compress`, without a long run: a stub stands for the finished one."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recon import cli
from recon.cli import compress_command
from recon.compress import PRESETS, read_splats, write_splats
from recon.errors import InputError
from recon.pipeline import compress
from recon.pipeline.stages import Trained
from recon.render import Rasterizer, select_rasterizer
from recon.render.refit import RefitConfig
from recon.runfolder import RunFolder
from recon.types import Cameras, Splats


def ball(n: int = 120) -> Splats:
    g = torch.Generator().manual_seed(5)
    means = torch.randn(n, 3, generator=g) * 0.2 + torch.tensor([0.0, 0.0, 2.0])
    shapes = ((n, 4), (n, 3), (n,), (n, 1, 3), (n, 3, 3))
    quats, scales, opacity, sh0, rest = (torch.randn(shape, generator=g) for shape in shapes)
    return Splats(means, quats, scales * 0.2 - 3, opacity + 2, sh0 * 0.5, rest * 0.01)


@pytest.fixture
def ply(tmp_path: Path) -> Path:
    write_splats(tmp_path / "scene.ply", ball())
    return tmp_path / "scene.ply"


def finished(capfd: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert cli.run([*args, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def refused(capfd: pytest.CaptureFixture[str], *args: str) -> str:
    assert cli.run(list(args)) == InputError.exit_code
    return " ".join(capfd.readouterr().err.split())


def test_convert_goes_there_and_back(ply: Path, capfd: pytest.CaptureFixture[str]):
    names = ("a.spz", "b.sog", "c.compressed.ply", "d.splat", "e.ply")
    source = ply
    for name in names:
        value = finished(capfd, "convert", str(source), str(ply.parent / name))
        source = Path(value["out"])
        assert value["gaussians"] == 120
        assert value["bytes"] == source.stat().st_size
    centre = read_splats(source).means.mean(0)
    torch.testing.assert_close(centre, ball().means.mean(0), atol=1e-3, rtol=0)


def test_convert_says_what_is_wrong(ply: Path, capfd: pytest.CaptureFixture[str]):
    assert "Unknown splat format .obj" in refused(capfd, "convert", str(ply), str(ply.parent / "a.obj"))
    assert "Could not read" in refused(capfd, "convert", str(ply.parent / "gone.spz"), str(ply.parent / "a.ply"))
    (ply.parent / "folder.sog").mkdir()
    assert "is a folder" in refused(capfd, "convert", str(ply), str(ply.parent / "folder.sog"))


def test_compress_a_file(ply: Path, capfd: pytest.CaptureFixture[str]):
    value = finished(capfd, "compress", str(ply), "--preset", "tiny")
    assert value["out"] == str(ply.parent / "scene_tiny.sog")
    assert value["bytes"] == Path(value["out"]).stat().st_size
    assert value["gaussians"] == len(read_splats(value["out"])) == 120
    assert value["ratio"] == pytest.approx(120 * 104 / value["bytes"])
    assert value["likeness_db"] is None
    limited = finished(capfd, "compress", str(ply), "--max-gaussians", "50", "--out", str(ply.parent / "x.sog"))
    assert limited["gaussians"] == 50
    assert "more than 0, got -1" in refused(capfd, "compress", str(ply), "--target-mb", "-1")
    assert "ending in .sog" in refused(capfd, "compress", str(ply), "--out", str(ply.parent / "x.ply"))
    assert "No recon results" in refused(capfd, "compress", str(ply.parent))


def test_compress_with_colors_that_a_network_knows(ply: Path, capfd: pytest.CaptureFixture[str]):
    value = finished(capfd, "compress", str(ply), "--preset", "tiny", "--colors", "latents")
    out = Path(value["out"])
    assert out == ply.parent / "scene_tiny_latents.csog"
    assert len(read_splats(out)) == value["gaussians"] == 120
    assert finished(capfd, "convert", str(out), str(ply.parent / "back.spz"))["gaussians"] == 120
    assert "recon compress --colors" in refused(capfd, "convert", str(ply), str(ply.parent / "a.csog"))
    said = refused(capfd, "compress", str(ply), "--colors", "field", "--out", str(ply.parent / "a.sog"))
    assert "ending in .csog" in said


@dataclass(frozen=True)
class Finished:
    """What `open_finished` gives, as far as it is asked."""

    trained: Trained
    rasterizer: Rasterizer

    def value(self, name: str) -> Trained:
        assert name == "train"
        return self.trained


def test_compress_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = 0.2
    K = torch.tensor([[60.0, 0, 32], [0, 60.0, 32], [0, 0, 1]])
    trained = Trained(ball(), Cameras.create(poses, K.repeat(2, 1, 1), 64, 64))
    small = replace(PRESETS["web"], views=3, max_side=48, rounds=1, fit=RefitConfig(steps=6))
    monkeypatch.setitem(PRESETS, "web", replace(small, settle=RefitConfig(steps=3)))
    monkeypatch.setattr(compress, "open_finished", lambda *_: Finished(trained, select_rasterizer("cpu")))
    monkeypatch.setattr(compress_command, "open_run", lambda path, need: RunFolder(path))
    value = finished(capfd, "compress", str(tmp_path))
    assert value["out"] == str(tmp_path / "splats_web.sog")
    assert value["gaussians_before"] == 120
    assert value["gaussians"] == round(PRESETS["web"].keep * 120)
    assert 15 < value["likeness_db"] < 60
