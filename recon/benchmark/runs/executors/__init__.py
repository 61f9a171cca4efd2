"""Where jobs run: processes of this machine, or a Ray cluster. One file each; what a job does is the same."""

from recon.benchmark.runs.executors.base import Executor
from recon.benchmark.runs.executors.local import LocalExecutor
from recon.errors import InputError

__all__ = ["Executor", "LocalExecutor", "select_executor"]


def select_executor(on: str, jobs: int = 1) -> Executor:
    """`local` (`jobs` at a time), `ray` (a Ray of this machine's own, or the one it belongs to) or `ray://HOST:PORT`.

    Raises:
        InputError: none of these, or no jobs at all.
        MissingDependencyError: Ray is not installed.
    """
    if jobs < 1:
        raise InputError(f"--jobs must be at least 1, got {jobs}.")
    if on == "local":
        return LocalExecutor(jobs)
    if on == "ray" or on.startswith("ray://"):
        from recon.benchmark.runs.executors.ray_cluster import RayExecutor  # optional, slow to import

        return RayExecutor(None if on == "ray" else on)
    raise InputError(f"--on takes local, ray or ray://HOST:PORT, got {on!r}.")
