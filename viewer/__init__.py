"""The viewer: a browser page, served on this machine, in which a scene is watched while it trains and explored after.

`open_run` shows a run folder or a splat file; `LiveViewer` is an event sink that follows a run.
"""

from viewer.app import Viewer, open_run
from viewer.live import LiveViewer

__all__ = ["LiveViewer", "Viewer", "open_run"]
