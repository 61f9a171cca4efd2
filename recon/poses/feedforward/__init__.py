"""Cameras by networks that users have at home: one forward pass over all photos, then our matches and adjustment.

Each model is an optional extra with its own package and weights. Start at `backend.py`; one file per model.
"""

from recon.poses.base import PosesConfig
from recon.poses.feedforward.backend import FeedForwardBackend
from recon.poses.feedforward.da3 import Da3Backend
from recon.poses.feedforward.mapanything import MapAnythingBackend
from recon.poses.feedforward.vggt import VggtBackend

__all__ = ["FEED_FORWARD", "FeedForwardBackend", "first_available"]

FEED_FORWARD: tuple[FeedForwardBackend, ...] = (Da3Backend(), MapAnythingBackend(), VggtBackend())
"""Best first, among those whose weights everybody may use."""


def first_available(config: PosesConfig | None = None) -> FeedForwardBackend | None:
    """The first backend that can run at once: installed, and its weights on the disk. Never looks at the network.

    Only weights with a licence for any use count, unless `config` names others.
    """
    wanted = config.checkpoint if config else ""
    for backend in FEED_FORWARD:
        own = wanted in (checkpoint.id for checkpoint in backend.checkpoints)
        if backend.ready(wanted if own else ""):
            return backend
    return None
