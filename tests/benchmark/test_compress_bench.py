"""`recon bench compress`: its tables, of a scene that took no training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon.benchmark import BENCHES, BenchOptions, compress
from recon.compress import PRESETS, SPLAT_SUFFIXES, write_splats
from recon.errors import InputError
from recon.optimize.budget.config import BudgetConfig
from recon.pipeline.evaluate import Scored
from recon.pipeline.pictures import render_view
from recon.pipeline.stages import Trained
from recon.render import select_rasterizer
from recon.render.refit import RefitConfig
from recon.types import Cameras, Splats

SIDE = 20


def cloud(n: int = 150) -> Splats:
    g = torch.Generator().manual_seed(2)
    means = torch.rand(n, 3, generator=g) - torch.tensor([0.5, 0.5, -1.0])
    rest = (torch.randn(n, 4, generator=g), torch.randn(n, 3, generator=g) * 0.2 - 3, torch.ones(n))
    return Splats(means, *rest, torch.randn(n, 1, 3, generator=g) * 0.5, torch.zeros(n, 3, 3))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> compress.Scene:
    for name, preset in list(PRESETS.items()):
        few = RefitConfig(steps=2)
        quick = replace(preset, rounds=1, views=2, max_side=SIDE, fit=few, settle=few)
        monkeypatch.setitem(PRESETS, name, quick)
    monkeypatch.setattr(compress, "HALF", BudgetConfig(views=2, recovery=3))
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([-0.1, 0.0, 0.1])
    K = torch.tensor([[24.0, 0, SIDE / 2], [0, 24.0, SIDE / 2], [0, 0, 1]]).repeat(3, 1, 1)
    cameras, rasterizer = Cameras.create(poses, K, SIDE, SIDE), select_rasterizer("cpu")
    seen = render_view(cloud(), cameras[1], rasterizer)
    truth = (seen.rgb + 0.02 * torch.randn(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    held_out = [Scored("middle.jpg", truth, seen, cameras[1], {})]
    return compress.Scene("cloud", Trained(cloud(), cameras[[0, 2]]), held_out, rasterizer)


def test_every_format_and_preset_has_its_row(scene: compress.Scene) -> None:
    table = compress.measure(scene)
    rows = {row["format"]: row for row in table.records()}
    assert list(rows) == ["PLY, gzip", *SPLAT_SUFFIXES, "half, .ply", *(f"{preset} (.sog)" for preset in PRESETS)]
    assert rows[".ply"]["dB lost"] == 0
    assert rows[".ply"]["smaller"] == pytest.approx(1, abs=0.1)  # less its header
    assert 1 < rows["PLY, gzip"]["smaller"] < rows["tiny (.sog)"]["smaller"]
    assert rows["half, .ply"]["Gaussians"] == 75
    assert rows["tiny (.sog)"]["Gaussians"] == round(PRESETS["tiny"].keep * 150)
    assert rows["lossless (.sog)"]["dB lost"] < rows["tiny (.sog)"]["dB lost"]
    assert abs(rows[".spz"]["dB lost"]) < 1
    assert "1 held-out photos" in table.note


def test_files_without_photos(tmp_path: Path) -> None:
    write_splats(tmp_path / "a.splat", cloud())
    (tmp_path / "README.md").write_text("not a splat file")
    table = compress.file_table(tmp_path)
    (row,) = table.records()
    assert row["file"] == "a.splat"
    assert row["Gaussians"] == 150
    assert row["tiny"] > row["lossless"] > 1


def test_full_asks_for_data_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECON_DATA", raising=False)
    monkeypatch.setattr(compress, "train_scene", lambda *_: pytest.fail("trained before looking for the data"))
    with pytest.raises(InputError, match="needs RECON_DATA"):
        BENCHES["compress"].run(BenchOptions(quick=False))
