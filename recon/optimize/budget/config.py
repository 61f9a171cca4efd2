"""How many Gaussians training may end with."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BudgetConfig:
    """A limit, and how it is reached. Without one, nothing here has any effect."""

    max_gaussians: int | None = None
    """At most so many at the end, with what is added after the photos' last step."""
    target_mb: float | None = None
    """Their file has at most so many megabytes (10^6 bytes). `recon run` means that of `recon compress --preset web`,
    which it then writes with all of them."""
    schedule: Literal["cubic", "rounds"] = "cubic"
    """Much is left out at first and little towards the end, or the same share each time."""
    times: int = 2
    """How often Gaussians are left out; the others recover after each time."""
    recovery: int = 450
    """Steps in which those left are fitted to what all showed, the last time as many as two others."""
    views: int = 24
    """How many views of that there are, if there are not more photos."""
    side: int = 1024
    """Longest side of these, in pixels, if the photos are as large: detail that they lack is lost (half of the
    Gaussians, 90 steps, photos of 480 pixels: 0.31 dB lost at 480, 0.62 at 400)."""

    @property
    def limited(self) -> bool:
        return self.max_gaussians is not None or self.target_mb is not None
