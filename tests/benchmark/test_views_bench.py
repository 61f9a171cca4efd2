"""`recon bench views`: the table of arms, what is run and skipped, the sheets, and one real job on the demo photos."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from recon import config as configuration
from recon.benchmark.runs import isolate
from recon.benchmark.runs.methods import method_named
from recon.benchmark.runs.methods.plain import without_priors
from recon.benchmark.views import FULL, QUICK, ViewsOptions, bench, run_views
from recon.benchmark.views.arms import ARMS, GROUPS, Arm, choose_arms
from recon.benchmark.views.sheets import draw_sheet
from recon.cli.bench_options import BenchViews, parse_bench
from recon.cli.bench_views_command import command_line, views_options
from recon.config import RunConfig
from recon.data.split_files import Split
from recon.errors import InputError
from recon.optimize import TrainConfig

FAKE = Path(__file__).parent / "fake_method.py"
DEMO = ViewsOptions(scenes=("demo",), photos=(3,), poses=("given",), seeds=(0,), max_side=160)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every method is the fake one, which writes there that it was called."""
    witness = tmp_path / "seen" / "witness"
    witness.parent.mkdir()
    monkeypatch.delenv("RECON_DATA", raising=False)
    monkeypatch.setattr(
        isolate, "method_command", lambda name, step: [sys.executable, str(FAKE), str(witness), name, step]
    )
    return Path(f"{witness}.calls")


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.label)
def test_every_arm_changes_something_that_exists(arm: Arm) -> None:
    entry = bench.make_entry(arm, FULL)
    method_named(entry.method).check(entry.options)
    base = RunConfig(Path("in"), Path("out"))
    settings = [f"{key}={value}" for key, value in arm.options.items() if "." in key]
    changed = configuration.resolve(base, quality="standard", assignments=settings)
    assert (changed != configuration.resolve(base, quality="standard")) == bool(settings)
    assert arm.group in GROUPS
    assert {other.label for other in ARMS} >= set(arm.against)


def test_a_setting_that_does_not_exist_is_refused_before_anything_runs(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(InputError, match=r"Unknown setting 'train\.stepz'"):
        run_views(replace(DEMO, options={"train.stepz": "9"}, out=tmp_path / "out"))
    assert not calls.exists()


def test_labels_are_unique_folders() -> None:
    labels = [arm.label for arm in ARMS]
    assert len(set(labels)) == len(labels)
    assert all(label == label.strip() and "/" not in label and " " not in label for label in labels)


def test_arms_are_chosen_by_name_or_group_with_what_they_are_compared_with() -> None:
    assert [arm.label for arm in choose_arms(("methods",))] == ["recon", "plain", "plain-dense"]
    assert [arm.label for arm in choose_arms(("no-depth",))] == ["recon", "no-depth"]
    assert [arm.label for arm in choose_arms(("masks-hull",))] == ["masks", "masks-hull"]
    assert [arm.label for arm in choose_arms(("plain",))] == ["plain"]
    assert len(choose_arms(GROUPS)) == len(ARMS)
    with pytest.raises(InputError, match=r"No arm 'no-dept'\. There are: .*priors, repair, ungated, object, recon"):
        choose_arms(("no-dept",))


def test_finished_jobs_and_scores_are_kept_and_sheets_show_each_view_by_each_arm(tmp_path: Path, calls: Path) -> None:
    options = replace(DEMO, arms=("recon", "plain"), out=tmp_path / "out")
    first = run_views(options, "--scenes demo")
    assert calls.read_text().split() == ["fit", "render"] * 2
    assert [row["arm"] for row in first.tables[0].records()] == ["recon", "plain"]
    assert first.tables[1].records()[0]["verdict"] == "within noise"  # the same grey
    assert first.command == "recon bench views --scenes demo"
    with Image.open(tmp_path / "out" / "sheets" / "3-given" / "demo.png") as sheet:
        photo, *arms = [sheet.getpixel((6 + c * (107 + 6) + 53, 22 + 80)) for c in range(3)]  # 107 x 160 each
    assert arms == [(128, 128, 128)] * 2
    assert photo != arms[0]
    kept = tmp_path / "out" / "track3-given" / "plain" / "seed0" / "demo" / "scores.json"
    values = json.loads(kept.read_text())
    values[0]["report"]["images"] = [image | {"psnr": 50.0} for image in values[0]["report"]["images"]]
    kept.write_text(json.dumps(values))
    again = run_views(options)
    assert calls.read_text().split() == ["fit", "render"] * 2
    rows = {row["arm"]: row["PSNR"] for row in again.tables[0].records()}
    assert rows["plain"] == 50.0  # read, not measured again
    assert rows["recon"] == first.tables[0].records()[0]["PSNR"]


def test_what_was_not_shown_is_black_on_the_sheet() -> None:
    sheet = draw_sheet([("photo", [torch.ones(6, 8, 3)], [""]), ("arm", [None], ["0.0 dB"])])
    assert sheet.getpixel((6 + 4, 22 + 3)) == (255, 255, 255)
    assert sheet.getpixel((6 + 8 + 6 + 4, 22 + 3)) == (0, 0, 0)


def test_scenes_are_named_or_taken_by_kind(tmp_path: Path) -> None:
    known = {name: Split((0,), (1,), kind) for name, kind in (("a/x", "real"), ("b/y", "rendered"), ("b/z", "real"))}
    for name in ("a/x", "b/y"):
        (tmp_path / name).mkdir(parents=True)
    assert bench.choose_scenes(known, tmp_path, ()) == ("a/x", "b/y")
    assert bench.choose_scenes(known, tmp_path, ("real",)) == ("a/x",)
    with pytest.raises(InputError, match="no folder b/z"):
        bench.choose_scenes(known, tmp_path, ("b/z",))
    with pytest.raises(InputError, match=r"No scene 'q'\. There are: real, rendered, a/x"):
        bench.choose_scenes(known, tmp_path, ("q",))
    with pytest.raises(InputError, match="none of the benchmark's scenes"):
        bench.choose_scenes(known, tmp_path / "a", ())


def test_without_data_the_short_version_takes_the_demo_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECON_DATA", raising=False)
    assert bench.open_scenes(QUICK, 3)[0].scenes[0][0].name == "demo"
    with pytest.raises(InputError, match="Set RECON_DATA"):
        bench.open_scenes(FULL, 3)


def test_options_narrow_the_full_version_or_widen_the_short_one() -> None:
    short = parse_bench(["views"])
    assert isinstance(short, BenchViews)
    assert views_options(short) == QUICK
    assert views_options(parse_bench(["views", "--full"])) == FULL
    words = ["views", "--full", "--photos", "3", "6", "--poses", "given", "--seeds", "4", "--option", "train.steps=9"]
    said = parse_bench(words)
    options = views_options(said)
    assert (options.photos, options.poses, options.seeds, options.arms) == ((3, 6), ("given",), (4,), ("methods",))
    assert options.options == {"train.steps": "9"}
    assert command_line(said) == " ".join(words[1:])
    assert views_options(parse_bench(["views", "--quality", "high"])).options == {}
    with pytest.raises(InputError, match="KEY=VALUE"):
        views_options(parse_bench(["views", "--option", "steps"]))


def test_plain_turns_every_term_but_the_photometric_ones_off() -> None:
    loss = without_priors(TrainConfig()).loss
    weights = {name: value for name, value in vars(loss).items() if isinstance(value, float)}
    assert {name for name, value in weights.items() if value} == {"ssim"}
    with pytest.raises(InputError, match="init is sparse or dense"):
        method_named("plain").check({"init": "random"})


@pytest.mark.slow
def test_plain_splatting_from_dense_points_runs_on_the_demo_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECON_DATA", raising=False)
    tiny = {"train.steps": "40", "train.init.max_gaussians": "3000", "dense.max_side": "160"}
    report = run_views(
        replace(DEMO, arms=("plain-dense",), quality="draft", options=tiny, max_side=200, out=tmp_path / "out")
    )
    (row,) = report.tables[0].records()
    assert (row["arm"], row["not shown"]) == ("plain-dense", 0)
    assert 11 < row["PSNR"] < 40
    assert row["CPU-s"] > 1
    assert (tmp_path / "out" / "sheets" / "3-given" / "demo.png").is_file()
