"""Memory settings for long CPU work."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h> of glibc
TRIM_BYTES = 2**31 - 1


def keep_memory() -> None:
    """Make glibc keep freed memory for the next allocation of this process and its children.

    torch frees and allocates its large CPU tensors at every operation; handing them back to the system and faulting
    the pages in again cost half of the time in matching (2.8 against 6 CPU-s a pair).
    """
    if not sys.platform.startswith("linux"):
        return
    os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "100000000000")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # a libc without it (musl)
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
