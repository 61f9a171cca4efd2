"""Settings of the dense stage."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StereoConfig:
    """Dense depth from a few posed photos. The defaults are the `standard` quality."""

    max_side: int = 800
    """Longest side that is matched, in pixels; larger photos are matched at this size and the depth is enlarged."""
    scale: float = 1.0
    """Matching size relative to the photos (after `max_side`). 0.5 is about three times cheaper."""
    levels: int = 3
    """Sizes from coarse to fine, each double the one before; fewer when the photos are small."""
    neighbours: int = 4
    """Other photos each photo is matched with, at most (limit 8)."""
    coarse_iterations: int = 4
    """PatchMatch rounds at the coarsest size, then again half as many with the other photos' depth in view."""
    fine_iterations: int = 1
    """PatchMatch rounds at the finest size; sizes between get one more."""
    max_planes: int = 96
    """Depths tried by the sweep at the coarsest size, at most."""
    noise: float = 3.0
    """Variance, in grey levels (of 255) squared, below which a window of a photo says nothing."""
    max_reprojection_px: float = 1.5
    """Forward-backward error up to which two photos agree about a surface, at matching size."""
    max_depth_difference: float = 0.03
    """Relative difference of depth up to which two photos agree."""
    min_confidence: float = 0.2
    """Pixels below are filled from their surroundings and not fused."""
    seed: int = 0

    # Fusion.
    max_points: int = 300_000
    """Cap of the fused cloud; above it, points are left out evenly at random."""
    stride: int = 1
    """Every how many pixels a point is made, along x and y."""
