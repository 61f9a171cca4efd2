"""What the command line says and returns, without doing long work: help, usage errors, failures, JSON."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recon import cli
from recon.cli import options
from recon.cli.console import Console, Result
from recon.cli.failures import BROKEN_PIPE, explain
from recon.errors import InputError, MissingDependencyError, PoseError, ResourceError

ROOT = Path(__file__).parents[2]
COMMANDS = [command.__name__.lower() for command in options.COMMANDS]


def run_cli(*args: str, **extra: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recon.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **extra)  # type: ignore[call-overload]


def test_help_that_nobody_reads_to_the_end_says_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "recon.cli", "run", "--help"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=120)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


def test_help_is_quick_and_imports_no_torch() -> None:
    code = (
        "import sys, time; start = time.process_time()\n"
        "from recon.cli import run\n"
        "try:\n    run(['run', '--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'numpy', 'pycolmap', 'viser'} & set(sys.modules), 'heavy imports'\n"
        "print('CPU', time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("CPU")[-1]) < 0.7
    for option in (
        "--images",
        "--out",
        "--config",
        "--device",
        "--poses",
        "--quality",
        "--holdout",
        "--masks",
        "--seed",
    ):
        assert option in done.stdout
    assert "--view" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        options.parse([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    entries = [line for line in text.splitlines() if line.lstrip("│ ").startswith("--")]
    assert entries
    assert "None" not in text


def test_version_and_bare_call(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        options.parse(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("recon ")
    with pytest.raises(SystemExit) as end:
        options.parse([])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_unknown_options_are_usage_errors() -> None:
    with pytest.raises(SystemExit) as end:
        options.parse(["run", "--imags", "x"])
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("bad photos"), 2),
        (PoseError("nothing placed"), 3),
        (ResourceError("no room"), 4),
        (MissingDependencyError("no weights"), 5),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (MemoryError(), 4),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/1: file write failed"), 4),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), 4),
        (ZeroDivisionError("ours"), 1),
    ],
)
def test_every_failure_has_its_exit_code_and_a_message(error: BaseException, code: int) -> None:
    failure = explain(error)
    assert failure.exit_code == code
    assert failure.message


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def execute(self: options.Command, console: Console) -> Result:
        raise error

    monkeypatch.setattr(options.Command, "execute", execute)


def test_a_user_error_is_one_message_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, InputError("Need 2 photos [found 1]."))
    assert cli.run(["doctor"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip() == "Error: Need 2 photos [found 1]."


def test_debug_and_bugs_show_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, InputError("Need 2 photos."))
    assert cli.run(["doctor", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    fail_with(monkeypatch, ZeroDivisionError("ours"))
    assert cli.run(["doctor"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "bug in recon" in err


def test_errors_are_json_too(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, PoseError("Nothing fits."))
    assert cli.run(["doctor", "--json"]) == 3
    out, err = capfd.readouterr()
    expected = {"type": "PoseError", "message": "Nothing fits."}
    assert json.loads(out) == {"status": "error", "error": expected, "exit_code": 3}
    assert "Nothing fits." in err


def test_stray_output_cannot_get_beside_the_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def execute(self: options.Command, console: Console) -> Result:
        print("a library talks")
        logging.getLogger("recon.test").warning("careful")
        return Result({"status": "done"}, ["one line"])

    monkeypatch.setattr(options.Command, "execute", execute)
    assert cli.run(["doctor", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {"status": "done"}
    assert "a library talks" in err
    assert "careful" in err


def test_missing_photos_end_with_code_2_and_create_nothing(tmp_path: Path) -> None:
    done = run_cli("run", "--images", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_one_photo_is_an_error_that_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], demo_images: Path
) -> None:
    shutil.copy(demo_images / "door_01.jpg", tmp_path)
    assert cli.run(["run", "--images", str(tmp_path)]) == 2
    assert "Need at least 2 photos, found 1" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["door_01.jpg"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], demo_images: Path
) -> None:
    command = ["run", "--images", str(demo_images), "--out", str(tmp_path / "out"), "--device", "cuda"]
    assert cli.run(command) == 4
    assert "needs a CUDA GPU" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_doctor_judges_this_machine() -> None:
    started = time.monotonic()
    done = run_cli("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert report["status"] == "ok"
    checks = {check["name"]: check for check in report["checks"]}
    assert {"system", "processor", "memory", "python", "packages", "torch", "GPU", "rasterizer", "ffmpeg"} <= set(
        checks
    )
    assert all(check["found"] for check in checks.values())
    assert all(check["advice"] for check in checks.values() if check["state"] == "missing")
    assert time.monotonic() - started < 100


def test_bench_lists_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench"]) == 0
    assert "raster" in capsys.readouterr().out
    assert cli.run(["bench", "nonsense"]) == 2
