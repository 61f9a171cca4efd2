"""Gaussians in a moved, turned or scaled world, harmonics included."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry import Sim3, quat_to_rotmat, rotmat_to_quat
from recon.render.sh import coefficient_count, sh_basis
from recon.types import Splats


@torch.no_grad()
def transform_splats(splats: Splats, motion: Sim3) -> Splats:
    """The same Gaussians after `motion`: seen by cameras that move along, every picture stays as it was."""
    R = motion.R.to(splats.means)
    return replace(
        splats,
        means=motion.apply_points(splats.means),
        quats=rotmat_to_quat(R @ quat_to_rotmat(splats.quats)),
        log_scales=splats.log_scales + motion.scale.to(splats.means).log(),
        shN=_turned_harmonics(splats.shN, R, splats.sh_degree),
    )


def _turned_harmonics(shN: Float[Tensor, "N K 3"], R: Float[Tensor, "3 3"], degree: int) -> Float[Tensor, "N K 3"]:
    """Coefficients c' with basis(d) c' = basis(R^T d) c for every direction d.

    The harmonics of one degree span a space that rotations map to itself, so the matrix between the two is exact; it
    is found from more directions than there are coefficients.
    """
    if degree == 0 or torch.equal(R, torch.eye(3).to(R)):
        return shN
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator, dtype=torch.float64), dim=1)
    before, after = sh_basis(directions @ R.double().cpu(), degree), sh_basis(directions, degree)
    turn = torch.zeros(coefficient_count(degree), coefficient_count(degree), dtype=torch.float64)
    for band in range(degree + 1):
        rows = slice(band**2, (band + 1) ** 2)
        turn[rows, rows] = torch.linalg.lstsq(after[:, rows], before[:, rows]).solution
    return torch.einsum("jk,nkc->njc", turn[1:, 1:].to(shN), shN)
