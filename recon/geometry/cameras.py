"""What a set of cameras says about its scene: fields of view, the point they look at, a tidy world frame."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import inverse_se3
from recon.geometry.sim3 import Sim3
from recon.geometry.triangulation import angle_between
from recon.types import Cameras


def fov_rad(cameras: Cameras) -> Float[Tensor, "V 2"]:
    """Horizontal and vertical field of view in rad, with the true (possibly off-centre) principal point."""
    size = torch.stack([cameras.width, cameras.height], dim=-1).to(cameras.Ks)
    focal = cameras.Ks.diagonal(dim1=-2, dim2=-1)[:, :2]
    principal = cameras.Ks[:, :2, 2]
    return (principal / focal).atan() + ((size - principal) / focal).atan()


def focus_point(cameras: Cameras) -> tuple[Float[Tensor, "3"], Float[Tensor, ""]]:
    """The point nearest to all optical axes in the least-squares sense, and how well they pin it down.

    The second value is the smallest eigenvalue of the mean of `I - z z^T`: about 0 for parallel axes (the point is
    then meaningless), at most 2/3. Registered cameras only.
    """
    world_from_cam = inverse_se3(cameras.cam_from_world[cameras.registered].double())
    z, centers = world_from_cam[:, :3, 2], world_from_cam[:, :3, 3]
    across = torch.eye(3, dtype=z.dtype, device=z.device) - z[:, :, None] * z[:, None, :]
    system = across.mean(0)
    firmness = torch.linalg.eigvalsh(system)[0].clamp_min(0)
    # The pseudo-inverse keeps the answer near the centres along a direction that nothing determines.
    middle = centers.mean(0)
    offset = (across @ (centers - middle)[..., None]).mean(0)
    point = middle + (torch.linalg.pinv(system, rtol=1e-9, hermitian=True) @ offset)[:, 0]
    return point.to(cameras.Ks), firmness.to(cameras.Ks)


def scene_center(cameras: Cameras, points: Float[Tensor, "P 3"] | None = None) -> Float[Tensor, "3"]:
    """What the cameras look at: where their axes meet, if they do in front of them; else the middle of `points`.

    Axes count as meeting when they differ by more than about 8 degrees (firmness 0.005). Without points, parallel
    cameras are taken to look one camera spread ahead.
    """
    point, firmness = focus_point(cameras)
    world_from_cam = inverse_se3(cameras.cam_from_world[cameras.registered])
    z, centers = world_from_cam[:, :3, 2], world_from_cam[:, :3, 3]
    in_front = (((point - centers) * z).sum(-1) > 0).all()
    if firmness > 0.005 and in_front:
        return point
    if points is not None and points.shape[0] > 0:
        return points.median(0).values
    middle = centers.mean(0)
    spread = torch.linalg.vector_norm(centers - middle, dim=-1).mean()
    ahead = torch.nn.functional.normalize(z.mean(0), dim=0)
    return middle + ahead * torch.where(spread > 0, spread, torch.ones_like(spread))


def normalizing_sim3(cameras: Cameras, points: Float[Tensor, "P 3"] | None = None) -> Sim3:
    """The similarity to a tidy world: the scene's centre at the origin, the cameras one unit away on average.

    Axes stay OpenCV's: the cameras' mean down direction becomes +y (so up is -y) and their mean line of sight, as far
    as it is level, +z. Registered cameras only; needs at least one.
    """
    world_from_cam = inverse_se3(cameras.cam_from_world[cameras.registered])
    center = scene_center(cameras, points)
    distance = torch.linalg.vector_norm(world_from_cam[:, :3, 3] - center, dim=-1).mean()
    scale = 1 / torch.where(distance > 0, distance, torch.ones_like(distance))
    R = level_rotation(world_from_cam[:, :3, 1].mean(0), world_from_cam[:, :3, 2].mean(0))
    return Sim3(scale, R, -scale * (R @ center))


def level_rotation(down: Float[Tensor, "3"], forward: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Rotation that takes `down` to +y and `forward` into the half plane of +z and y. Identity if `down` vanishes."""
    identity = torch.eye(3, dtype=down.dtype, device=down.device)
    if torch.linalg.vector_norm(down) < 1e-3:  # cameras that cancel out (looking up and down) agree on no vertical
        return identity
    y = torch.nn.functional.normalize(down, dim=0)
    sight = forward - (forward @ y) * y
    if torch.linalg.vector_norm(sight) < 1e-3:  # an orbit, or a look straight down: any heading will do
        axis = identity[int(y.abs().argmin())]
        sight = axis - (axis @ y) * y
    z = torch.nn.functional.normalize(sight, dim=0)
    return torch.stack([torch.linalg.cross(y, z), y, z])


def viewing_angles(cameras: Cameras) -> Float[Tensor, "V V"]:
    """Angle in rad between the lines of sight of every two cameras."""
    z = inverse_se3(cameras.cam_from_world)[:, :3, 2]
    return angle_between(z[:, None], z[None])
