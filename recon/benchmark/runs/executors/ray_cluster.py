"""A Ray cluster: each job is one task with its own resources. Jobs and results travel by value, so the machines need
recon and the methods installed, but no shared disk."""

import logging
from collections.abc import Generator, Sequence
from typing import Any

from recon.benchmark.runs.isolate import run_parcel
from recon.benchmark.runs.job import Job, Outcome
from recon.errors import MissingDependencyError, ResourceError

logger = logging.getLogger(__name__)
AHEAD = 2
"""Jobs handed over per core of the cluster: enough that none waits, few enough that their photos fit into memory."""


def import_ray() -> Any:
    """The package, which is an extra.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "--on ray needs Ray, which is not installed. Install it: pip install 'recon[ray]'"
        ) from error
    return ray


class RayExecutor:
    """Tasks on a cluster, or on a Ray started for the purpose on this machine."""

    def __init__(self, address: str | None) -> None:
        self.ray = import_ray()
        self.address = address
        self.name = address or "ray"

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """As `Executor.run`; a task whose worker or machine dies is started again by Ray.

        Raises:
            ResourceError: no cluster answers.
        """
        started = self._connect()
        try:
            yield from self._spread(list(jobs))
        finally:
            if started:
                self.ray.shutdown()

    def _connect(self) -> bool:
        """True if this call made the connection."""
        if self.ray.is_initialized():
            return False
        try:
            self.ray.init(address=self.address, logging_level=logging.WARNING, log_to_driver=False)
        except (ConnectionError, OSError, RuntimeError) as error:
            raise ResourceError(f"Could not reach Ray at {self.name}: {error}. Is the cluster up?") from error
        return True

    def _spread(self, jobs: list[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        room = AHEAD * max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        waiting: dict[Any, Job] = {}
        while jobs or waiting:
            while jobs and len(waiting) < room:
                job = jobs.pop(0)
                waiting[self._submit(job)] = job
            done, _ = self.ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(done[0])
            yield job, self._result(done[0])

    def _submit(self, job: Job) -> Any:
        limits = job.limits
        task = self.ray.remote(_work).options(
            name=job.key,
            num_cpus=limits.cpus,
            num_gpus=limits.gpus,
            max_retries=limits.retries,  # after a dead worker or machine
            retry_exceptions=[_KilledError],
        )
        return task.remote(job.pack())

    def _result(self, task: Any) -> Outcome:
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(task)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError):
            return Outcome(ok=False, reason="Its worker died, as often as it was tried.", killed=True)
        except errors.RayTaskError as error:
            if isinstance(error.cause, _KilledError):
                return error.cause.outcome
            raise
        return outcome


class _KilledError(Exception):
    """Tells Ray to try again."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _work(parcel: Any) -> Outcome:
    """On a worker."""
    outcome = run_parcel(parcel)
    if outcome.killed:
        raise _KilledError(outcome)
    return outcome
