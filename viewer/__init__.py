"""The viewer: a browser page, served on this machine, in which a scene is watched while it trains and explored after.

`open_run` shows a run folder or a splat file; `LiveViewer` is an event sink that follows a run. They are loaded when
they are asked for: `viewer.server` alone is there at once, without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viewer.app import Viewer, open_run
    from viewer.live import LiveViewer

__all__ = ["LiveViewer", "Viewer", "open_run"]

_HOMES = {"LiveViewer": "viewer.live", "Viewer": "viewer.app", "open_run": "viewer.app"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
