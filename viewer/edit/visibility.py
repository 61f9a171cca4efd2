"""What cameras see of each Gaussian: exact shares, from one backward pass a camera."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry import project
from recon.render import Rasterizer, render, shares
from recon.types import Cameras, Splats

SIDE = 320
"""Longest side, in pixels, of the pictures that shares are taken from."""
COVERED, SLACK = 0.5, 1.01
"""Alpha from which there is a surface, and how much deeper than it something may be and still lie on it."""
SMALL = 0.02
"""Standard deviation, in units of the depth, of what the place of its middle speaks for."""
NEAR = 0.005
"""Nothing nearer to a camera than so much of the scene's depth hides anything."""


def small_camera(cameras: Cameras, index: int, side: int = SIDE) -> Cameras:
    """One camera, for a picture whose longest side is `side`."""
    camera = cameras[index]
    scale = side / max(int(camera.width[0]), int(camera.height[0]))
    return camera.resized(*((edge * scale).round().long().clamp(min=1) for edge in (camera.width, camera.height)))


def seen_shares(
    splats: Splats, camera: Cameras, rasterizer: Rasterizer, weights: Float[Tensor, "H W"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Per Gaussian, in pixels: its share in the weighted pixels, in all, and in all if nothing stood before it."""
    near = _near(splats.to(camera.Ks.device), camera)
    both = torch.stack([weights, torch.ones_like(weights)])
    found, meta = shares(splats, camera, both, rasterizer, near_plane=near)
    conics, ids = meta["conics"].detach(), meta["gaussian_ids"].long()
    area = 2.0 * math.pi / (conics[:, 0] * conics[:, 2] - conics[:, 1] ** 2).clamp_min(1e-12).sqrt()
    alone = torch.zeros(len(splats), device=area.device)
    alone[ids] = area * splats.opacities.detach().to(area.device)[ids]
    return found[:, 0].cpu(), found[:, 1].cpu(), alone.cpu()


def _near(splats: Splats, camera: Cameras) -> float:
    """A near plane that fits the scene's scale, which may be anything: a small part of the depth of what is ahead."""
    z = splats.means @ camera.cam_from_world[0, 2, :3] + camera.cam_from_world[0, 2, 3]
    ahead = z[z > 0]
    return NEAR * float(ahead.median()) if len(ahead) else NEAR


def seen_fraction(splats: Splats, cameras: Cameras, rasterizer: Rasterizer) -> Float[Tensor, "V N"]:
    """How much of each Gaussian each camera sees, 0 (hidden or outside) to 1 (all of it).

    Of a crowd of small ones on a surface each hides some of the others; all that reach the surface count as seen.
    """
    rows = []
    for index in range(len(cameras)):
        camera = small_camera(cameras, index)
        everywhere = torch.zeros(int(camera.height[0]), int(camera.width[0]))
        _, total, alone = seen_shares(splats, camera, rasterizer, everywhere)
        rows.append((total / alone.clamp_min(1e-6)).clamp(0.0, 1.0).maximum(_on_surface(splats, camera, rasterizer)))
    return torch.stack(rows) if rows else torch.zeros(0, len(splats))


@torch.no_grad()
def _on_surface(splats: Splats, camera: Cameras, rasterizer: Rasterizer) -> Float[Tensor, " N"]:
    """1 where a Gaussian's middle is in the picture and no deeper than the surface there, give or take its size."""
    near = _near(splats.to(camera.Ks.device), camera)
    drawn = render(splats.to(rasterizer.device), camera.to(rasterizer.device), rasterizer, near_plane=near)
    depth, alpha = drawn.depth[0].cpu(), drawn.alpha[0].cpu()
    uv, z = project(splats.means.cpu(), camera.cam_from_world[0], camera.Ks[0])
    height, width = depth.shape
    inside = (z > near) & ((uv >= 0) & (uv < torch.tensor([width, height]))).all(dim=1)
    u, v = (uv[inside].long().clamp(min=0)).unbind(dim=1)
    there = torch.where(alpha[v, u] > COVERED, depth[v, u], torch.inf)
    found = torch.zeros(len(splats))
    size = splats.scales.amax(dim=1).cpu()[inside]
    found[inside] = ((z[inside] <= SLACK * there + size) & (size < SMALL * z[inside])).float()
    return found


def object_share(
    splats: Splats, cameras: Cameras, masks: list[Float[Tensor, "_ _"] | None], rasterizer: Rasterizer
) -> Float[Tensor, " N"]:
    """How much of what the photos show of each Gaussian lies on the object, in [0, 1], by vote of all masked photos.

    A Gaussian that no masked photo shows votes with its nearest neighbour that one does: insides follow their skin.

    Args:
        masks: per camera, 1 on the object, of any size; None where nothing is known.
    """
    inside, total = torch.zeros(len(splats)), torch.zeros(len(splats))
    for index, mask in enumerate(masks):
        if mask is None:
            continue
        camera = small_camera(cameras, index)
        size = (int(camera.height[0]), int(camera.width[0]))
        weights = torch.nn.functional.interpolate(mask[None, None].float(), size, mode="area")[0, 0]
        within, all_over, _ = seen_shares(splats, camera, rasterizer, weights)
        inside += within
        total += all_over
    vote = inside / total.clamp_min(1e-9)
    seen = total > 1e-3
    if bool(seen.any()) and not bool(seen.all()):
        from scipy.spatial import cKDTree

        means = splats.means.detach().cpu()
        nearest = cKDTree(means[seen].numpy()).query(means[~seen].numpy())[1]
        vote[~seen] = vote[seen][torch.from_numpy(nearest)]
    return vote
