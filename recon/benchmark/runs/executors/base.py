"""What every executor does."""

from collections.abc import Generator, Sequence
from typing import Protocol, runtime_checkable

from recon.benchmark.runs.job import Job, Outcome


@runtime_checkable
class Executor(Protocol):
    """Runs jobs, in any order and as many at a time as there is room for."""

    @property
    def name(self) -> str: ...

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """Each job with its outcome, as they end. A job that was killed is tried again, as often as it allows; what
        is lost with a worker is the job it had."""
        ...
