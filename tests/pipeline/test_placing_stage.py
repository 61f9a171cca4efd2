"""The placing stage's book-keeping: who is looked at, what changes, what is stored. The search has its own tests."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recon import pipeline
from recon.config import RunConfig
from recon.optimize.placing import Decision, Evidence, Placement
from recon.optimize.placing.decide import Action
from recon.pipeline import placing
from recon.pipeline.core import Outcome, Run
from recon.pipeline.stages import Dense, Photos
from recon.types import Cameras, DepthMaps, ImageSet, PointCloud, PoseResult, PoseStatus

N = 4
GOOD, BAD = (0.8, 0.6), (0.8, 0.05)
UNSURE = Decision(Action.LEFT, Evidence(0.1, 0.2, 8, 0.2, 2), None)


def photos() -> ImageSet:
    images = tuple(torch.full((30, 40, 3), 0.1 * (v + 1)) for v in range(N))
    names = tuple(f"{v}.jpg" for v in range(N))
    return ImageSet(names, images, torch.full((N,), torch.nan), torch.zeros(N, dtype=torch.int64))


def poses(*status: PoseStatus) -> PoseResult:
    cameras = Cameras.create(
        torch.eye(4).repeat(N, 1, 1), torch.tensor([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]).repeat(N, 1, 1), 40, 30
    )
    cameras.registered[:] = torch.tensor([s is not PoseStatus.UNREGISTERED for s in status])
    points = PointCloud(torch.rand(5, 3), torch.rand(5, 3), torch.ones(5))
    reasons = tuple("" if s is PoseStatus.OK else "few matches" for s in status)
    seen = torch.full((N,), 50)
    return PoseResult(cameras, points, status, reasons, seen, torch.ones(N))


def placed(n: int, action: Action, agreement: float = 0.5) -> Decision:
    pose = torch.eye(4)
    pose[0, 3] = 0.5
    xyz = torch.tensor([[0.0, 0.0, 2.0]]).repeat(n, 1)
    uv = torch.tensor([[30.0, 18.0]]).repeat(n, 1)  # three pixels below where the point falls
    return Decision(action, None, Placement(pose, Evidence(0.5, agreement, n, 0.8, 9), uv, xyz))


def dense_of(n: int) -> Dense:
    depth = tuple(torch.ones(30, 40) for _ in range(n))
    return Dense(DepthMaps(depth, depth), PointCloud(torch.rand(9, 3), torch.rand(9, 3), torch.ones(9)))


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the stage on given poses, leave-out verdicts and decisions by name; tells what was looked at."""
    looked: list[str] = []

    def run_stage(result: PoseResult, verdicts: list[tuple[float, float]], decisions: dict[str, Decision]) -> Any:
        images = photos()
        values = {"images": Photos(images), "poses": result, "dense": dense_of(int(result.cameras.registered.sum()))}
        shades = {round(float(image[0, 0, 0]), 3): name for name, image in zip(images.names, images.images)}

        def decide(photo: Any, *_: Any) -> Decision:
            looked.append(shades[round(float(photo.image[0, 0, 0]), 3)])
            return decisions.get(looked[-1], UNSURE)

        monkeypatch.setattr(placing, "look_again", decide)
        monkeypatch.setattr(placing, "contradicted", lambda *_: verdicts)
        monkeypatch.setattr(placing, "reconstruct", lambda scene, *_: (dense_of(len(scene)).depths, dense_of(0).points))
        run = Run(RunConfig(tmp_path, tmp_path / "out"), pipeline.STAGES)
        run.folder.prepare(0)
        for name, value in values.items():
            run.keep(name, value)
        stage = placing.PlacingStage()
        outcome = stage.compute(run)
        return SimpleNamespace(outcome=outcome, loaded=stage.load(run), warned=run.warnings, looked=looked)

    return run_stage


OK, LOW, OUT = PoseStatus.OK, PoseStatus.LOW, PoseStatus.UNREGISTERED


def test_nothing_is_done_to_photos_that_nothing_speaks_against(look) -> None:
    done = look(poses(OK, OK, OK, OK), [GOOD] * 4, {})
    assert done.looked == []
    assert done.outcome.value == done.loaded == {}
    assert done.outcome.details == {"photos": [], "cameras": []}


def test_missing_doubtful_and_contradicted_photos_are_looked_at(look) -> None:
    done = look(poses(OK, OUT, LOW, OK), [GOOD, GOOD, BAD], {})
    assert done.looked == ["1.jpg", "2.jpg", "3.jpg"]
    assert [row["action"] for row in done.outcome.details["photos"]] == ["left as it is"] * 3


def test_a_contradicted_photo_without_a_better_place_is_no_longer_ok(look) -> None:
    start = poses(OK, OK, OK, OK)
    confirmed = {"3.jpg": Decision(Action.CONFIRMED, Evidence(0.1, 0.5, 80, 0.9, 6), None)}
    done = look(start, [GOOD, BAD, GOOD, (0.1, 0.5)], confirmed)
    revised: PoseResult = done.loaded["poses"]
    assert done.looked == ["1.jpg", "3.jpg"]
    assert revised.status == (OK, LOW, OK, OK)
    assert "not confirm" in revised.reasons[1]
    assert float(revised.cameras.confidence[1]) < 0.5
    assert torch.equal(revised.cameras.cam_from_world, start.cameras.cam_from_world)
    assert len(done.warned) == 1
    assert "1.jpg" in done.warned[0]
    assert look(replace(start, backend="known"), [GOOD, BAD, GOOD, GOOD], {}).loaded == {}


def test_what_cannot_be_judged_is_not_doubted(look) -> None:
    nothing = Decision(Action.LEFT, None, None)  # the others have too few points to look at
    done = look(poses(OK, OK, OUT, OK), [GOOD, BAD, GOOD], {"1.jpg": nothing, "2.jpg": nothing})
    assert done.loaded == {}
    assert done.warned == []
    sentences = [row["sentence"] for row in done.outcome.details["photos"]]
    assert sentences == [f"The points of the other photos do not say where {k}.jpg was taken." for k in (1, 2)]


def test_a_photo_that_is_found_joins_the_scene(look) -> None:
    done = look(poses(OK, OUT, OK, OK), [GOOD] * 3, {"1.jpg": placed(40, Action.PLACED)})
    revised: PoseResult = done.loaded["poses"]
    assert revised.cameras.registered.all()
    assert revised.status == (OK, LOW, OK, OK)
    assert "40 matches" in revised.reasons[1]
    assert float(revised.cameras.cam_from_world[1, 0, 3]) == 0.5
    assert float(revised.reprojection_error_px[1]) == pytest.approx(3.0)
    assert len(revised.points) == 5 + 40
    assert torch.allclose(revised.points.rgb[-1], torch.full((3,), 0.2))
    assert len(done.loaded["dense"].depths.depth) == 4
    assert "1.jpg" in done.warned[0]
    assert done.outcome.details["cameras"][1]["status"] == "low"


def test_a_moved_photo_is_ok_if_it_matches_and_looks_right_and_says_how_far_it_turned(look) -> None:
    done = look(poses(OK, OK, OK, OK), [GOOD, BAD, GOOD, GOOD], {"1.jpg": placed(150, Action.MOVED)})
    assert done.loaded["poses"].status == (OK, OK, OK, OK)
    assert float(done.loaded["poses"].cameras.confidence[1]) == pytest.approx(0.6)
    row = done.outcome.details["photos"][0]
    assert row["turned_deg"] == 0.0
    assert "placed anew" in row["sentence"]
    assert row["left_out"] == {"coverage": 0.8, "agreement": 0.05}
    dim = look(poses(OK, OK, OK, OK), [GOOD, BAD, GOOD, GOOD], {"1.jpg": placed(150, Action.MOVED, 0.3)})
    assert dim.loaded["poses"].status == (OK, LOW, OK, OK)


def test_what_stays_missing_is_tried_again_after_another_was_placed(look) -> None:
    done = look(poses(OK, OUT, OUT, OK), [GOOD] * 2, {"2.jpg": placed(40, Action.PLACED)})
    assert done.looked == ["1.jpg", "2.jpg", "1.jpg"]
    assert [row["name"] for row in done.outcome.details["photos"]] == ["1.jpg", "2.jpg"]


def kept(agreement: float, inliers: int = 5, coverage: float = 0.4) -> Decision:
    return Decision(Action.LEFT, Evidence(coverage, agreement, inliers, 0.2, 2), None)


def test_a_doubtful_photo_that_the_others_refute_is_taken_out(look) -> None:
    done = look(poses(OK, LOW, OK, OK), [GOOD, BAD, GOOD, GOOD], {"1.jpg": kept(0.06)})
    revised: PoseResult = done.loaded["poses"]
    assert revised.status == (OK, OUT, OK, OK)
    assert revised.cameras.registered.tolist() == [True, False, True, True]
    assert "show something else" in revised.reasons[1]
    assert float(revised.cameras.confidence[1]) == 0
    assert int(revised.n_observations[1]) == 0
    assert len(done.loaded["dense"].depths.depth) == 3
    assert "1.jpg was taken out" in done.warned[0]
    assert done.outcome.details["photos"][0]["action"] == "taken out"
    assert torch.equal(revised.cameras.cam_from_world[1], torch.eye(4))
    assert done.outcome.details["points"] == len(done.loaded["dense"].points)
    for decision in (kept(0.3), kept(0.06, coverage=0.05)):  # hardly covered: nothing can be refuted
        assert look(poses(OK, LOW, OK, OK), [GOOD, BAD, GOOD, GOOD], {"1.jpg": decision}).loaded == {}
    sure = look(poses(OK, OK, OK, OK), [GOOD, BAD, GOOD, GOOD], {"1.jpg": kept(0.06)})
    assert sure.loaded["poses"].status == (OK, LOW, OK, OK)  # its matches agree
    alone = look(poses(OK, LOW, LOW, LOW), [GOOD, BAD, GOOD, GOOD], {"1.jpg": kept(0.06)})
    assert alone.loaded == {}  # who is right, when nearly all are in doubt?


def test_a_photo_that_was_taken_out_is_tried_again_after_another_was_placed(look) -> None:
    done = look(poses(OK, LOW, OUT, OK), [GOOD, BAD, GOOD], {"1.jpg": kept(0.06), "2.jpg": placed(140, Action.PLACED)})
    assert done.looked == ["1.jpg", "2.jpg", "1.jpg"]
    rows = done.outcome.details["photos"]
    assert [(row["name"], row["action"]) for row in rows] == [("1.jpg", "taken out"), ("2.jpg", "placed")]


def test_a_refuted_photo_goes_where_it_was_found_even_if_fewer_matches_say_so(look) -> None:
    found = placed(40, Action.LEFT).found
    weaker = replace(kept(0.06, inliers=250), found=found)
    done = look(poses(OK, LOW, OK, OK), [GOOD, BAD, GOOD, GOOD], {"1.jpg": weaker})
    assert done.outcome.details["photos"][0]["action"] == "moved"
    assert float(done.loaded["poses"].cameras.cam_from_world[1, 0, 3]) == 0.5
    unlikely = replace(weaker, found=replace(found, evidence=Evidence(0.5, 0.1, 8, 0.2, 2)))
    done = look(poses(OK, LOW, OK, OK), [GOOD, BAD, GOOD, GOOD], {"1.jpg": unlikely})
    assert done.outcome.details["photos"][0]["action"] == "taken out"


def test_a_second_look_does_not_trust_who_was_just_doubted(look, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted: list[tuple[str, list[int]]] = []
    original = placing._State._trusted

    def remember(state: Any, v: int, suspects: Any) -> set[int]:
        trusted.append((state.images.names[v], sorted(original(state, v, suspects))))
        return original(state, v, suspects)

    monkeypatch.setattr(placing._State, "_trusted", remember)
    look(poses(OK, OK, OUT, OUT), [BAD, GOOD], {"3.jpg": placed(140, Action.PLACED)})
    assert trusted[-1] == ("2.jpg", [1, 3])  # 0 was doubted, 3 was placed meanwhile


def test_a_doubtful_photo_that_the_others_confirm_beyond_doubt_is_ok(look) -> None:
    def confirmed(inliers: int, agreement: float) -> Decision:
        return Decision(Action.CONFIRMED, Evidence(0.5, agreement, inliers, 0.9, 6), None)

    start = poses(OK, LOW, OK, OK)
    start.cameras.confidence[1] = 0.37
    done = look(start, [GOOD] * 4, {"1.jpg": confirmed(260, 0.44)})
    sure = done.loaded["poses"]
    assert done.warned == ["The points of the other photos confirm the place of 1.jpg."]  # matching had warned of it
    assert sure.status == (OK, OK, OK, OK)
    assert sure.reasons[1] == ""
    assert float(sure.cameras.confidence[1]) == pytest.approx(260 / 360)
    for decision in (confirmed(38, 0.44), confirmed(260, 0.33)):  # curls beside curls
        assert look(start, [GOOD] * 4, {"1.jpg": decision}).loaded == {}


def test_later_stages_read_what_a_stage_revised(tmp_path: Path) -> None:
    class Made:
        name, description = "made", "making"

        def settings(self, run: Run) -> Any:
            return None

        def compute(self, run: Run) -> Outcome:
            return Outcome("first", ())

        def load(self, run: Run) -> str:
            return "first"

    class Corrected(Made):
        name, revises = "corrected", ("made",)

        def compute(self, run: Run) -> Outcome:
            assert run.value("made") == "first", "a stage must see what it corrects"
            return Outcome({"made": "second"}, ())

        def load(self, run: Run) -> Any:
            return {"made": "second"}

    run = Run(RunConfig(tmp_path, tmp_path / "out"), (Made(), Corrected()))
    run.folder.prepare(0)
    run.execute("corrected")
    assert run.value("made") == "second"
    again = Run(RunConfig(tmp_path, tmp_path / "out"), (Made(), Corrected()))
    again.execute("corrected")
    assert again.resumed == ["made", "corrected"]
    assert again.value("made") == "second"
