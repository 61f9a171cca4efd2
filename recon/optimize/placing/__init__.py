"""Placing photos after the first reconstruction: found by leaving out, placed anew by search, accepted on evidence.

As in SparseAGS (Zhao et al. 2024): a photo that the points of the others contradict is an outlier; candidate poses are
searched discretely and refined continuously. Here the search runs through renderings that the photo is *matched* with,
which gives a pose from anywhere near the right view, and nothing has to be trained for it. Start at `look_again`.
"""

from recon.optimize.placing.config import PlacingConfig
from recon.optimize.placing.decide import Decision, Photo, contradicted, look_again
from recon.optimize.placing.evidence import Evidence
from recon.optimize.placing.resection import relative_pose
from recon.optimize.placing.search import PhotoSearch, PictureMatcher, Placement
from recon.optimize.placing.surface import Surface, surface_of

__all__ = [
    "Decision",
    "Evidence",
    "Photo",
    "PhotoSearch",
    "PictureMatcher",
    "Placement",
    "PlacingConfig",
    "Surface",
    "contradicted",
    "look_again",
    "relative_pose",
    "surface_of",
]
