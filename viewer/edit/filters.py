"""Floaters: Gaussians that hang in the air because too little said where they should be."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon.types import Splats

NEIGHBOURS = 6
SEEN = 0.25
"""Share of a Gaussian that a camera must see to count."""


@dataclass(frozen=True)
class FloaterFilter:
    """What counts as a floater. Any one of the criteria is enough; each is off at its default."""

    min_opacity: float = 0.0
    """Less opaque than this, in [0, 1]."""
    max_size: float = float("inf")
    """Longest axis (standard deviation) longer than this, in world units."""
    isolation: float = float("inf")
    """Farther from its neighbours than so many times what is usual in the scene."""
    min_cameras: int = 0
    """Seen by fewer input cameras than this."""


@torch.no_grad()
def floaters(splats: Splats, rule: FloaterFilter, seen_by: Int[Tensor, " N"] | None = None) -> Bool[Tensor, " N"]:
    """Gaussians that `rule` calls floaters.

    Args:
        seen_by: number of cameras that see each Gaussian (`camera_count`); None leaves that criterion out.
    """
    found = splats.opacities < rule.min_opacity
    found = found | (splats.scales.amax(dim=1) > rule.max_size)
    if rule.isolation != float("inf") and len(splats):
        found = found | (isolation(splats.means).to(found.device) > rule.isolation)
    if seen_by is not None and rule.min_cameras > 0:
        found = found | (seen_by.to(found.device) < rule.min_cameras)
    return found.cpu()


def isolation(means: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """Mean distance to the nearest neighbours, in units of the scene's median of it."""
    from scipy.spatial import cKDTree  # here, as in the other places, so that a page is up sooner

    xyz = means.detach().cpu().double().numpy()
    if len(xyz) < 2:
        return torch.ones(len(xyz))
    distance = cKDTree(xyz).query(xyz, k=min(NEIGHBOURS + 1, len(xyz)))[0][:, 1:].mean(axis=1)
    distances = torch.from_numpy(distance).float()
    return distances / distances.median().clamp_min(1e-12)


def camera_count(seen: Float[Tensor, "V N"]) -> Int[Tensor, " N"]:
    """Number of cameras that see each Gaussian, from `seen_fraction`."""
    return (seen >= SEEN).sum(dim=0)
