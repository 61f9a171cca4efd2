"""How well a photo agrees with a rendering: the photometric and the matching evidence for a pose."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from recon.optimize.placing.config import PlacingConfig
from recon.optimize.placing.surface import Surface, camera_at
from recon.optimize.targets import resample
from recon.types import Cameras

COVERED = 0.9
"""Alpha from which a pixel counts as covered."""
WINDOW = 9
FLAT = 0.02
"""Standard deviation within a window below which it says nothing, in units of full brightness."""
CELLS, MIN_CELLS = 4, 4
"""Agreeing matches must lie in 4 of 4 x 4 cells of the photo: a corner does not hold a camera."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for a pose of a photo."""

    coverage: float
    """Share of the photo, or of its object where that is masked, that the points cover."""
    agreement: float
    """Mean local correlation of photo and rendering over the covered pixels with texture, in [-1, 1]."""
    inliers: int = 0
    """Matches between the photo and the rendering at the pose that agree about the pose."""
    ratio: float = 0.0
    """Their share of all matches that hit the surface."""
    cells: int = 0
    """Of 16 cells of the photo, how many hold such a match."""

    def accepted(self, config: PlacingConfig) -> bool:
        """Both kinds of evidence agree."""
        matched = self.inliers >= config.min_inliers and self.ratio >= config.min_ratio and self.cells >= MIN_CELLS
        return matched and self.coverage >= config.min_coverage and self.agreement >= config.min_agreement

    @property
    def strength(self) -> float:
        """For comparing poses of one photo: agreeing matches, weighted by how well the pictures agree."""
        return self.inliers * max(self.agreement, 0.0)


def photometric(
    photo: Float[Tensor, "H W 3"], rgb: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W"], share: float = 1.0
) -> tuple[float, float]:
    """(coverage, agreement) of a photo and a rendering of the same size.

    Args:
        share: of the photo that can be covered: less than 1 where only an object is reconstructed.
    """
    covered = alpha > COVERED
    correlation, textured = local_correlation(photo.mean(-1), rgb.mean(-1), covered)
    weight = covered & textured
    agreement = float(correlation[weight].mean()) if int(weight.sum()) >= 50 else 0.0
    return min(1.0, float(covered.float().mean()) / max(share, 1e-3)), agreement


def agreement_at(
    surface: Surface, photo: Float[Tensor, "H W 3"], camera: Cameras, max_side: int, share: float = 1.0
) -> tuple[float, float]:
    """(coverage, agreement) of a photo, at `max_side` at most, and the surface seen by its camera (V = 1).

    Args:
        share: as `photometric` takes it.
    """
    camera = camera_at(camera.cam_from_world[0], camera, min(max_side, max(photo.shape[:2])))
    shown = surface.look(camera)
    small = shrunk(photo, int(camera.width[0]), int(camera.height[0]))
    return photometric(small, shown.rgb[0].cpu(), shown.alpha[0].cpu(), share)


def local_correlation(
    a: Float[Tensor, "H W"], b: Float[Tensor, "H W"], valid: Bool[Tensor, "H W"]
) -> tuple[Float[Tensor, "H W"], Bool[Tensor, "H W"]]:
    """Normalised cross-correlation of two grey pictures in a window round each pixel, over the valid pixels in it.

    Returns:
        The correlation, and where it means something: half of the window valid, and texture in the photo `a`.
    """
    w = valid.to(a.dtype)
    planes = torch.stack([w, w * a, w * b, w * a * a, w * b * b, w * a * b])[None]
    n, sa, sb, saa, sbb, sab = F.avg_pool2d(planes, WINDOW, stride=1, padding=WINDOW // 2)[0]
    n = n.clamp_min(1e-6)
    var_a, var_b = saa / n - (sa / n) ** 2, sbb / n - (sb / n) ** 2
    covariance = sab / n - (sa / n) * (sb / n)
    # A flat rendering of a textured photo disagrees: the floor leaves its correlation near 0.
    correlation = covariance / (var_a.clamp_min(FLAT**2) * var_b.clamp_min(FLAT**2)).sqrt()
    return correlation.clamp(-1, 1), (n > 0.5) & (var_a > FLAT**2)


def occupied_cells(uv: Float[Tensor, "M 2"], width: float, height: float) -> int:
    """How many of 4 x 4 cells of a photo hold at least one of the positions."""
    cell = (uv / torch.tensor([width, height]) * CELLS).floor().clamp(0, CELLS - 1).long()
    return len((cell[:, 1] * CELLS + cell[:, 0]).unique())


def shrunk(photo: Float[Tensor, "H W 3"], width: int, height: int) -> Float[Tensor, "h w 3"]:
    """The photo at another size, by area averaging."""
    return resample(photo.permute(2, 0, 1), (height, width), "area").permute(1, 2, 0).contiguous()
