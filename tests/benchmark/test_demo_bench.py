"""`recon bench demo`: a real run at a tiny setting, the tables made of it, and what is said when it cannot run."""

import json
import shutil
from pathlib import Path

import pytest

from recon import cli
from recon.benchmark import BENCHES, BenchOptions, demo, run_bench
from recon.errors import InputError

PHOTOS = ("door_03.jpg", "door_05.jpg", "door_07.jpg", "door_09.jpg")
TINY = (
    *("--set", "images.max_side=400", "--set", "poses.max_side=400", "--set", "train.max_side=200"),
    *("--set", "train.steps=40", "--set", "train.init.max_gaussians=3000", "--set", "video.frames=0"),
)


@pytest.fixture(scope="module")
def photos(demo_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in PHOTOS:
        shutil.copy(demo_images / name, folder / name)
    return folder


@pytest.mark.slow
def test_a_tiny_run_fills_the_tables(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    measure = demo.measure
    monkeypatch.setenv(demo.FOLDER_VARIABLE, str(photos))
    monkeypatch.setattr(demo, "measure", lambda folder, quality, seed: measure(folder, quality, seed, TINY))
    assert cli.run(["bench", "demo", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["name"] == "demo"
    assert report["options"] == {"quick": True, "holdout": 1}
    result, stages = report["tables"]
    (row,) = result["rows"]
    assert row["quality"] == "draft"
    assert row["placed"] == "3 of 3"
    assert row["Gaussians"] > 500
    assert 12 < row["held-out PSNR"] < 40
    assert 0 < row["SSIM"] < 1
    assert 0 < row["LPIPS"] < 1.5
    assert 0.05 < row["peak GB"] < 3
    names = ["images", "poses", "dense", "placing", "train", "evaluate", "export"]
    assert [r["stage"] for r in stages["rows"]] == names
    assert row["seconds"] > sum(r["seconds"] for r in stages["rows"])
    assert row["CPU-s"] == pytest.approx(sum(r["CPU-s"] for r in stages["rows"]), abs=0.1)
    assert not list(photos.glob("recon*"))


def test_full_also_runs_standard(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = {"seconds": 1.0, "cpu_seconds": 2.0, "peak_memory_bytes": 3e9}
    metrics = {
        "photos": {"placed": 3, "used": 3},
        "gaussians": 7,
        "files": {"splats.ply": 5_000_000},
        "held_out": {"psnr": 20.0, "ssim": 0.5, "lpips": None},
        "total": cost,
        "stages": {"train": cost},
    }
    monkeypatch.setenv(demo.FOLDER_VARIABLE, str(photos))
    monkeypatch.setattr(demo, "measure", lambda folder, quality, seed: demo.Job(quality, 9.0, metrics))
    report = run_bench("demo", BenchOptions(quick=False))
    assert [row["quality"] for row in report.tables[0].records()] == ["draft", "standard"]
    assert report.tables[0].records()[0]["splats.ply MB"] == 5.0
    assert [row["stage"] for row in report.tables[1].records()] == ["train", "train"]
    assert "| draft | 3 of 3 | 7 | 5.00 |" in report.markdown()


def test_missing_photos_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(demo.FOLDER_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"gone.*RECON_DEMO"):
        run_bench("demo")
    monkeypatch.delenv(demo.FOLDER_VARIABLE)
    assert demo.demo_folder() == demo.CHECKOUT_FOLDER


def test_a_failed_run_keeps_its_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="exit code 2"):
        demo.measure(tmp_path, "draft")
    assert "Need at least 2 photos" in capfd.readouterr().err


def test_all_benches_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in BENCHES)
    assert {"raster", "demo", "poses"} <= set(BENCHES)
    assert all(f"{command}: " in listed for command in ("run", "score", "gate"))
