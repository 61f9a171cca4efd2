"""Spherical harmonics of degree 0 to 3 in the 3DGS layout: colour = max(0, 0.5 + sum of basis times coefficient).

The basis is the real one, ordered by degree l and then m from -l to l, with the Condon-Shortley phase (degree 1 reads
-y, z, -x). Directions point from the camera centre to the Gaussian. Gradients, the direction's too, are autograd's.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.types import SH_C0

MAX_DEGREE = 3

# Normalisation constants of the real harmonics in Cartesian form (Sloan, "Efficient Spherical Harmonic Evaluation",
# JCGT 2013, appendix A2): sqrt of a rational over pi.
_C1 = 0.4886025119029199  # sqrt(3 / 4pi)
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)  # sqrt(15/4pi), sqrt(5/16pi), sqrt(15/16pi)
_C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


def coefficient_count(degree: int) -> int:
    """Number of coefficients per colour channel, (degree + 1)^2."""
    if not 0 <= degree <= MAX_DEGREE:
        raise NotImplementedError(f"Spherical harmonics of degree {degree}: degrees 0 to {MAX_DEGREE} are covered.")
    return (degree + 1) ** 2


def sh_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch K"]:
    """Basis values of unit `directions`, K = (degree + 1)^2."""
    coefficient_count(degree)
    x, y, z = directions.unbind(dim=-1)
    basis = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        basis += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        xx, yy, zz, xy = x * x, y * y, z * z, x * y
        basis += [_C2[0] * xy, -_C2[0] * y * z, _C2[1] * (3 * zz - 1), -_C2[0] * x * z, _C2[2] * (xx - yy)]
    if degree >= 3:
        ring = 5 * zz - 1
        basis += [
            -_C3[0] * y * (3 * xx - yy),
            _C3[1] * xy * z,
            -_C3[2] * y * ring,
            _C3[3] * z * (ring - 2),
            -_C3[2] * x * ring,
            _C3[4] * z * (xx - yy),
            -_C3[0] * x * (xx - 3 * yy),
        ]
    return torch.stack(basis, dim=-1)


def sh_to_color(
    coefficients: Float[Tensor, "*batch K 3"], offsets: Float[Tensor, "*batch 3"], degree: int
) -> Float[Tensor, "*batch 3"]:
    """Colours of Gaussians seen along `offsets` (camera centre to mean, any length), clamped to be non-negative.

    Coefficients beyond `degree` are ignored, as in gsplat.

    Raises:
        ValueError: fewer coefficients than `degree` needs.
    """
    used = coefficient_count(degree)
    if coefficients.shape[-2] < used:
        raise ValueError(f"SH degree {degree} needs {used} coefficients per channel, got {coefficients.shape[-2]}.")
    basis = sh_basis(torch.nn.functional.normalize(offsets, dim=-1), degree)
    color = (basis[..., None] * coefficients[..., :used, :]).sum(dim=-2)
    return (color + 0.5).clamp_min(0.0)


def rgb_to_sh0(rgb: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Zeroth coefficient that gives the colour `rgb` from everywhere."""
    return (rgb - 0.5) / SH_C0


def sh0_to_rgb(sh0: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """View-independent colour of the zeroth coefficient, not clamped."""
    return sh0 * SH_C0 + 0.5
