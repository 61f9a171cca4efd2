"""`recon bench viewer` on a small scene for a moment: that it counts what it says it counts."""

from pathlib import Path
from typing import Any

import pytest

from recon.benchmark import viewer as bench
from recon.compress import write_ply


@pytest.mark.browser
def test_frames_and_tabs_are_counted_through_a_page(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DRAG_SECONDS": 2.0, "WARM_SECONDS": 0.5, "TABS": 2}.items():
        monkeypatch.setattr(bench, name, value)
    write_ply(tmp_path / "room.ply", bench.room(3000))
    used = bench.measure_moving(browser, tmp_path / "room.ply")
    assert used.frames >= 2
    assert used.seconds >= 2.0
    assert used.server_cpu > 0
    rounds = bench.tabs_that_come_and_go(browser, tmp_path / "room.ply", 1)
    assert [entry.tabs for entry in rounds] == [2]
    assert rounds[0].threads > 1
    assert 50 < rounds[0].memory_mb < 5000


def test_a_room_covers_as_much_however_many_gaussians_it_has() -> None:
    few, many = bench.room(1000), bench.room(4000)
    covered = [float((s.scales[:, 0] * s.scales[:, 1]).sum()) for s in (few, many)]
    assert covered[0] == pytest.approx(covered[1], rel=0.2)


def test_long_runs_are_shown_by_four_rounds() -> None:
    rounds = [bench.Round(20 * (i + 1), 12, 400.0 + i) for i in range(9)]
    assert [row[0] for row in bench.round_table(rounds).rows] == [20, 100, 160, 180]
