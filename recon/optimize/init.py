"""The first Gaussians, from a cloud of points.

With few photos the start decides most of the result. Where stereo gives a normal, a Gaussian is a thin disc on the
surface (as in SuGaR and 2DGS); elsewhere it is a ball. Its extent is the distance to the next sample.
"""

import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from recon.errors import InputError
from recon.types import SH_C0, PointCloud, Splats

logger = logging.getLogger(__name__)

SH_COEFFICIENTS = {0: 0, 1: 3, 2: 8, 3: 15}


@dataclass(frozen=True)
class InitConfig:
    """From points to the first Gaussians."""

    max_gaussians: int = 120_000
    """Points beyond this number are thinned out evenly over their own spacing."""
    opacity: float = 0.6
    """Opacity of a point of full confidence; uncertain points start more transparent."""
    min_opacity: float = 0.1
    scale_factor: float = 0.75
    """Standard deviation along the surface, in units of the point spacing."""
    flatness: float = 0.3
    """Thickness along the normal over the extent along the surface, where a normal is known."""
    fill_below: float = 0.2
    """Pixels whose stereo confidence is below this get a faint Gaussian at their interpolated depth, so that no part of
    a photo starts empty. 0 turns it off."""
    fill_stride: int = 2
    """Every how many pixels, along x and y."""


def splats_from_points(points: PointCloud, config: InitConfig, sh_degree: int, seed: int = 0) -> Splats:
    """One Gaussian per point, thinned to at most `config.max_gaussians`.

    Raises:
        InputError: there are no points.
    """
    if len(points) == 0:
        raise InputError("Cannot start splats from an empty point cloud. Add photos that overlap more.")
    points = thin_out(points, config.max_gaussians, seed)
    extent = sample_spacing(points) * config.scale_factor
    n = len(points)
    scales = extent[:, None].repeat(1, 3)
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1.0
    if points.normals is not None:
        has_normal = points.normals.norm(dim=1) > 0.5
        scales[has_normal, 2] *= config.flatness
        quats[has_normal] = quats_from_normals(points.normals[has_normal])
    opacity = config.min_opacity + (config.opacity - config.min_opacity) * points.confidence.clamp(0, 1)
    return Splats(
        means=points.xyz.clone(),
        quats=quats,
        log_scales=scales.clamp_min(1e-9).log(),
        logit_opacities=torch.logit(opacity.clamp(1e-3, 0.99)),
        sh0=((points.rgb - 0.5) / SH_C0)[:, None, :],
        shN=torch.zeros(n, SH_COEFFICIENTS[sh_degree], 3),
    )


def sample_spacing(points: PointCloud, neighbours: int = 3) -> Float[Tensor, " P"]:
    """Distance in the world from a point to its neighbours: the mean over the nearest three.

    Where the points know what a pixel covers (`spacing`), that bounds the distance from below and ten times it from
    above: two stereo points may coincide, and a lone one must not become a blob that fills the room.
    """
    if len(points) <= neighbours:
        distance = torch.full((len(points),), float(points.xyz.std().nan_to_num(1.0).clamp_min(1e-3)))
    else:
        xyz = points.xyz.numpy()
        nearest, _ = cKDTree(xyz).query(xyz, k=neighbours + 1, workers=-1)
        distance = torch.from_numpy(nearest[:, 1:].mean(axis=1)).float()
    if points.spacing is None:
        return distance.clamp(max=3.0 * float(distance.median()))
    return torch.minimum(torch.maximum(distance, 0.5 * points.spacing), 10.0 * points.spacing)


def thin_out(points: PointCloud, limit: int, seed: int) -> PointCloud:
    """At most `limit` points: a random subset, drawn without replacement in proportion to confidence.

    Their `spacing` grows with the square root of what was removed, since they sample surfaces.
    """
    if len(points) <= limit:
        return points
    generator = np.random.default_rng(seed)
    weight = points.confidence.clamp(0.05, 1.0).double().numpy()
    # Gumbel top-k draws without replacement in proportion to the weights (Kool et al. 2019), in one pass.
    keys = np.log(weight) + generator.gumbel(size=len(points))
    keep = torch.from_numpy(np.sort(np.argpartition(-keys, limit)[:limit]))
    growth = math.sqrt(len(points) / limit)
    logger.info("Thinned %d points to %d", len(points), limit)
    kept = points[keep]
    return replace(kept, spacing=None if kept.spacing is None else kept.spacing * growth)


def quats_from_normals(normals: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """The shortest rotation, wxyz, that takes the z axis to each unit normal."""
    x, y, z = normals.unbind(1)
    # q = (1 + z.n, z x n), normalised; for n = -z any half turn about an axis in the plane will do.
    quats = torch.stack([1 + z, -y, x, torch.zeros_like(x)], dim=1)
    flipped = z < -1 + 1e-6
    quats[flipped] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    return torch.nn.functional.normalize(quats, dim=1)


def z_order(xyz: Float[Tensor, "P 3"]) -> Tensor:
    """Indices that sort points along a Morton curve, so that neighbours in space are neighbours in memory."""
    low, high = xyz.amin(0), xyz.amax(0)
    cells = ((xyz - low) / (high - low).clamp_min(1e-12) * 1023).clamp(0, 1023).long()
    code = torch.zeros(len(xyz), dtype=torch.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)
