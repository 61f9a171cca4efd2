"""What the photos show of views where no photo was taken: carried over through the views' rendered depth.

All priors look at the same `Views`, made here once. A pixel of a view is unprojected by the view's depth and looked up
in the photo; it counts as far as it lies in front of the photo's camera, inside its picture, and where the splats, seen
from the photo, have a surface there: what the photo shows must lie, by the photo's own depth, near that pixel of the
view. Near is meant in pixels of the view, not in depth: between close photos depth is loose, and what is off in depth
alone does not show.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from recon.geometry.projection import project, unproject_depth
from recon.priors.diffusion.base import Views
from recon.types import Cameras, Rendering

TOLERANCE = 0.03
"""Distance in the view, in units of its longest side, at which a photo counts 1/e. Far more than stereo would allow:
what is carried is the photo's difference to the splats in its own place, which is small where these are right. Of
finished splats (45 views of real photos) the plain blend gains .60 dB with .005, .67 with .02, .68 with .04, .67 with
.2; by depth, with a tolerance of 3 per cent, .50."""
RIM = 0.005
"""Share of a photo's longest side over which it fades in from its rim, about a pixel: .02 takes .07 dB of that."""
TURN_WEIGHT = 4.0
"""What looking elsewhere costs against standing elsewhere: 60 degrees are as far as two typical distances."""


def make_views(
    drawn: Rendering,
    cameras: Cameras,
    photos: Sequence[Float[Tensor, "_ _ 3"]],
    own: Rendering | Sequence[Rendering],
    photo_cameras: Cameras,
    *,
    references: int = 2,
    seed: int = 0,
) -> Views:
    """The views as priors take them.

    Args:
        drawn: V renderings from `cameras`, black behind.
        photos: in the colours of the renderings (exposure removed), black behind where masks are used.
        own: what the splats show at the photos' cameras, at the photos' sizes, black behind: one `Rendering` of all, or
            one of each.
        references: photos carried into each view. Where there are fewer, some are named twice, and count once.
        seed: handed on in the views.
    """
    shown = [_each(own, index) for index in range(len(photos))] if isinstance(own, Rendering) else list(own)
    nearest = nearest_photos(cameras, photo_cameras, references)
    layers = {index: _layers(photos[index], shown[index]) for index in nearest.unique().tolist()}
    warped, warped_own, valid = [], [], []
    for v in range(len(cameras)):
        points = unproject_depth(drawn.depth[v], cameras.Ks[v], cameras.cam_from_world[v])
        hit = drawn.alpha[v] * (drawn.depth[v] > 0)
        for position, photo in enumerate(nearest[v].tolist()):
            named_before = photo in nearest[v, :position].tolist()
            picture, shows, sure = _carried(points, cameras[v], layers[photo], photo_cameras[photo])
            warped.append(picture)
            warped_own.append(shows)
            valid.append(torch.zeros_like(sure) if named_before else sure * hit)
    shape = (*nearest.shape, *drawn.alpha.shape[1:])
    return Views(
        rgb=drawn.rgb,
        alpha=drawn.alpha,
        depth=drawn.depth,
        cameras=cameras,
        photos=tuple(photos),
        photo_cameras=photo_cameras,
        nearest=nearest,
        warped=torch.stack(warped).reshape(*shape, 3),
        warped_own=torch.stack(warped_own).reshape(*shape, 3),
        valid=torch.stack(valid).reshape(shape),
        distance=torch.cdist(cameras.centers, photo_cameras.centers).amin(dim=1) / spacing(photo_cameras),
        seed=seed,
    )


def spacing(cameras: Cameras) -> Float[Tensor, ""]:
    """The typical distance between neighbouring cameras: the median of those to the nearest other; 1 for a single."""
    if len(cameras) < 2:
        return cameras.centers.new_ones(())
    apart = torch.cdist(cameras.centers, cameras.centers)
    apart.fill_diagonal_(torch.inf)
    return apart.amin(dim=1).median().clamp_min(1e-9)


def nearest_photos(cameras: Cameras, photo_cameras: Cameras, count: int) -> Int[Tensor, "V R"]:
    """The photos that stand and look most like each view, best first; with fewer than `count`, the last is repeated."""
    apart = torch.cdist(cameras.centers, photo_cameras.centers) / spacing(photo_cameras)
    sight, photo_sight = cameras.cam_from_world[:, 2, :3], photo_cameras.cam_from_world[:, 2, :3]
    cost = apart + TURN_WEIGHT * (1 - sight @ photo_sight.T)
    order = cost.argsort(dim=1)[:, :count]
    return torch.cat([order, order[:, -1:].expand(-1, count - order.shape[1])], dim=1)


def _each(rendering: Rendering, index: int) -> Rendering:
    return Rendering(rendering.rgb[index], rendering.alpha[index], rendering.depth[index])


def _layers(photo: Float[Tensor, "h w 3"], own: Rendering) -> Float[Tensor, "8 h w"]:
    """What is looked up of a photo: its colours, those of the splats in its place, their depth and alpha."""
    depth, alpha = (plane.reshape(1, *photo.shape[:2]) for plane in (own.depth, own.alpha))
    return torch.cat([photo.permute(2, 0, 1), own.rgb.reshape(photo.shape).permute(2, 0, 1), depth, alpha])


def _carried(
    points: Float[Tensor, "H W 3"], view: Cameras, layers: Float[Tensor, "8 h w"], camera: Cameras
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W 3"], Float[Tensor, "H W"]]:
    """(photo, splats in the photo's place, how sure it is the same surface) at the world points of a view's pixels."""
    size = points.shape[:2]
    uv, z = project(points.reshape(-1, 3), camera.cam_from_world[0], camera.Ks[0])
    extent = torch.stack([camera.width[0], camera.height[0]]).to(uv)
    grid = (2 * uv / extent - 1).reshape(1, *size, 2)
    colors = F.grid_sample(layers[None, :6], grid, padding_mode="border", align_corners=False)[0].permute(1, 2, 0)
    # Surfaces are sampled, not mixed: between two there is none.
    depth, alpha = F.grid_sample(layers[None, 6:], grid, mode="nearest", padding_mode="border", align_corners=False)[0]
    z = z.reshape(size)
    agree = torch.exp(-((_off(points, depth / z.clamp_min(1e-9), view, camera) / TOLERANCE) ** 2))
    inside = (torch.minimum(uv, extent - uv).amin(dim=-1) / (RIM * extent.amax())).clamp(0, 1).reshape(size)
    return colors[..., :3], colors[..., 3:], agree * inside * alpha * (z > 0) * (depth > 0)


def _off(
    points: Float[Tensor, "H W 3"], stretch: Float[Tensor, "H W"], view: Cameras, camera: Cameras
) -> Float[Tensor, "H W"]:
    """How far the points move in the view, in units of its longest side, when `stretch` times as far from the photo's
    camera on the same ray."""
    ends = torch.stack([points, camera.centers[0] + (points - camera.centers[0]) * stretch[..., None]])
    (here, there), z = project(ends.reshape(2, -1, 3), view.cam_from_world[0], view.Ks[0])
    off = (there - here).norm(dim=-1) / torch.maximum(view.width[0], view.height[0])
    return torch.where(z[1] > 0, off, torch.inf).reshape(stretch.shape)
