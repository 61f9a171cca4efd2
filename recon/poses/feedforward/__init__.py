"""Cameras by networks that users have at home: one forward pass over all photos, then our matches and adjustment.

Each model is an optional extra with its own package and weights. Start at `backend.py`; one file per model.
"""

import logging

from recon.poses.base import PosesConfig
from recon.poses.feedforward.backend import FeedForwardBackend
from recon.poses.feedforward.da3 import Da3Backend
from recon.poses.feedforward.mapanything import MapAnythingBackend
from recon.poses.feedforward.vggt import VggtBackend

__all__ = ["FEED_FORWARD", "FeedForwardBackend", "first_available"]

logger = logging.getLogger(__name__)

FEED_FORWARD: tuple[FeedForwardBackend, ...] = (Da3Backend(), MapAnythingBackend(), VggtBackend())
"""Best first, among those whose weights everybody may use."""


def first_available(config: PosesConfig | None = None) -> FeedForwardBackend | None:
    """The first backend that can run at once: installed, and its weights on the disk. Never looks at the network.

    Only weights with a licence for any use count, unless `config` names others. Those are for the model that lists
    them; a folder does not say which model can load it.
    """
    wanted = config.checkpoint if config else ""
    able = [backend for backend in FEED_FORWARD if not wanted or wanted in (c.id for c in backend.checkpoints)]
    if not able:
        logger.warning("no network was asked: poses.checkpoint=%s does not say of which model; name it, too", wanted)
    return next((backend for backend in able if backend.ready(wanted)), None)
