"""The same jobs on a Ray of this machine, with a worker killed under way. Skipped, and counted, without Ray."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from spare_set import make_set

from recon.benchmark.runs.executors import select_executor
from recon.benchmark.runs.job import Entry, Limits
from recon.benchmark.runs.predict import Plan, predict
from recon.benchmark.runs.score import score_run
from recon.benchmark.runs.sets import open_set

ray = pytest.importorskip("ray", reason="Ray is not installed (extra `ray`)")


@pytest.fixture
def cluster(monkeypatch):
    """Two workers; they find recon where this process does."""
    source = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def kill_a_worker(found: list[int]) -> None:
    """The first worker that is at a job; Ray calls its process after the job."""
    while not found:
        for process in psutil.process_iter(["pid", "cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if line.startswith("ray::track") and process.children():
                os.kill(process.pid, signal.SIGKILL)
                found.append(process.pid)
                break
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_loses_at_most_its_scene(cluster, tmp_path):
    root = make_set(tmp_path / "set", scenes=("Alpha", "Beta", "Gamma"))
    plan = Plan(open_set(str(root), "1"), (Entry("copy", "copy"),), limits=Limits(retries=2))
    killed: list[int] = []
    thread = threading.Thread(target=kill_a_worker, args=(killed,), daemon=True)
    thread.start()
    tally = predict(plan, tmp_path / "ray", select_executor("ray"))
    assert len(killed) == 1
    assert (tally.done, tally.failed) == (3, ())
    local = predict(plan, tmp_path / "local", select_executor("local"))
    assert local.done == 3
    figures = [[s.report for s in score_run(tmp_path / where, root)] for where in ("ray", "local")]
    assert figures[0] == figures[1]
