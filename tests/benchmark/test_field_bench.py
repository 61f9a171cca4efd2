"""`recon bench field`: its table, of a scene that is learned in a few steps, and what is said when there is no data."""

import pytest
from reference.field_scenes import BOX, photos_of_the_ball

from recon.benchmark import BENCHES, BenchOptions, field
from recon.benchmark.field import Arm
from recon.errors import InputError
from recon.fields import HollowConfig

SMALL = HollowConfig(mask=4)
ARMS = (Arm("whole", 8, claimed=True), Arm("hollow", 10, 0.6, SMALL), Arm("hollow, never asked for", 10, 0.5, SMALL))


def test_the_table_counts_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "ARMS", ARMS)
    monkeypatch.setattr(field, "QUICK", 2)
    monkeypatch.setattr(field, "QUICK_STEPS", 12)
    monkeypatch.setattr(field, "BOX", BOX)
    monkeypatch.setattr(field, "lego", lambda side: (photos_of_the_ball([0.0, 2.0, 4.0]), photos_of_the_ball([1.0])))
    result = BENCHES["field"].run(BenchOptions())
    whole, hollow = result.tables[0].records()
    assert (whole["share"], whole["against whole"]) == ("100 %", 0.0)
    assert hollow["share"] == "60 %"
    assert isinstance(hollow["file kB"], float)
    assert isinstance(whole["file kB"], float)
    assert hollow["file kB"] < whole["file kB"]
    assert all(isinstance(row["PSNR"], float) and 5 < row["PSNR"] < 50 for row in (whole, hollow))


def test_without_data_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECON_DATA", raising=False)
    with pytest.raises(InputError, match="RECON_DATA"):
        field.run(BenchOptions())
