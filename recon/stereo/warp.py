"""Looking at one photo from another through its depth. Pure torch, differentiable in the image."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import pixel_grid, project, unproject_depth
from recon.types import Cameras


def sample_image(image: Float[Tensor, "H W C"], uv: Float[Tensor, "*s 2"], mode: str = "bilinear") -> Tensor:
    """Values `[*s, C]` of an image at pixel positions (first centre at (0.5, 0.5)); edges are repeated outside."""
    height, width = image.shape[:2]
    scale = torch.tensor([2.0 / width, 2.0 / height], dtype=uv.dtype, device=uv.device)
    grid = (uv * scale - 1.0).reshape(1, 1, -1, 2)
    values = F.grid_sample(image.permute(2, 0, 1)[None], grid, mode=mode, padding_mode="border", align_corners=False)
    return values[0, :, 0].T.reshape(*uv.shape[:-1], image.shape[-1])


def positions_in_view(
    depth: Float[Tensor, "H W"], camera: Cameras, other: Cameras
) -> tuple[Float[Tensor, "H W 2"], Float[Tensor, "H W"], Bool[Tensor, "H W"]]:
    """Where the pixels of a depth map lie in another camera.

    Args:
        depth: z-depth of `camera`, 0 where unknown.
        camera, other: single cameras (V = 1).

    Returns:
        Pixel positions in `other`, z-depths there, and which are known, in front of it and inside its picture.
    """
    points = unproject_depth(depth, camera.Ks[0], camera.cam_from_world[0])
    uv, z = project(points.reshape(-1, 3), other.cam_from_world[0], other.Ks[0])
    uv, z = uv.reshape(*depth.shape, 2), z.reshape(depth.shape)
    size = torch.stack([other.width[0], other.height[0]]).to(uv)
    inside = ((uv >= 0) & (uv <= size)).all(-1)
    return uv, z, inside & (z > 0) & (depth > 0)


def warp_to_view(
    image_other: Float[Tensor, "h w C"],
    depth: Float[Tensor, "H W"],
    camera: Cameras,
    other: Cameras,
    *,
    depth_other: Float[Tensor, "h w"] | None = None,
    tolerance: float = 0.03,
) -> tuple[Float[Tensor, "H W C"], Bool[Tensor, "H W"]]:
    """Another photo as it would look from `camera`, if the depth is right and surfaces are matt.

    Args:
        image_other: the photo to bring over, as seen by `other`.
        depth: z-depth of `camera`, 0 where unknown.
        camera, other: single cameras (V = 1) of the sizes of `depth` and `image_other`.
        depth_other: z-depth of `other`; pixels that lie more than `tolerance` (relative) behind it are hidden there
            and masked out.

    Returns:
        The warped photo and a mask of the pixels where it means something.
    """
    uv, z, valid = positions_in_view(depth, camera, other)
    warped = sample_image(image_other, uv)
    if depth_other is not None:
        surface = sample_image(depth_other[..., None], uv, mode="nearest")[..., 0]
        valid = valid & ((surface <= 0) | (z <= surface * (1 + tolerance)))
    return torch.where(valid[..., None], warped, torch.zeros_like(warped)), valid


def reprojection_error(
    depth: Float[Tensor, "H W"], camera: Cameras, depth_other: Float[Tensor, "h w"], other: Cameras
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Forward-backward check of two depth maps.

    A pixel is carried into `other` by its depth and back by the depth found there.

    Returns:
        Distance in pixels between where it started and where it comes back, and the relative difference between the
        depth it has in `other` and the depth found there. Both are infinite where there is nothing to compare.
    """
    uv, z, valid = positions_in_view(depth, camera, other)
    found = depth_at(depth_other, uv)
    valid = valid & (found > 0)
    found_safe = torch.where(valid, found, torch.ones_like(found))
    K_inverse = torch.linalg.inv(other.Ks[0])
    rays = torch.cat([uv, torch.ones_like(uv[..., :1])], -1) @ K_inverse.T
    local = rays * found_safe[..., None]
    points = (local.reshape(-1, 3) - other.cam_from_world[0, :3, 3]) @ other.cam_from_world[0, :3, :3]
    back, z_back = project(points, camera.cam_from_world[0], camera.Ks[0])
    distance = (back.reshape(uv.shape) - pixel_grid(*depth.shape).to(uv)).norm(dim=-1)
    valid = valid & (z_back.reshape(depth.shape) > 0)
    infinite = torch.full_like(distance, float("inf"))
    relative = (z - found_safe).abs() / found_safe
    return torch.where(valid, distance, infinite), torch.where(valid, relative, infinite)


def depth_at(depth: Float[Tensor, "h w"], uv: Float[Tensor, "*s 2"]) -> Float[Tensor, "*s"]:
    """Depth between pixels: interpolated inversely on a surface (exact on planes), the nearest across an edge."""
    inverse = torch.where(depth > 0, 1 / depth.clamp_min(1e-12), torch.zeros_like(depth))[..., None]
    nearest = sample_image(inverse, uv, mode="nearest")[..., 0]
    smooth = sample_image(inverse, uv)[..., 0]
    chosen = torch.where((smooth - nearest).abs() < 0.02 * nearest, smooth, nearest)
    return torch.where(chosen > 0, 1 / chosen.clamp_min(1e-12), torch.zeros_like(chosen))
