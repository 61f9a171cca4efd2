"""The raster benchmark: its scene, its peers, its tables, and one small run of all of it."""

import json
from pathlib import Path

import pytest
import torch

from recon import native
from recon.benchmark import BENCHES, BenchOptions, BenchResult, Table, machine, raster, run_bench
from recon.benchmark.peers import autograd_tiles
from recon.benchmark.results import show
from recon.benchmark.scenes import room
from recon.errors import InputError, MissingDependencyError
from recon.render.torch_tiles import count_blends, rasterization

needs_library = pytest.mark.skipif(native.library() is None, reason="no native library")


@pytest.fixture(scope="module")
def small_run() -> BenchResult:
    """The whole benchmark on a scene of a second or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raster, "QUICK", ((1_000, 64, 48), (2_000, 96, 64)))
        patch.setattr(raster, "PEER_SIZE", (96, 64))
        return run_bench("raster", BenchOptions(repeats=2))


def test_scene_is_seeded_and_asks_for_as_much_as_a_trained_one() -> None:
    scene = room(5_000, 160, 120)
    again, other = room(5_000, 160, 120), room(5_000, 160, 120, seed=1)
    assert torch.equal(scene.means, again.means)
    assert not torch.equal(scene.means, other.means)
    values = (scene.means, scene.quats, scene.scales, scene.opacities, scene.viewmats, scene.Ks, 160, 120)
    assert 33 <= count_blends(*values) / (160 * 120) <= 43


def test_autograd_peer_draws_the_same_picture_with_the_same_gradients() -> None:
    scene = room(400, 50, 40).to(torch.float64)
    weights = torch.randn(1, 40, 50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mine = raster.image_and_gradients(rasterization, scene, lambda image: (image * weights).sum())
    theirs = raster.image_and_gradients(raster._autograd_rasterization, scene, lambda image: (image * weights).sum())
    torch.testing.assert_close(theirs[0], mine[0], atol=1e-10, rtol=0)
    for name in raster.LEAVES:
        torch.testing.assert_close(theirs[1][name], mine[1][name], atol=1e-8, rtol=1e-8)
    assert autograd_tiles(scene).shape == (40, 50, 5)


@needs_library
def test_run_fills_every_table(small_run: BenchResult) -> None:
    titles = [table.title for table in small_run.tables]
    assert len(titles) == (4 if small_run.machine.cores > 1 else 3)
    speed = small_run.tables[0].records()
    assert [row["Gaussians"] for row in speed] == [1_000, 2_000]
    assert speed[0]["torch tiles"] is None
    for row in speed:
        assert row["forward"] > 0
        assert 0 < row["Mblends/s"] < 1e5
        if small_run.machine.peak_gflops is not None:
            assert 0 < row["% of peak"] < 100
    assert speed[1]["faster than tiles"] == pytest.approx(speed[1]["torch tiles"] / speed[1]["forward+backward"])


@needs_library
def test_run_measures_the_accuracy_it_promises(small_run: BenchResult) -> None:
    (table,) = (t for t in small_run.tables if t.title.startswith("Accuracy"))
    rows = {row["what"]: row for row in table.records()}
    assert set(rows) == {"RGB", "expected depth", "alpha", *(f"gradient of {name}" for name in raster.LEAVES)}
    for name, row in rows.items():
        if name.startswith("gradient"):
            assert 0 < row["relative error, random"] <= 1e-5, name  # not 0: float32 and float64 differ somewhere
            assert 0 < row["relative error, squared"] <= 5e-6, name
        else:
            assert 0 < row["largest difference"] <= 1e-5, name


@needs_library
def test_threads_are_restored(small_run: BenchResult) -> None:
    before = torch.get_num_threads()
    with raster._threads(1):
        assert native.thread_count() == torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@needs_library
def test_result_is_shown_as_text_markdown_and_json(small_run: BenchResult, tmp_path: Path) -> None:
    text, markdown = small_run.text(), small_run.markdown()
    for shown in (text, markdown):
        assert "GHz" in shown or small_run.machine.ghz is None
        assert "times the fused" in shown
        assert "scene 0" in shown
    small_run.write_json(tmp_path / "raster.json")
    loaded = json.loads((tmp_path / "raster.json").read_text())
    assert loaded["machine"]["cores"] >= 1
    assert loaded["versions"]["torch"] == torch.__version__
    assert loaded["tables"][0]["rows"][1]["Gaussians"] == 2_000


def test_table_checks_its_rows_and_aligns_them() -> None:
    with pytest.raises(ValueError, match="2 columns, but a row of 1"):
        Table("t", ("a", "b"), ((1,),))
    table = Table("Title", ("name", "value"), (("x", 1.234), ("longer", None)), note="Note.")
    assert table.text().splitlines() == [
        "Title",
        "name    value",
        "------  -----",
        "x        1.23",
        "longer      -",
        "Note.",
    ]
    assert "| x | 1.23 |" in table.markdown()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (3, "3"),
        ("a", "a"),
        (0.0, "0.000"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (1234.5, "1234"),
        (2e-6, "2.0e-06"),
    ],
)
def test_cells_show_three_digits(value: object, text: str) -> None:
    assert show(value) == text


@needs_library
def test_machine_is_measured() -> None:
    here = machine.describe()
    assert here.ghz is None or 0.5 < here.ghz < 8
    assert here.peak_gflops is not None
    assert 1 < here.peak_gflops < 2_000
    assert f"{here.cores} cores" in here.sentence()
    assert {"python", "torch", "numpy"} <= set(machine.versions())


def test_unknown_name_and_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"No benchmark 'speed'. There are: raster"):
        run_bench("speed")
    assert BENCHES["raster"].description
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(MissingDependencyError, match="measures the native library"):
        run_bench("raster")


def test_one_thread_does_the_work_of_one() -> None:
    speedup = machine.arithmetic_speedup(1, repeats=20)
    assert speedup is None or 0.5 < speedup < 2
