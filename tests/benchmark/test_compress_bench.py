"""`recon bench compress`: its tables, of a scene that took no training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon.benchmark import BENCHES, BenchOptions, compress, splat_files
from recon.compress import PRESETS, SPLAT_SUFFIXES, write_splats
from recon.compress.compact import COMPACT
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
    monkeypatch.setattr(compress, "COLORS", (("web", "harmonics"), ("web", "latents")))
    for kind in ("harmonics", "latents"):
        monkeypatch.setitem(COMPACT, kind, replace(COMPACT[kind], fit=3, batch=50))
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
    colors = ("web, harmonics", "web, latents")
    assert list(rows) == [
        "PLY, gzip",
        *SPLAT_SUFFIXES,
        "half, .ply",
        *(f"{preset} (.sog)" for preset in PRESETS),
        *colors,
    ]
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
    rows = {row["format"]: row for row in splat_files.file_table(tmp_path, select_rasterizer("cpu")).records()}
    assert list(rows) == ["PLY, gzip", ".spz", ".sog", *PRESETS]
    assert {row["file"] for row in rows.values()} == {"a.splat"}
    assert rows["lossless"]["Gaussians"] == 150
    assert rows["tiny"]["smaller"] > rows["lossless"]["smaller"] > 1
    assert 30 < rows["tiny"]["dB like before"] < rows["lossless"]["dB like before"] < rows[".sog"]["dB like before"]


def test_the_orbit_sees_everything_from_all_sides() -> None:
    splats, rasterizer = cloud(), select_rasterizer("cpu")
    cameras = splat_files.around(splats)
    away = cameras.centers - splats.means.median(0).values
    assert torch.allclose(away.norm(dim=1), away.norm(dim=1)[0].expand(len(cameras)), rtol=1e-4)
    assert float(away.sum(0)[[0, 2]].norm()) < 0.1 * float(away.norm(dim=1)[0])
    for i in range(len(cameras)):
        alpha = render_view(splats, cameras[i], rasterizer).alpha
        rim = torch.cat([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert float(alpha.max()) > 0.5
        assert float(rim.mean()) < 0.2


def test_cutting_makes_exactly_as_many_that_look_alike() -> None:
    before, rasterizer = cloud(), select_rasterizer("cpu")
    likeness = []
    for count in (160, 301, 400):
        after = compress.grown(before, count)
        assert len(after) == count
        likeness.append(splat_files.likeness_db(before, after, splat_files.around(before), rasterizer))
    assert likeness[0] > 25
    assert likeness[-1] > 15
    assert torch.allclose(after.means.mean(0), before.means.mean(0), atol=0.1)
    assert torch.equal(compress.grown(before, 100).means, before.means[:100])


def test_full_asks_for_data_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECON_DATA", raising=False)
    monkeypatch.setattr(compress, "train_scene", lambda *_: pytest.fail("trained before looking for the data"))
    with pytest.raises(InputError, match="needs RECON_DATA"):
        BENCHES["compress"].run(BenchOptions(quick=False))
