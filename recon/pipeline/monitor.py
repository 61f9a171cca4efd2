"""What a stage costs: wall seconds, CPU seconds and peak memory of this process and its children."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

INTERVAL_SECONDS = 0.2


@dataclass
class Cost:
    """Filled in when the measured block ends, however it ends."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block. Memory is sampled five times a second, so a shorter spike may go unseen."""
    cost = Cost(peak_memory_bytes=memory_in_use())
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(INTERVAL_SECONDS):
            cost.peak_memory_bytes = max(cost.peak_memory_bytes, memory_in_use())

    sampler = threading.Thread(target=sample, name="recon-memory", daemon=True)
    wall, cpu = time.monotonic(), cpu_seconds()
    sampler.start()
    try:
        yield cost
    finally:
        stop.set()
        sampler.join()
        cost.seconds = time.monotonic() - wall
        cost.cpu_seconds = cpu_seconds() - cpu
        cost.peak_memory_bytes = max(cost.peak_memory_bytes, memory_in_use())


def cpu_seconds() -> float:
    """CPU time of this process, all threads, and of the children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def memory_in_use() -> int:
    """Resident bytes of this process and its children. Pages they share are counted for each."""
    process = psutil.Process()
    total = process.memory_info().rss
    with contextlib.suppress(psutil.Error):
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss
    return int(total)
