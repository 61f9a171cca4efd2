"""Predicting to disk: what a method gets to see, what is written, what is redone."""

import json
import sys
from pathlib import Path

import pytest
import torch
from spare_set import make_set

from recon.benchmark.runs import isolate
from recon.benchmark.runs.executors import LocalExecutor, select_executor
from recon.benchmark.runs.frames import fit_frames, to_method_frame
from recon.benchmark.runs.isolate import run_parcel
from recon.benchmark.runs.job import Entry, Limits
from recon.benchmark.runs.methods import METHODS, method_named
from recon.benchmark.runs.methods.plain import without_priors
from recon.benchmark.runs.predict import Plan, predict
from recon.benchmark.runs.sets import open_set
from recon.data.transforms_json import read_transforms, write_transforms
from recon.errors import InputError, MissingDependencyError, PoseError
from recon.geometry import Sim3, exp_so3
from recon.optimize import TrainConfig
from recon.types import Cameras

FAKE = Path(__file__).parent / "fake_method.py"


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Methods are the fake one, which says there what it saw."""
    path = tmp_path / "seen" / "witness"
    path.parent.mkdir()
    monkeypatch.setattr(
        isolate, "method_command", lambda name, step: [sys.executable, str(FAKE), str(path), name, step]
    )
    return path


def plan(root: Path, options: dict[str, str] | None = None, **more) -> Plan:
    entry = Entry("fake", "copy", options or {})
    return Plan(open_set(str(root), "1"), (entry,), **more)


def job(root: Path, options: dict[str, str] | None = None, **more):
    """One job; the options are not those of the real method, so they are put in past its check."""
    first = plan(root, **more).jobs()[0]
    return type(first)(**(vars(first) | {"entry": Entry("fake", "copy", options or {})}))


def estimated_world(root: Path, scale: float = 2.0) -> tuple[Sim3, str]:
    """A similarity, and the text of a camera file of the inputs in the world it leads to."""
    scene, split = open_set(str(root), "1").scenes[0]
    turn = exp_so3(torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64))
    sim = Sim3(torch.tensor(scale, dtype=torch.float64), turn, torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    inputs = scene.at(split.input_views)
    path = root / "estimated.json"
    write_transforms(path, inputs.names, sim.apply_cameras(inputs.cameras), images="inputs")
    return sim, path.read_text()


def test_a_method_sees_inputs_first_then_test_cameras_and_never_a_path_to_the_truth(tmp_path, witness, monkeypatch):
    root = make_set(tmp_path / "hidden-truth")
    monkeypatch.setenv("RECON_DATA", str(root))
    monkeypatch.setenv("ANYTHING", f"{root}/Alpha")
    outcome = run_parcel(job(root).pack())
    assert outcome.ok, outcome.reason
    seen = {step: json.loads(Path(f"{witness}.{step}").read_text()) for step in ("fit", "render")}
    photos = [f"inputs/cam_{i:03d}_3_0000.png" for i in (1, 3, 6)]
    assert seen["fit"]["files"] == ["inputs.json", *photos, "log.txt", "task.json"]
    assert "tests.json" in seen["render"]["files"]
    assert not [name for name in seen["render"]["files"] if "cam_002" in name or "cam_005" in name]
    for step in seen.values():
        told = {key: value for key, value in step.items() if key != "environment"}
        assert "hidden-truth" not in json.dumps(told) + json.dumps(step["environment"])
        assert step["links"] == []
    cameras = [frame["file_path"] for frame in json.loads(outcome.files["tests.json"])["frames"]]
    assert [Path(name).name for name in cameras] == ["cam_002_3_0000.png", "cam_005_3_0000.png"]


def test_estimated_poses_are_not_given_and_tests_follow_into_the_methods_world(tmp_path, witness):
    root = make_set(tmp_path / "set")
    sim, cameras = estimated_world(root)
    outcome = run_parcel(job(root, {"cameras": cameras}, poses=("estimated",)).pack())
    assert outcome.ok, outcome.reason
    assert "inputs.json" not in json.loads(Path(f"{witness}.fit").read_text())["files"]
    scene, split = open_set(str(root), "1").scenes[0]
    (tmp_path / "tests.json").write_bytes(outcome.files["tests.json"])
    found = read_transforms(tmp_path / "tests.json").cameras
    wanted = sim.apply_cameras(scene.at(split.test_views).cameras)
    assert torch.allclose(found.cam_from_world.double(), wanted.cam_from_world, atol=1e-5)
    assert torch.allclose(found.Ks.double(), wanted.Ks, rtol=1e-5)


def test_test_photos_are_shown_only_for_alignment_after_the_renderings_are_taken_away(tmp_path, witness):
    root = make_set(tmp_path / "set")
    _, cameras = estimated_world(root)
    packed = job(root, {"cameras": cameras}, poses=("estimated",)).pack()
    whole = open_set(str(root), "1").scenes[0][0]
    names = {f"cam_{i + 1:03d}_3_0000.png": whole.image_paths[i].read_bytes() for i in (1, 4)}
    outcome = run_parcel(type(packed)(**(vars(packed) | {"test_photos": names})))
    assert outcome.ok, outcome.reason
    seen = {step: json.loads(Path(f"{witness}.{step}").read_text())["files"] for step in ("fit", "render", "align")}
    assert not [name for step in ("fit", "render") for name in seen[step] if name.startswith("tests/")]
    assert [name for name in seen["align"] if name.startswith("tests/")] == [f"tests/{name}" for name in names]
    assert not [name for name in seen["align"] if name.startswith("renders")]
    assert {f"{kind}/{name}" for kind in ("renders", "aligned") for name in names} <= set(outcome.files)


@pytest.mark.parametrize(
    ("do", "reason", "killed"),
    [
        ("fail in fit", "fit ended with exit code 1: the photos are of different scenes", False),
        ("die in render", "render was ended by signal 9", True),
        ("change the scene", "changed after the test cameras were revealed", False),
        ("wrong size", "is 8 x 8 pixels; 56 x 42 were asked", False),
    ],
)
def test_what_goes_wrong_in_a_method_is_its_outcome(tmp_path, witness, do, reason, killed):
    outcome = run_parcel(job(make_set(tmp_path / "set"), {"do": do}).pack())
    assert not outcome.ok
    assert reason in outcome.reason
    assert outcome.killed is killed
    assert outcome.steps["fit"].seconds > 0


def test_a_method_that_hangs_is_ended(tmp_path, witness):
    limits = Limits(seconds=0.5)
    outcome = run_parcel(job(make_set(tmp_path / "set"), {"do": "hang in fit"}, limits=limits).pack())
    assert "more than the limit" in outcome.reason
    assert outcome.steps["fit"].seconds < 10


def test_a_killed_job_is_tried_again(tmp_path, witness):
    one = job(make_set(tmp_path / "set"), {"do": "die once in fit"})
    [(_, outcome)] = LocalExecutor().run([one])
    assert outcome.ok
    assert Path(f"{witness}.calls").read_text().split() == ["fit", "fit", "render"]


def test_results_are_whole_and_finished_jobs_are_skipped(tmp_path, witness):
    root, out = make_set(tmp_path / "set"), tmp_path / "out"
    tally = predict(plan(root, seeds=(0, 1)), out, LocalExecutor(2))
    assert (tally.done, tally.skipped, tally.failed) == (4, 0, ())
    folder = out / "track1-given" / "fake" / "seed1" / "Beta"
    record = json.loads((folder / "job.json").read_text())
    assert record["tests"] == {"cam_002_3_0000.png": 1, "cam_005_3_0000.png": 4}
    assert record["size_bytes"] == 1000
    assert record["versions"]["f"] == "1"
    assert record["peak_memory_bytes"] > 1e6
    assert {path.name for path in (folder / "renders").iterdir()} == set(record["tests"])
    (folder / "job.json").unlink()  # as a kill between the folders would leave it
    (out / "track1-given" / "fake" / "seed1" / ".Alpha.1234.part").mkdir()
    again = predict(plan(root, seeds=(0, 1)), out, LocalExecutor())
    assert (again.done, again.skipped) == (1, 3)
    assert not list(out.rglob(".*"))
    assert predict(plan(root, {}, seeds=(0, 1)), out, LocalExecutor()).skipped == 4


def test_other_photos_or_options_are_other_work(tmp_path):
    root = make_set(tmp_path / "set")
    one = job(root).pack()
    assert one.fingerprint({}) == job(root).pack().fingerprint({})
    others = [job(root, {"steps": "5"}), job(root, seeds=(3,)), job(root, poses=("estimated",))]
    prints = {other.pack().fingerprint({}) for other in others} | {one.fingerprint({"recon": "2"})}
    assert one.fingerprint({}) not in prints
    assert len(prints) == 4


def test_sets_are_checked_before_anything_runs(tmp_path):
    root = make_set(tmp_path / "set", withheld=(2, 4))
    with pytest.raises(InputError, match="lacks the input photos cam_003"):
        open_set(str(root), "1")
    released = make_set(tmp_path / "released", withheld=(1, 4))
    entry = Entry("recon", "recon")
    with pytest.raises(InputError, match="--align needs the test photos"):
        Plan(open_set(str(released), "1"), (entry,), poses=("estimated",), align=True).jobs()
    with pytest.raises(InputError, match="cannot refine test cameras"):
        plan(released, align=True).jobs()
    with pytest.raises(InputError, match="which split"):
        open_set(str(released), "7")
    with pytest.raises(InputError, match="--track is 1"):
        open_set(str(released), "x")
    with pytest.raises(InputError, match="no scene Gamma"):
        open_set(str(released), "1", only=("Gamma",))


def test_protocol_sizes_are_given_out_as_shrunk_photos(tmp_path):
    root = make_set(tmp_path / "set", scenes=("Alpha",))
    packed = Plan(open_set(str(root), "1", max_side=28), (Entry("copy", "copy"),)).jobs()[0].pack()
    assert packed.cameras.width.tolist() == [28, 28, 28]
    assert float(packed.cameras.Ks[0, 0, 0]) == pytest.approx(30.0)
    raw = Plan(open_set(str(root), "1"), (Entry("copy", "copy"),)).jobs()[0].pack()
    assert raw.photos["cam_001_3_0000.png"] == (root / "Alpha" / "cam_001_3_0000.png").read_bytes()
    assert len(packed.photos["cam_001_3_0000.png"]) < len(raw.photos["cam_001_3_0000.png"])


def test_frames_are_fitted_where_centres_alone_leave_a_turn_open():
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, 0, 3] = -1.0
    source = Cameras.create(poses, torch.eye(3, dtype=torch.float64).repeat(2, 1, 1), 4, 4)
    turn = exp_so3(torch.tensor([1.0, 0.2, -0.4], dtype=torch.float64))
    true = Sim3(torch.tensor(3.0, dtype=torch.float64), turn, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    found = fit_frames(source, true.apply_cameras(source))
    assert torch.allclose(found.R, true.R, atol=1e-9)
    assert float(found.scale) == pytest.approx(3.0)
    assert torch.allclose(found.t, true.t, atol=1e-9)


def test_one_placed_photo_or_one_spot_tells_no_frame():
    poses = torch.eye(4).repeat(3, 1, 1)
    cameras = Cameras.create(poses, torch.eye(3).repeat(3, 1, 1), 4, 4)
    with pytest.raises(PoseError, match="one spot"):
        to_method_frame(cameras, cameras, cameras)
    alone = torch.tensor([True, False, False])
    with pytest.raises(PoseError, match="1 of 3 input photos"):
        to_method_frame(cameras, cameras, Cameras(*(list(vars(cameras).values())[:4]), alone, alone.float()))


def test_a_wrong_focal_length_is_part_of_the_methods_frame():
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = -1.0
    true = Cameras.create(poses, torch.diag(torch.tensor([50.0, 50.0, 1.0])).repeat(2, 1, 1), 40, 30)
    estimated = Cameras.create(poses, torch.diag(torch.tensor([60.0, 60.0, 1.0])).repeat(2, 1, 1), 40, 30)
    moved = to_method_frame(true[0], true, estimated)
    assert float(moved.Ks[0, 0, 0]) == pytest.approx(60.0)
    assert torch.allclose(moved.cam_from_world, true.cam_from_world[:1], atol=1e-6)


def test_a_wrong_principal_point_is_part_of_the_methods_frame():
    """A lens that looks beside the middle, taken for one that does not: the same pictures, in a turned world."""
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[1, 0, 3], poses[2, 1, 3] = -1.0, 0.5
    Ks = torch.tensor([[50.0, 0, 21.0], [0, 50.0, 14.5], [0, 0, 1]]).repeat(3, 1, 1)
    true = Cameras.create(poses, Ks, 40, 30)
    Ks = torch.tensor([[60.0, 0, 20.0], [0, 60.0, 15.0], [0, 0, 1]]).repeat(3, 1, 1)
    estimated = Cameras.create(poses, Ks, 40, 30)
    tests = Cameras.create(poses[:1], 2 * true.Ks[:1], 80, 60)  # twice the size
    moved = to_method_frame(tests, true, estimated)
    assert torch.allclose(moved.Ks[0, :2], torch.tensor([[120.0, 0, 40], [0, 120, 30]]))


def test_methods_say_what_they_lack():
    with pytest.raises(InputError, match="no option 'stpes'"):
        method_named("recon").check({"stpes": "3"})
    with pytest.raises(InputError, match="There are: recon, plain, copy, opensplat"):
        method_named("magic")
    for name in ("opensplat", "splatfacto", "gsplat"):
        with pytest.raises(MissingDependencyError, match=f"{name} needs nowhere/to/be/found"):
            METHODS[name].check({"program": "nowhere/to/be/found"})
    with pytest.raises(InputError, match="--on takes"):
        select_executor("moon")


def test_plain_keeps_the_budget_and_drops_the_priors():
    ours = TrainConfig(steps=700, max_side=300)
    plain = without_priors(ours)
    assert (plain.steps, plain.max_side, plain.seed) == (700, 300, 0)
    assert plain.loss.depth == plain.loss.alpha == plain.dropout == plain.init.fill_below == 0
    assert {plain.refine_poses, plain.refine_exposure, plain.random_background} == {False}
    assert plain.densify.grow_grad == ours.densify.grow_grad
