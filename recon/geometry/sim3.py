"""Similarities: scale, rotation, translation; fitting them to points and applying them to scenes."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.geometry.se3 import make_se3
from recon.types import Cameras, PointCloud


@dataclass(frozen=True)
class Sim3:
    """`x_new = scale * R @ x_old + t`, a change of world; leading batch dimensions are allowed."""

    scale: Float[Tensor, "*b"]
    R: Float[Tensor, "*b 3 3"]
    t: Float[Tensor, "*b 3"]

    @staticmethod
    def identity(dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> "Sim3":
        R = torch.eye(3, dtype=dtype, device=device)
        return Sim3(torch.ones_like(R[0, 0]), R, torch.zeros_like(R[0]))

    def inverse(self) -> "Sim3":
        R_inv = self.R.transpose(-1, -2)
        t = -(R_inv @ self.t[..., None]).squeeze(-1) / self.scale[..., None]
        return Sim3(1 / self.scale, R_inv, t)

    def compose(self, first: "Sim3") -> "Sim3":
        """The similarity that applies `first`, then `self`."""
        t = self.scale[..., None] * (self.R @ first.t[..., None]).squeeze(-1) + self.t
        return Sim3(self.scale * first.scale, self.R @ first.R, t)

    def apply_points(self, points: Float[Tensor, "*c P 3"]) -> Float[Tensor, "*d P 3"]:
        """Points of the old world, in the new one. Leading dimensions broadcast."""
        scaled_R = self.scale[..., None, None] * self.R
        return points @ scaled_R.transpose(-1, -2) + self.t[..., None, :]

    def apply_poses(self, cam_from_world: Float[Tensor, "V 4 4"]) -> Float[Tensor, "V 4 4"]:
        """`cam_from_world` in the new world. Pictures stay the same; depths grow by `scale`."""
        R = cam_from_world[:, :3, :3] @ self.R.transpose(-1, -2)
        t = self.scale * cam_from_world[:, :3, 3] - (R @ self.t[:, None]).squeeze(-1)
        return make_se3(R, t)

    def apply_cameras(self, cameras: Cameras) -> Cameras:
        """The same cameras in the new world; unregistered ones keep their identity pose."""
        moved = self.apply_poses(cameras.cam_from_world)
        keep = cameras.registered[:, None, None]
        return replace(cameras, cam_from_world=torch.where(keep, moved, cameras.cam_from_world))

    def apply_cloud(self, cloud: PointCloud) -> PointCloud:
        """Points, normals and spacings in the new world."""
        normals = None if cloud.normals is None else cloud.normals @ self.R.transpose(-1, -2)
        spacing = None if cloud.spacing is None else cloud.spacing * self.scale
        return replace(cloud, xyz=self.apply_points(cloud.xyz), normals=normals, spacing=spacing)


def umeyama(
    src: Float[Tensor, "*b P 3"],
    dst: Float[Tensor, "*b P 3"],
    weights: Float[Tensor, "*b P"] | None = None,
    with_scale: bool = True,
) -> Sim3:
    """The similarity with the least sum of squares `weights * |scale R src + t - dst|^2` (Umeyama 1991, eq. 40-43).

    Never a reflection. When the points lie on a line (two cameras, say) the turn about that line is free and one of
    the minimisers is returned; when all `src` coincide, rotation and scale are unknown and scale is 1. Values are
    always finite; gradients are not where singular values coincide.
    """
    if weights is None:
        weights = torch.ones_like(src[..., 0])
    weights = (weights / weights.sum(-1, keepdim=True))[..., None]
    src_mean, dst_mean = (weights * src).sum(-2), (weights * dst).sum(-2)
    src_centred, dst_centred = src - src_mean[..., None, :], dst - dst_mean[..., None, :]
    covariance = (weights * dst_centred).transpose(-1, -2) @ src_centred
    U, singular, Vh = torch.linalg.svd(covariance)
    flip = torch.ones_like(singular)
    flip[..., 2] = torch.det(U.detach() @ Vh.detach()).sign()  # U and V are orthogonal: +1 or -1
    R = (U * flip[..., None, :]) @ Vh
    variance = (weights * src_centred**2).sum((-1, -2))
    fit = with_scale & (variance > 0) & (singular[..., 0] > 0)
    ratio = (singular * flip).sum(-1) / torch.where(fit, variance, torch.ones_like(variance))
    scale = torch.where(fit, ratio, torch.ones_like(ratio))
    t = dst_mean - scale[..., None] * (R @ src_mean[..., None]).squeeze(-1)
    return Sim3(scale, R, t)
