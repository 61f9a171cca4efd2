"""Processes of this machine. The threads here only wait: each job's work is in child processes of its own."""

import logging
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from recon.benchmark.runs.isolate import run_parcel
from recon.benchmark.runs.job import Job, Outcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalExecutor:
    """So many jobs at a time."""

    jobs: int = 1
    name: str = "local"

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """As `Executor.run`. Ctrl-C and errors of ours leave out what has not been started."""
        pool = ThreadPoolExecutor(self.jobs, thread_name_prefix="recon-job")
        try:
            waiting = {pool.submit(_with_retries, job): job for job in jobs}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _with_retries(job: Job) -> Outcome:
    parcel = job.pack()
    outcome = run_parcel(parcel)
    for attempt in range(job.limits.retries):
        if not outcome.killed:
            break
        logger.warning("%s: %s Trying again (%d of %d).", job.key, outcome.reason, attempt + 1, job.limits.retries)
        outcome = run_parcel(parcel)
    return outcome
