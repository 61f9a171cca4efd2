"""Which terms the loss has, and with which weight."""

from dataclasses import dataclass, field

from recon.optimize.terms.binocular import BinocularConfig
from recon.optimize.terms.photos import PhotosConfig
from recon.optimize.terms.robust import RobustConfig


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; 0 turns one off, and then it costs nothing. Sensible weights of those that are off are in
    brackets."""

    ssim: float = 0.2
    """Share of 1 - SSIM against L1 (3DGS eq. 7)."""
    robust: float = 0.0
    """How far pixels that contradict the other photos are discounted, 1 leaves them out (RobustNeRF; 1)."""
    depth: float = 0.1
    """Relative distance to the stereo depth, weighted by its confidence."""
    ranking: float = 0.0
    """Order and continuity of depth, against the prior or stereo (SparseNeRF; 0.2)."""
    correlation: float = 0.0
    """One minus the correlation of inverse depth with the prior's or stereo's, whole picture (FSGS; 0.05)."""
    patch_correlation: float = 0.0
    """The same, patch by patch (SparseGS; 0.05)."""
    scale_shift: float = 0.0
    """Inverse depth against the prior's or stereo's after the best scale and shift (MiDaS; 0.05)."""
    normals: float = 0.0
    """Normals of the rendered depth against stereo's (2DGS; 0.02)."""
    smoothness: float = 0.0
    """Normals of the rendered depth against their neighbours' where the photo is plain (DN-Splatter; 0.01)."""
    binocular: float = 0.0
    """The splats from a little aside, carried back by depth, against the photo (Binocular-Guided 3DGS; 0.5)."""
    photos: float = 0.0
    """Another photo, carried over by depth, against the photo (after CoherentGS; 0.3)."""
    opacity: float = 0.0
    """Mean opacity (3DGS-MCMC eq. 9): lets Gaussians that explain nothing fade away."""
    scale: float = 0.0
    """Mean scale over the median scene depth (3DGS-MCMC eq. 9)."""
    alpha: float = 0.05
    """Photos are opaque: 1 - alpha is penalised. With masks, alpha is pulled to the mask instead."""


@dataclass(frozen=True)
class TermsConfig:
    """How the terms work that have more to set than a weight."""

    robust: RobustConfig = field(default_factory=RobustConfig)
    binocular: BinocularConfig = field(default_factory=BinocularConfig)
    photos: PhotosConfig = field(default_factory=PhotosConfig)
