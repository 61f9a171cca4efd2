"""A freehand outline drawn in one tab: viser knows clicks and rectangles only, so the page gets a script of ours."""

import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import viser
from jaxtyping import Float

from viewer.link import PageLink

Outline = Float[np.ndarray, "P 2"]
OnOutline = Callable[[viser.ClientHandle, Outline], None]

MAX_POINTS = 5000
_SCRIPT = Path(__file__).with_name("lasso.js")


class Lasso:
    """Asks one tab at a time for an outline."""

    def __init__(self, server: viser.ViserServer, link: PageLink) -> None:
        self._server, self._link = server, link
        self._lock = threading.Lock()
        self._asked: tuple[int, OnOutline] | None = None
        link.hear("lasso", self._drawn)

    def ask(self, tab: viser.ClientHandle, on_outline: OnOutline) -> None:
        """Let `tab` draw; `on_outline(tab, outline)` gets it once, in shares of the picture's width and height."""
        self.stop()
        with self._lock:
            self._asked = (tab.client_id, on_outline)
        self._link.run(tab, f"{_SCRIPT.read_text(encoding='utf-8')}\nreconLasso.start();")

    def stop(self) -> None:
        """Take the sheet away that is drawn on."""
        with self._lock:
            asked, self._asked = self._asked, None
        tab = None if asked is None else self._server.get_clients().get(asked[0])
        if tab is not None:
            self._link.run(tab, "window.reconLasso && reconLasso.cancel();")

    def _drawn(self, tab: viser.ClientHandle, text: str) -> None:
        outline = parse_outline(text)
        with self._lock:
            if outline is None or self._asked is None or self._asked[0] != tab.client_id:
                return
            _, on_outline = self._asked
            self._asked = None
        on_outline(tab, outline)


def parse_outline(text: str) -> Outline | None:
    """The outline in what the page sends, `0.25,0.5 0.3,0.55 ...`; None when it is something else."""
    try:
        pairs = [pair.split(",") for pair in text.split()]
        outline = [(float(x), float(y)) for x, y in pairs]
    except ValueError:
        return None
    usable = 3 <= len(outline) <= MAX_POINTS and all(math.isfinite(value) for point in outline for value in point)
    return np.clip(np.array(outline), 0.0, 1.0) if usable else None
