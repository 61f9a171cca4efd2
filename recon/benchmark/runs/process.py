"""A program run to its end and measured: wall and CPU seconds, peak memory of it and its children."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from recon.benchmark.runs.job import StepCost

SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it took."""

    returncode: int
    """Negative: the signal that ended it."""
    output: str
    """The end of what it wrote."""
    cost: StepCost
    timed_out: bool = False


def run_measured(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], limit_seconds: float, log: Path
) -> Ended:
    """Run `command` in `folder`; on its end, or at the limit, nothing of it is left running.

    CPU seconds are those of the program and of the children it waited for. Memory is the sum over the tree, sampled
    five times a second, or the largest single process, whichever is more: a shorter spike of one process is seen.
    """
    started = time.monotonic()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    watch = _Watch(process.pid, limit_seconds)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        watch.stop()
        _end_group(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = StepCost(
        seconds=time.monotonic() - started,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory_bytes=max(watch.peak_bytes, usage.ru_maxrss * 1024),
    )
    return Ended(process.returncode, _tail(log), cost, watch.timed_out)


class _Watch:
    """Samples memory, and ends the program when its time is up."""

    def __init__(self, pid: int, limit_seconds: float) -> None:
        self.peak_bytes, self.timed_out = 0, False
        self._pid, self._deadline = pid, time.monotonic() + limit_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recon-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, tree_bytes(self._pid))
            if time.monotonic() > self._deadline and not self.timed_out:
                self.timed_out = True
                _end_group(self._pid)

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def tree_bytes(pid: int) -> int:
    """Resident bytes of a process and its descendants. Pages they share are counted for each."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
    return total


def _end_group(pid: int) -> None:
    """Kill the session that the program leads, and whatever it left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tail(log: Path, limit: int = 2000) -> str:
    return log.read_bytes()[-limit:].decode(errors="replace").strip()
