"""`python -m recon.benchmark.runs.methods METHOD STEP`: one call of a method, in the folder that is the job."""

import contextlib
import ctypes
import logging
import signal
import sys
from pathlib import Path

from recon.benchmark.runs.methods import Task, method_named
from recon.errors import ReconError

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Exit code 0, that of an error of ours with its message as the last line, or 1 with a traceback."""
    _end_with_parent()
    name, step = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    method = method_named(name)
    try:
        {"fit": method.fit, "render": method.render, "align": method.align}[step](Task.open(Path.cwd()))
    except ReconError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    """On Linux: do not work on for a harness, or a cluster's worker, that was killed."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


sys.exit(main())
