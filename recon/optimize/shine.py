"""More freedom for colours to change with the view, where the photos' own colours do.

With few photos, high degrees of spherical harmonics learn by heart what stood where (FSGS, DNGaussian), so the degree
is low and its rate that of 3DGS. But an object that turns on a table under a lamp that stays, or that shines, does
look different from each side: one colour for all sides is then wrong in every photo, and between them. Stereo tells
the two cases apart: where it is sure that two photos show the same, their colours agree or they do not.

Not so where the camera set itself anew for each photo: what one gain does not explain then belongs to the photo (its
tone curve, its white balance) and not to the direction, and harmonics of high degree learn it by heart.
"""

import logging
from dataclasses import dataclass

from recon.optimize.exposure import Exposures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShineConfig:
    """Colours of photos that differ by more than exposure."""

    above: float = 0.08
    """Difference (`Exposures.unlike`) up to which the harmonics are those of every scene."""
    degree: int = 3
    """Of the harmonics beyond."""
    rate: float = 5.0e-4
    """At which they are learnt then."""


def settle_harmonics(exposures: Exposures, degree: int, rate: float, config: ShineConfig) -> tuple[int, float]:
    """Degree and learning rate of the harmonics: `degree` and `rate`, or more of both where the photos ask for it.

    A degree of 0 stays: that is a wish for colours without any view.
    """
    if exposures.unlike is None or exposures.unlike <= config.above or exposures.differ or degree == 0:
        return degree, rate
    logger.info("Colours differ by %.0f%% beyond exposure: they may change more with the view", 100 * exposures.unlike)
    return max(degree, config.degree), max(rate, config.rate)
