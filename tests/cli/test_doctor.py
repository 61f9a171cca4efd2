"""What `recon doctor` says of things that only some commands need: there or not, nothing is wrong without them."""

from pathlib import Path

import pytest

from recon.cli import doctor_command
from recon.cli.doctor_command import Check


def program(path: Path, exit_code: int) -> Path:
    path.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    path.chmod(0o755)
    return path


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_peers_are_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    without = by_name(doctor_command._peers())
    assert set(without) == {"peer: opensplat", "peer: gsplat", "peer: splatfacto"}
    assert all(check.state == "ok" and check.found.startswith("optional") for check in without.values())
    there = program(tmp_path / "opensplat", 0)
    assert by_name(doctor_command._peers())["peer: opensplat"].found == str(there)


def test_blenders_module_is_looked_for_where_the_variable_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for exit_code, said in ((0, "of "), (1, "optional, for recon dataset render: ")):
        python = program(tmp_path / f"python{exit_code}", exit_code)
        monkeypatch.setenv("RECON_BLENDER_PYTHON", str(python))
        (check,) = doctor_command._blender()
        assert check.state == "ok"
        assert check.found.startswith(f"{said}{python}")


def test_packages_of_extras_are_named_with_the_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_command, "EXTRAS", {"some": (("numpy", "no-such-package"), "tests")})
    (check,) = doctor_command._extras()
    assert check == Check(
        "extra: some", "ok", "optional, for tests: pip install 'recon[some]' (missing: no-such-package)"
    )
    monkeypatch.setattr(doctor_command, "EXTRAS", {"some": (("numpy",), "tests")})
    assert doctor_command._extras()[0].found.startswith("numpy ")


def test_missing_weights_of_the_segmenter_are_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ready,) = doctor_command._segmenter()
    assert (ready.name, ready.state) == ("object masks: u2netp", "ok")
    monkeypatch.setattr("recon.assets.weight_folders", lambda: (tmp_path,))
    (lacking,) = doctor_command._segmenter()
    assert lacking.state == "note"
    assert str(tmp_path) in lacking.advice
