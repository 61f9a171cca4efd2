"""Every knob of placing photos after the first reconstruction."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlacingConfig:
    """When and how photos are placed, or placed anew, against the dense points of the others."""

    enabled: bool = True
    """Look again at photos that matching left out, doubts, or that the other photos' points contradict. Costs nothing
    when there are none but one small rendering per photo."""
    rank_side: int = 96
    """Longest side of the renderings that rank candidate poses, in pixels."""
    search_side: int = 384
    search_features: int = 512
    """Of the renderings at candidate poses that a photo is matched with: 0.4 CPU-s each."""
    confirm_side: int = 640
    confirm_features: int = 1024
    """Of the renderings that confirm a pose."""
    azimuth_step_deg: float = 30.0
    """Spacing of the viewing sphere's candidates round the vertical axis: matching bridges 30 to 40 degrees."""
    elevations_deg: tuple[float, ...] = (-25.0, 0.0, 25.0)
    """Relative to the placed cameras."""
    radii: tuple[float, ...] = (1.0,)
    """Distances from what the cameras look at, relative to theirs; matching bridges a factor of 1.5."""
    max_views: int = 18
    """Candidates whose renderings one photo is matched with, at most."""
    min_inliers: int = 30
    """Matches between a photo and the rendering at its new place that agree about this place."""
    min_ratio: float = 0.5
    """Their share of all matches that hit the surface."""
    min_agreement: float = 0.25
    """Local correlation of photo and rendering where the points cover it: 0.4 to 0.7 at right poses."""
    refuted_below: float = 0.15
    """Below this agreement a doubtful photo for which no better place was found is taken out: one wrong photo of nine
    spoils the scene, and eight are enough. Wrong ones had 0.02 to 0.12, right ones 0.2 and more."""
    min_coverage: float = 0.05
    """Share of a photo that the points of the others must cover at its pose; a small object on an empty background
    covers little."""
    seed: int = 0
