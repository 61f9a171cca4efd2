"""Spherical harmonics: orthonormality, gsplat's ordering and signs, colours and the direction's gradient."""

import math

import pytest
import torch
from reference.raster_bruteforce import sh_basis as reference_basis

from recon.render.sh import coefficient_count, rgb_to_sh0, sh0_to_rgb, sh_basis, sh_to_color


def directions(n: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_basis_equals_closed_forms(degree: int) -> None:
    basis = sh_basis(directions(), degree)
    assert basis.shape == (50, coefficient_count(degree))
    torch.testing.assert_close(basis, reference_basis(directions(), degree), atol=1e-14, rtol=0)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colors_equal_gsplats(degree: int) -> None:
    """gsplat's PyTorch implementation runs without a GPU."""
    from gsplat.cuda._torch_impl import _spherical_harmonics

    coefficients = torch.randn(50, 16, 3, dtype=torch.float64)
    offsets = 3.0 * directions()
    expected = (_spherical_harmonics(degree, offsets, coefficients) + 0.5).clamp(min=0)
    torch.testing.assert_close(sh_to_color(coefficients, offsets, degree), expected, atol=1e-12, rtol=0)


def test_basis_is_orthonormal_on_the_sphere() -> None:
    # Gauss-Legendre in cos(theta) and even steps in phi integrate products of degree 6 exactly.
    import numpy as np

    z, weights = np.polynomial.legendre.leggauss(8)
    phi = 2 * math.pi * np.arange(16) / 16
    zz, pp = (torch.from_numpy(x.ravel()) for x in np.meshgrid(z, phi, indexing="ij"))
    ring = (1 - zz * zz).sqrt()
    basis = sh_basis(torch.stack([ring * pp.cos(), ring * pp.sin(), zz], dim=-1), 3)
    area = torch.from_numpy(np.repeat(weights, 16)) * 2 * math.pi / 16
    torch.testing.assert_close(basis.T @ (area[:, None] * basis), torch.eye(16, dtype=torch.float64), atol=1e-7, rtol=0)


def test_gradients_equal_finite_differences() -> None:
    coefficients = torch.randn(4, 16, 3, dtype=torch.float64) * 0.1
    offsets = 2.0 * directions(4)
    inputs = (coefficients.requires_grad_(), offsets.requires_grad_())
    assert torch.autograd.gradcheck(lambda c, o: sh_to_color(c, o, 3), inputs)


def test_rgb_round_trip_and_view_independence() -> None:
    rgb = torch.rand(50, 3, dtype=torch.float64)
    sh0 = rgb_to_sh0(rgb)
    torch.testing.assert_close(sh0_to_rgb(sh0), rgb)
    torch.testing.assert_close(sh_to_color(sh0[:, None], directions(), 0), rgb, atol=1e-12, rtol=0)


def test_colors_are_not_negative_and_extra_bands_are_ignored() -> None:
    coefficients = torch.full((1, 16, 3), -5.0)
    assert torch.equal(sh_to_color(coefficients, torch.ones(1, 3), 0), torch.zeros(1, 3))
    coefficients[:, 1:] = 100.0
    assert torch.equal(sh_to_color(coefficients, torch.ones(1, 3), 0), torch.zeros(1, 3))


def test_rejects_degrees_and_sizes_it_does_not_have() -> None:
    with pytest.raises(NotImplementedError, match="degree 4"):
        sh_basis(directions(), 4)
    with pytest.raises(ValueError, match="needs 9 coefficients per channel, got 4"):
        sh_to_color(torch.zeros(50, 4, 3), directions().float(), 2)
