"""Tables of held-out views against naive loops; what is called a difference; where published figures may stand."""

import numpy as np
import pytest
from reference import views_figures as naive

from recon.benchmark.evaluate import SceneReport
from recon.benchmark.runs.score import Scored
from recon.benchmark.views.arms import Arm, choose_arms
from recon.benchmark.views.tables import WITHIN, make_tables, verdict
from recon.metrics import ImageScores

ARMS = choose_arms(("methods",))


def scored(arm: str, seed: int, scene: str, psnrs: list[float], **more) -> Scored:
    masked = more.pop("masked", None)
    images = tuple(ImageScores(f"{i}.png", 8, 6, psnr, 0.5, 0.25, masked) for i, psnr in enumerate(psnrs))
    costs = {"seconds": 10.0, "cpu_seconds": 20.0, "peak_memory_bytes": 3e9, "size_bytes": 1e6}
    return Scored(arm, scene, **({"dataset": "real", "track": "3", "poses": "given"} | more), seed=seed,
                  report=SceneReport(scene, images), missing=0, costs=costs)  # fmt: skip


def random_figures() -> naive.Table:
    rng = np.random.default_rng(5)
    levels = {"recon": 20.0, "plain": 15.0, "plain-dense": 19.9}
    return {
        (arm, seed, scene): [float(x) for x in level + rng.normal(0, 1, 2 + len(scene))]
        for arm, level in levels.items()
        for seed in (0, 1, 2)
        for scene in ("a", "bb", "ccc")
        if (arm, scene) != ("plain", "ccc")
    }


def test_means_gains_and_spreads_are_those_of_loops() -> None:
    figures = random_figures()
    means, gains, _ = make_tables([scored(*key, views) for key, views in figures.items()], ARMS, 320)
    for row in means.records():
        expected = naive.by_seed(figures, str(row["arm"]))
        assert row["PSNR"] == pytest.approx(naive.mean(expected))
        assert row["sd"] == pytest.approx(naive.deviation(expected))
        assert (row["scenes"], row["seeds"]) == (2 if row["arm"] == "plain" else 3, 3)
        assert (row["seconds"], row["CPU-s"], row["peak GB"]) == (10.0, 20.0, 3.0)
    pairs = [(row["arm"], row["against"]) for row in gains.records()]
    assert pairs == [("recon", "plain"), ("recon", "plain-dense"), ("plain-dense", "plain")]
    for row in gains.records():
        expected = naive.gains(figures, str(row["arm"]), str(row["against"]))
        gain, spread = naive.mean(expected), naive.deviation(expected)
        assert row["gain dB"] == pytest.approx(gain)
        assert row["spread"] == pytest.approx(spread)
        noise = abs(gain) < 0.2 or abs(gain) < spread
        assert row["verdict"] == (WITHIN if noise else "better" if gain > 0 else "worse")
    assert gains.records()[0]["verdict"] == "better"


@pytest.mark.parametrize(
    ("gain", "sd", "seeds", "said"),
    [
        (0.19, 0.01, 3, WITHIN),
        (0.21, 0.01, 3, "better"),
        (-0.5, 0.1, 3, "worse"),
        (0.5, 0.6, 3, WITHIN),
        (-0.1, None, 1, WITHIN),
        (0.5, None, 1, "better (1 seed)"),
        (-0.5, 0.1, 2, "worse (2 seeds)"),
    ],
)
def test_small_or_scattered_differences_are_noise(gain: float, sd: float | None, seeds: int, said: str) -> None:
    assert verdict(gain, sd, seeds) == said


def test_masked_figures_are_of_the_scenes_that_have_masks() -> None:
    rows = [scored("recon", 0, "cup", [20.0], masked=25.0), scored("recon", 0, "door", [10.0]),
            scored("plain", 0, "cup", [18.0], masked=21.0), scored("plain", 0, "door", [9.0])]  # fmt: skip
    means, gains, scenes = make_tables(rows, ARMS, 320)
    assert [row["PSNR-M"] for row in means.records()] == [25.0, 21.0]
    assert [row["PSNR"] for row in means.records()] == [15.0, 13.5]
    assert gains.records()[0]["gain-M dB"] == 4.0
    assert gains.records()[0]["gain dB"] == 1.5
    assert [row["PSNR-M"] for row in scenes.records()] == [25.0, 21.0, None, None]


def test_estimated_poses_are_judged_where_test_cameras_were_refined() -> None:
    rows = [scored("recon", seed, "door", [20.0 + seed]) for seed in (0, 1, 2)]
    rows += [scored("recon", seed, "door", [11.0], poses="estimated") for seed in (0, 1, 2)]
    rows += [scored("recon +align", seed, "door", [19.25 + seed], poses="estimated") for seed in (0, 1, 2)]
    rows += [scored("plain +align", seed, "door", [15.0 + seed], poses="estimated") for seed in (0, 1, 2)]
    tables = {table.title: table for table in make_tables(rows, ARMS, 320)}
    (loss,) = tables["Estimated against given poses"].records()
    assert (loss["arm"], loss["difference dB"], loss["verdict"]) == ("recon", -0.75, "worse")
    (gain,) = tables["3 photos, estimated poses: gains"].records()
    assert (gain["against"], gain["gain dB"]) == ("plain", 4.25)
    assert "moved by itself" in tables["3 photos, estimated poses, up to 320 pixels"].note
    assert "3 photos, given poses: gains" not in tables  # nothing to compare with


def test_parts_are_compared_with_the_whole() -> None:
    arms = (Arm("recon", "methods", "all", against=("plain",)), Arm("no-x", "off", "without x"))
    rows = [scored(arm, seed, "door", [level + seed])
            for arm, level in (("recon", 20.0), ("no-x", 19.0)) for seed in range(3)]  # fmt: skip
    (row,) = make_tables(rows, arms, 320)[1].records()
    assert (row["arm"], row["against"], row["gain dB"], row["spread"]) == ("no-x", "recon", -1.0, 0.0)
    assert (row["verdict"], row["what it is"]) == ("worse", "without x")


def test_published_figures_stand_only_beside_their_protocol_and_it_is_said_what_differs() -> None:
    fern = [scored("recon", 0, "bench/llff_fern", [21.0])]
    titles = [table.title for table in make_tables(fern, ARMS, 504)]
    assert titles[-1].startswith("Published: LLFF, 3 photos")
    marks = make_tables(fern, ARMS, 504)[-1]
    assert "no mean" in marks.note
    assert all(row["method"] != "recon" for row in marks.records())
    estimated = [scored("recon", 0, "bench/llff_fern", [21.0], poses="estimated")]
    door = [scored("recon", 0, "dev/lund_door", [21.0])]
    for other in (make_tables(fern, ARMS, 320), make_tables(door, ARMS, 504), make_tables(estimated, ARMS, 504)):
        assert not [table for table in other if table.title.startswith("Published")]
