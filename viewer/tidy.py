"""Memory of tabs that have gone.

What viser keeps about a tab refers to itself in circles: 1.4 MB, most of it the buffers of two compressors. Python
looks for such circles when there are a quarter more objects than before, which with torch takes hundreds of tabs.
Looking takes 0.14 s, in which nothing else happens, so it is done when no tab is open.
"""

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Callable

SECONDS = 1.0
"""After a tab has gone: what belongs to its connection is let go of by then, and a reload is over."""
MANY = 10
"""After so many tabs have gone, the others have to wait a moment."""


class Tidier:
    """Gives back what tabs held that have gone. `watched()` says whether others are open."""

    def __init__(self, watched: Callable[[], bool]) -> None:
        self._watched = watched
        self._lock = threading.Lock()
        self._gone, self._last = 0, 0.0
        self._timer: threading.Timer | None = None

    def left(self) -> None:
        """A tab has gone. Returns at once."""
        with self._lock:
            self._gone += 1
            self._last = time.monotonic()
            if self._timer is None:
                self._timer = self._later()

    def stop(self) -> None:
        """Whatever is still due is left to the end of the process."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def _later(self) -> threading.Timer:
        timer = threading.Timer(SECONDS, self._tidy)
        timer.name, timer.daemon = "viewer-tidy", True
        timer.start()
        return timer

    def _tidy(self) -> None:
        with self._lock:
            recent = time.monotonic() - self._last < SECONDS
            self._timer = self._later() if recent else None
            if (recent or self._watched()) and self._gone < MANY:
                return
            self._gone = 0
        gc.collect()
        with contextlib.suppress(AttributeError, OSError, TypeError):  # where the C library is another
            ctypes.CDLL(None).malloc_trim(0)
