"""Pictures of a field: samples along rays, composited; cells that hold nothing are skipped."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon.fields.compositing import sample_weights, sum_by_ray
from recon.fields.field import RadianceField
from recon.fields.occupancy import Occupancy
from recon.fields.rays import Rays, camera_rays
from recon.types import Cameras, Rendering

RAYS_AT_ONCE = 8192
ROUND = 16
"""So many samples of each ray are looked at before it is asked whether more could be seen."""
DARK = 1e-3
"""A ray that lets less light than this through is not followed further."""


@dataclass(frozen=True)
class Samples:
    """Samples in occupied cells, ray after ray, near to far."""

    positions: Float[Tensor, "M 3"]
    """In units of the box."""
    distances: Float[Tensor, " M"]
    """From the ray's origin, in the world."""
    ray: Int64[Tensor, " M"]
    starts: Int64[Tensor, " R1"]
    """Where each ray's samples start, and the end of the last."""

    def __getitem__(self, index: Int64[Tensor, " K"]) -> "Samples":
        """Some of them, of the same rays."""
        ray = self.ray[index]
        return Samples(self.positions[index], self.distances[index], ray, _starts(ray, len(self.starts) - 1))


@dataclass(frozen=True)
class Seen:
    """What rays see."""

    rgb: Float[Tensor, "R 3"]
    """Of the field alone, on black."""
    alpha: Float[Tensor, " R"]
    distance: Float[Tensor, " R"]
    """Expected distance times alpha."""
    weights: Float[Tensor, " M"]
    """How much each sample adds."""


def place_samples(
    field: RadianceField, occupancy: Occupancy, rays: Rays, generator: torch.Generator | None = None
) -> Samples:
    """Equally spaced samples inside the box, in occupied cells; shifted at random, ray by ray, with a generator."""
    near, far = field.box.span(rays)
    step = occupancy.step * field.box.side
    count = max(1, int(torch.ceil((far - near).max() / step)))
    shift = torch.full((len(rays), 1), 0.5) if generator is None else torch.rand(len(rays), 1, generator=generator)
    distances = near[:, None] + (torch.arange(count) + shift) * step
    ray, place = (distances < far[:, None]).nonzero(as_tuple=True)
    distances = distances[ray, place]
    positions = field.box.unit(rays.origins[ray] + distances[:, None] * rays.directions[ray])
    kept = occupancy.contains(positions).nonzero()[:, 0]
    ray = ray[kept]
    return Samples(positions[kept], distances[kept], ray, _starts(ray, len(rays)))


def _starts(ray: Tensor, n_rays: int) -> Tensor:
    return torch.nn.functional.pad(torch.bincount(ray, minlength=n_rays).cumsum(0), (1, 0))


def trace(field: RadianceField, samples: Samples, rays: Rays, step: float) -> Seen:
    """Composite the samples' densities and colours.

    Args:
        step: distance between samples, in units of the box.
    """
    densities, colors = field(samples.positions, field.look(rays.directions)[samples.ray])
    weights = sample_weights(densities * step, samples.starts)
    columns = torch.cat([colors, torch.ones_like(weights)[:, None], samples.distances[:, None]], dim=1)
    sums = sum_by_ray(columns * weights[:, None], samples.starts)
    return Seen(sums[:, :3], sums[:, 3], sums[:, 4], weights)


@torch.no_grad()
def render_field(
    field: RadianceField, occupancy: Occupancy, camera: Cameras, background: Float[Tensor, "3"] | None = None
) -> Rendering:
    """What one camera (V = 1) sees of the field, on black or another colour."""
    rays = camera_rays(camera)
    height, width = int(camera.height[0]), int(camera.width[0])
    parts = [rays[i : i + RAYS_AT_ONCE] for i in range(0, len(rays), RAYS_AT_ONCE)]
    seen = [_follow(field, place_samples(field, occupancy, part), part, occupancy.step) for part in parts]
    rgb, alpha = torch.cat([s.rgb for s in seen]), torch.cat([s.alpha for s in seen])
    distance = torch.cat([s.distance for s in seen]) / alpha.clamp_min(1e-6)
    forward = camera.cam_from_world[0, 2, :3]
    depth = torch.where(alpha > 1e-3, distance * (rays.directions @ forward), 0.0)
    if background is not None:
        rgb = rgb + (1 - alpha)[:, None] * background
    return Rendering(rgb.view(height, width, 3), alpha.view(height, width), depth.view(height, width))


def _follow(field: RadianceField, samples: Samples, rays: Rays, step: float) -> Seen:
    """As `trace`, from near to far in rounds, as long as there is light; without the weights."""
    rank = torch.arange(len(samples.ray)) - samples.starts[samples.ray]
    light, sums = torch.ones(len(rays), 1), torch.zeros(len(rays), 5)
    for first in range(0, int(samples.starts.diff().max()), ROUND):
        lit = (rank >= first) & (rank < first + ROUND) & (light[samples.ray, 0] > DARK)
        seen = trace(field, samples[lit.nonzero()[:, 0]], rays, step)
        sums += light * torch.cat([seen.rgb, seen.alpha[:, None], seen.distance[:, None]], dim=1)
        light = light * (1 - seen.alpha)[:, None]
    return Seen(sums[:, :3], sums[:, 3], sums[:, 4], torch.zeros(0))
