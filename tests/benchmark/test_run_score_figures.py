"""Scoring from disk: the figures against independent ones, missing views, submissions, tables, the gate, the page."""

import functools
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference import masked_metrics
from spare_set import make_set

from recon import cli
from recon.benchmark.runs import gate, isolate
from recon.benchmark.runs.executors import LocalExecutor
from recon.benchmark.runs.job import Entry
from recon.benchmark.runs.leaderboard import write_page
from recon.benchmark.runs.predict import Plan, predict
from recon.benchmark.runs.score import read_picture, score_run, score_submission
from recon.benchmark.runs.sets import open_set
from recon.benchmark.runs.submission import Choice, write_submission
from recon.benchmark.runs.tables import set_means, tables
from recon.errors import InputError
from recon.metrics import score_image, ssim
from recon.metrics.lpips import load_lpips

FAKE = Path(__file__).parent / "fake_method.py"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the fake method on both scenes with two seeds, and its truth."""
    folder = tmp_path_factory.mktemp("made")
    root, entries = make_set(folder / "truth"), (Entry("grey", "copy"),)
    with pytest.MonkeyPatch.context() as patch:
        command = [sys.executable, str(FAKE), str(folder / "witness")]
        patch.setattr(isolate, "method_command", lambda name, step: [*command, name, step])
        predict(Plan(open_set(str(root), "1"), entries, seeds=(0, 1)), folder / "out", LocalExecutor())
    return folder


@pytest.fixture
def finished(made_once: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies to do with as one likes: the run, the truth."""
    for name in ("out", "truth"):
        shutil.copytree(made_once / name, tmp_path / name)
    return tmp_path / "out", tmp_path / "truth"


@functools.cache
def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two pictures and a mask whose box has AlexNet's smallest size."""
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(45, 50, 3, generator=generator)
    b = (a + 0.2 * torch.rand(45, 50, 3, generator=generator)).clamp(0, 1)
    y, x = torch.meshgrid(torch.arange(45), torch.arange(50), indexing="ij")
    return a, b, (((y - 21) ** 2 + (x - 26) ** 2) < 17**2).float()


def test_masked_figures_equal_a_loop_over_pixels():
    a, b, mask = pair()
    found = score_image("x", a, b, mask)
    p, q = a.double().numpy(), b.double().numpy()
    weights = {name: tensor.double().numpy() for name, tensor in load_lpips().items()}
    assert found.psnr_masked == pytest.approx(masked_metrics.psnr_masked(p, q, mask.tolist()), abs=1e-4)
    assert found.lpips_masked == pytest.approx(masked_metrics.lpips_masked(p, q, mask.tolist(), weights), rel=1e-4)
    top, bottom, left, right = masked_metrics.box(mask.tolist())
    assert (top, bottom, left, right) == (5, 38, 10, 43)
    small = torch.zeros_like(mask)
    small[10:24, 12:27] = mask[10:24, 12:27]
    found = score_image("x", a, b, small)
    assert found.ssim_masked == pytest.approx(masked_metrics.ssim_masked(p, q, small.tolist()), abs=1e-6)


def test_ssim_and_psnr_of_other_programs(demo_images):
    """scikit-image 0.26.0 on door_01 and door_03, rows 200 to 264, columns 150 to 230: SSIM with Gaussian weights of
    sigma 1.5 and population covariance gives 0.1154820 (it counts whole windows only), PSNR 13.6948725 dB."""
    a, b = (
        torch.from_numpy(np.array(Image.open(demo_images / name).convert("RGB"), np.float32) / 255)[200:264, 150:230]
        for name in ("door_01.jpg", "door_03.jpg")
    )
    a, b = a.contiguous(), b.contiguous()
    assert float(ssim(a, b, padding="valid")) == pytest.approx(0.1154820, abs=1e-5)
    assert score_image("x", a, b).psnr == pytest.approx(13.6948725, abs=1e-4)


def test_scores_come_from_the_files_and_are_the_same_each_time(finished):
    out, root = finished
    first = score_run(out, root)
    assert [one.to_dict() for one in first] == [one.to_dict() for one in score_run(out, root)]
    one = next(s for s in first if s.scene == "Alpha" and s.seed == 0)
    truth = open_set(str(root), "1").scenes[0][0]
    grey = torch.full((42, 56, 3), 128 / 255)
    wanted = score_image("cam_002_3_0000.png", grey, truth.image(1), truth.mask(1))
    assert one.report.images[0] == wanted
    assert wanted.psnr_masked is not None
    assert one.report.mean()["psnr"] == pytest.approx(np.mean([image.psnr for image in one.report.images]))
    assert (one.dataset, one.track, one.poses, one.missing) == ("Synthetic", "1", "given", 0)
    assert one.costs["size_bytes"] == 1000


def test_views_that_were_not_shown_count_as_black(finished):
    out, root = finished
    folder = out / "track1-given" / "grey" / "seed0" / "Alpha"
    shutil.rmtree(out / "track1-given" / "grey" / "seed1")
    (folder / "renders" / "cam_002_3_0000.png").unlink()
    scored = score_run(out, root)
    assert [s.missing for s in scored] == [1, 0]
    photo = open_set(str(root), "1").scenes[0][0].image(1)
    assert scored[0].report.images[0].psnr == pytest.approx(float(-10 * photo.square().mean().log10()), abs=1e-4)
    assert scored[0].report.images[1].psnr > 8
    [table, _] = tables(scored)
    assert table.records()[0]["not shown"] == 1


def test_a_submission_scores_as_the_run_it_was_made_from(finished, tmp_path):
    out, root = finished
    file = tmp_path / "hand-in.zip"
    assert write_submission(out, file, Choice(seed=1)) == 4
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == [f"{s}/cam_{v:03d}_3_0000.png" for s in ("Alpha", "Beta") for v in (2, 5)]
    again = tmp_path / "again.zip"
    write_submission(out, again, Choice(seed=1))
    assert again.read_bytes() == file.read_bytes()
    from_zip = score_submission(file, root, open_set(str(root), "1"))
    from_run = [s for s in score_run(out, root) if s.seed == 1]
    assert [s.report.images for s in from_zip] == [s.report.images for s in from_run]
    assert [(s.scene, s.dataset, s.missing) for s in from_zip] == [(s.scene, s.dataset, 0) for s in from_run]


def test_a_submission_is_one_complete_result(finished, tmp_path):
    out, _ = finished
    with pytest.raises(InputError, match=r"2 fit. There are: grey, track 1, given poses, seed 0; grey"):
        write_submission(out, tmp_path / "x.zip", Choice())
    record = out / "track1-given" / "grey" / "seed0" / "Beta" / "job.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "failed"}))
    with pytest.raises(InputError, match="no result for Beta"):
        write_submission(out, tmp_path / "x.zip", Choice(seed=0))
    assert not list(tmp_path.glob("*.zip"))
    with pytest.raises(InputError, match="cannot be read as a ZIP"):
        score_submission(record, tmp_path, open_set(str(tmp_path / "truth"), "1"))


def test_set_figures_are_means_over_scenes_then_seeds(finished):
    out, root = finished
    scored = score_run(out, root)
    by_scene = {s.scene: s.report.mean()["psnr_masked"] for s in scored}
    row = set_means(scored)
    assert row["psnr_masked"] == pytest.approx(np.mean(list(by_scene.values())))
    assert row["sd"] == pytest.approx(0.0)
    assert row["size_bytes"] == pytest.approx(1e-3)
    [table, scenes] = tables(scored)
    assert table.title == "Track 1 (3 photos), given poses"
    assert table.records()[0]["data set"] == "Synthetic"
    assert len(scenes.rows) == 2


def test_damaged_renderings_and_foreign_folders_are_refused(finished, tmp_path):
    out, _ = finished
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(b"no picture", "x.png")
    with pytest.raises(InputError, match="holds no results"):
        score_run(tmp_path / "truth", tmp_path)
    with pytest.raises(InputError, match="has no folder Alpha"):
        score_run(out, tmp_path)


def test_the_command_line_scores_writes_and_hands_in(finished, tmp_path, capsys):
    out, root = finished
    page, file = tmp_path / "board.html", tmp_path / "s.zip"
    command = ["bench", "score", str(out), "--truth", str(root), "--page", str(page), "--submission", str(file)]
    assert cli.run([*command, "--seed", "0", "--json"]) == 0
    first = (out / "scores.json").read_bytes()
    capsys.readouterr()
    assert cli.run([*command, "--seed", "0"]) == 0
    assert (out / "scores.json").read_bytes() == first
    assert "PSNR-M" in capsys.readouterr().out
    assert cli.run(["bench", "score", str(file), "--truth", str(root), "--track", "1"]) == 0
    assert cli.run(["bench", "score", str(file), "--truth", str(root)]) == 2
    assert "Say the track" in capsys.readouterr().err


def test_the_page_needs_nothing_else_and_escapes(finished, tmp_path):
    out, root = finished
    record = out / "track1-given" / "grey" / "seed0" / "Alpha" / "job.json"
    record.write_text(record.read_text().replace('"grey"', '"<b>grey"'))
    write_page(tmp_path / "board.html", score_run(out, root), out, root)
    text = (tmp_path / "board.html").read_text()
    assert not re.search(r"(?:src|href)=[\"']?(?!data:)\w", text)
    assert "http" not in text.replace("http-equiv", "")
    assert "<b>grey" not in text.split("<script type='application/json'")[0]
    pictures = json.loads(text.split("id='pictures'>")[1].split("</script>")[0])
    assert len(pictures) == 4 + 4 + 2  # photos, renderings of each scene by one name, Alpha's by the other as well
    assert text.count("<svg") == 2


@pytest.mark.browser
def test_the_page_sorts_and_wipes(finished, tmp_path, browser):
    out, root = finished
    for path in (out / "track1-given" / "grey" / "seed1").rglob("*.png"):
        Image.new("RGB", (56, 42), (20, 30, 40)).save(path)
    for path in (out / "track1-given" / "grey" / "seed1").rglob("job.json"):
        path.write_text(path.read_text().replace('"entry": "grey"', '"entry": "dark"'))
    write_page(tmp_path / "board.html", score_run(out, root), out, root)
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((tmp_path / "board.html").as_uri())
    names = lambda: tab.locator("tbody tr td:first-child").all_inner_texts()  # noqa: E731
    tab.locator("th", has_text="PSNR-M").first.click()
    descending = names()
    tab.locator("th", has_text="PSNR-M").first.click()
    assert (descending, names()) == (["grey", "dark"], ["dark", "grey"])
    wipe = tab.locator(".wipe").first
    before = wipe.locator(".over").get_attribute("src")
    tab.locator(".view select").first.select_option(label="dark")
    assert wipe.locator(".over").get_attribute("src") != before
    tab.locator(".view input").first.fill("20")
    assert wipe.evaluate("e => e.style.getPropertyValue('--at')") == "20%"
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()
    assert errors == []


def test_the_gate_is_tight_on_quality_and_bytes_and_loose_on_time():
    wanted = {"given/recon": {"psnr": 20.0, "ssim": 0.8, "lpips": 0.2, "MB": 5.0, "CPU-s": 10.0}}
    within = {"given/recon": {"psnr": 19.9, "ssim": 0.795, "lpips": 0.21, "MB": 5.1, "CPU-s": 25.0}}
    assert gate.compare(within, wanted).passed
    better = {"given/recon": {"psnr": 30.0, "ssim": 0.9, "lpips": 0.1, "MB": 1.0, "CPU-s": 1.0}}
    assert gate.compare(better, wanted).passed
    for name, value in {"psnr": 19.7, "ssim": 0.78, "lpips": 0.22, "MB": 5.2, "CPU-s": 31.0}.items():
        worse = {"given/recon": within["given/recon"] | {name: value}}
        verdict = gate.compare(worse, wanted)
        assert not verdict.passed
        assert verdict.sentence == f"Worse than committed: given/recon {name}."
    assert not gate.compare({}, wanted).passed


def test_the_committed_baseline_is_of_the_gates_own_jobs():
    found = gate.read_baseline(gate.BASELINE)
    assert set(found) == {f"{poses}/{entry}" for poses in ("given", "estimated") for entry in ("recon", "copy")}
    for poses in ("given", "estimated"):
        assert found[f"{poses}/recon"]["psnr"] > found[f"{poses}/copy"]["psnr"] + 3
        assert set(found[f"{poses}/recon"]) == {*gate.LOSS, *gate.GROWTH}
    with pytest.raises(InputError, match="holds no figures"):
        gate.read_baseline(Path("nowhere.json"))
