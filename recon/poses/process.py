"""Jobs for `recon.sfm` in a child process: a native crash or a runaway there becomes a `JobError` here."""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from recon.sfm.packing import Arrays, save_arrays

logger = logging.getLogger(__name__)


class JobError(Exception):
    """The child process failed. Backends turn it into an escalation or a `recon.errors.PoseError`."""


def run_job(job: str, arrays: Arrays, *, seed: int, time_limit_s: float) -> Arrays:
    """Run one job of `recon.sfm.__main__.JOBS` on `arrays` and return its arrays.

    Raises:
        JobError: the child crashed, raised, or took longer than `time_limit_s` of wall time.
    """
    with tempfile.TemporaryDirectory(prefix="recon-job-") as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        save_arrays(source, arrays | {"job": np.array(job), "seed": np.array(seed)})
        command = [sys.executable, "-m", "recon.sfm", str(source), str(target)]
        try:
            done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=time_limit_s)
        except subprocess.TimeoutExpired as error:
            raise JobError(f"'{job}' was stopped after {time_limit_s:.0f} s") from error
        if done.returncode != 0 or not target.is_file():
            lines = done.stderr.strip().splitlines()
            logger.debug("job %s failed:\n%s", job, done.stderr)
            how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
            raise JobError(f"'{job}' ended with {how}" + (f": {lines[-1]}" if lines else ""))
        with np.load(target) as file:
            return dict(file)


def _environment() -> dict[str, str]:
    """The child must find this very package, also when it is run from a checkout or a zip of the source."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p), "OMP_NUM_THREADS": "1"}
