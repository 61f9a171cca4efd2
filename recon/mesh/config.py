"""Settings of the mesh."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MeshConfig:
    """From splats to a textured mesh. Lengths are in voxels where no unit is named."""

    enabled: bool = False
    """Whether a run writes a mesh by itself; `recon export` makes one at any time. Off: it takes 10 to 20 CPU-seconds
    and the packages of the extra `mesh`."""

    # Fusion.
    resolution: int = 256
    """Voxels along the longest side of the box that holds the middle of the scene."""
    truncation: float = 8.0
    """Distance behind a surface up to which a view says anything, and the slope of the field before it."""
    between: int = 2
    """Views rendered from between the photos, for each photo."""
    view_side: int = 640
    """Longest side of the rendered views in pixels."""
    min_alpha: float = 0.5
    """Pixels less covered are not surface."""
    spread: float = 0.02
    """Standard deviation of the depth that Gaussians mix in one pixel, over the depth, beyond which it counts only
    where no other view knows better; twice as much is no surface."""

    # Cleaning.
    min_part: float = 0.03
    """Connected parts of fewer triangles (before decimation) than this share of the largest one's are dropped."""
    smoothing: int = 6
    """Rounds of Taubin's smoothing."""
    hole_edges: int = 60
    """Holes of at most so many edges are closed."""
    max_faces: int = 40_000
    """The mesh is decimated to so many triangles."""

    # Texture.
    texture_side: int = 2048
    """Width and height of the texture in pixels."""
