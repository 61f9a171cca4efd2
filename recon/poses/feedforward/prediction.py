"""What a feed-forward model says about a set of photos, and how its canvas lies over each photo."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon.errors import PoseError
from recon.geometry import quat_to_rotmat, rotmat_to_quat
from recon.types import Cameras, PointCloud

SURE_SHARE = 0.6
"""Of each photo's pixels, the more confident ones, that become points: the rest is mostly sky and edges."""


@dataclass(frozen=True)
class Canvas:
    """How a model saw a photo: resized, then cropped or padded. Pixel centres at .5 on both sides.

    x_canvas = scale_x * x_photo + left, and the same for y.
    """

    scale_x: float
    scale_y: float
    left: float = 0.0
    """Negative where the photo was cropped, positive where it was padded."""
    top: float = 0.0

    def intrinsics_in_photo(self, K: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
        """The photo's intrinsics from those of the canvas."""
        undo = torch.tensor(
            [
                [1 / self.scale_x, 0, -self.left / self.scale_x],
                [0, 1 / self.scale_y, -self.top / self.scale_y],
                [0, 0, 1],
            ],
            dtype=torch.float64,
        )
        return (undo @ K.double()).to(K.dtype)

    def in_photo(self, height: int, width: int) -> Float[Tensor, "h w 2"]:
        """Positions in the photo of the canvas's `height` x `width` pixel centres."""
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        return torch.stack([(x - self.left) / self.scale_x, (y - self.top) / self.scale_y], dim=-1)

    def from_photo(self, uv: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Positions on the canvas of positions in the photo."""
        return uv * torch.tensor([self.scale_x, self.scale_y]) + torch.tensor([self.left, self.top])


@dataclass(frozen=True)
class Prediction:
    """Cameras and depths of V photos in a world of the model's own, of unknown or doubtful scale."""

    cameras: Cameras
    """In pixels of the photos; confidence is the mean of `confidence` over the photo."""
    depth: Float[Tensor, "V h w"]
    """Along the optical axis, on the model's canvas; 0 where unknown."""
    confidence: Float[Tensor, "V h w"]
    """In [0, 1]; 0 outside the photo."""
    canvases: tuple[Canvas, ...]

    def depth_at(self, v: int, uv: Float[Tensor, "N 2"]) -> Float[Tensor, " N"]:
        """Depths of photo v at positions in it, of the nearest pixel; 0 where unknown or cut off."""
        height, width = self.depth.shape[1:]
        x, y = self.canvases[v].from_photo(uv).floor().long().unbind(1)
        seen = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        return torch.where(seen, self.depth[v, y.clamp(0, height - 1), x.clamp(0, width - 1)], 0.0)


def predicted(
    photos: Sequence[Float[Tensor, "_ _ 3"]],
    canvases: Sequence[Canvas],
    cam_from_world: Float[Tensor, "V n 4"],
    Ks: Float[Tensor, "V 3 3"],
    depth: Float[Tensor, "V h w"],
    evidence: Float[Tensor, "V h w"],
) -> Prediction:
    """A model's outputs, on its canvas, as a prediction for the photos.

    Args:
        cam_from_world: [V, 3, 4] or [V, 4, 4].
        Ks: in pixels of the canvas, first pixel's centre at (0.5, 0.5).
        evidence: the models' confidence c >= 1, which weighs the depth error in their training losses as
            c * error - a log c (DUSt3R, Wang et al., CVPR 2024, eq. 4); 1 means nothing is known.

    Raises:
        PoseError: a value is not finite, or a focal length not positive.
    """
    outputs = (cam_from_world, Ks, depth, evidence)
    finite = all(bool(values.isfinite().all()) for values in outputs)
    if not finite or not bool((Ks[:, [0, 1], [0, 1]] > 0).all()):
        raise PoseError(
            "The model gave cameras or depths that make no sense (not finite, or no focal length). Its weights may be "
            "damaged: delete and fetch them again, or take another backend (--poses auto)."
        )
    cam_from_world, Ks, depth, evidence = (values.detach().float().cpu() for values in outputs)
    height, width = depth.shape[1:]
    sizes = torch.tensor([[photo.shape[1], photo.shape[0]] for photo in photos])
    confidence = 1 - 1 / evidence.clamp(min=1)
    inside = torch.stack([_inside(c.in_photo(height, width), w, h) for c, (w, h) in zip(canvases, sizes.tolist())])
    confidence = confidence * inside
    poses = torch.eye(4).repeat(len(photos), 1, 1)
    poses[:, :3] = cam_from_world[:, :3]
    poses[:, :3, :3] = quat_to_rotmat(rotmat_to_quat(poses[:, :3, :3]))  # half precision leaves them a little skewed
    cameras = Cameras(
        poses,
        torch.stack([canvas.intrinsics_in_photo(K) for canvas, K in zip(canvases, Ks)]),
        sizes[:, 0],
        sizes[:, 1],
        torch.ones(len(photos), dtype=torch.bool),
        confidence.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1),
    )
    return Prediction(cameras, depth * inside, confidence, tuple(canvases))


def _inside(uv: Float[Tensor, "h w 2"], width: int, height: int) -> Tensor:
    return ((uv > 0) & (uv < torch.tensor([width, height]))).all(dim=-1)


def dense_points(
    photos: Sequence[Float[Tensor, "_ _ 3"]],
    prediction: Prediction,
    cameras: Cameras,
    depth_scale: Float[Tensor, " V"],
    *,
    count: int,
    seed: int,
) -> PointCloud:
    """About `count` of the prediction's points, drawn at random, seen through `cameras` and coloured by the photos.

    Args:
        cameras: of the photos, at their sizes; unregistered ones give no points.
        depth_scale: what each photo's depths are multiplied by to fit the world of `cameras`.
    """
    generator = torch.Generator().manual_seed(seed)
    share = max(1, count // max(1, int(cameras.registered.sum())))
    parts = []
    for v in torch.nonzero(cameras.registered).flatten().tolist():
        depth, confidence = prediction.depth[v].flatten(), prediction.confidence[v].flatten()
        known = torch.nonzero((depth > 0) & (confidence > 0)).flatten()
        sure = known[confidence[known].argsort(descending=True)[: round(SURE_SHARE * len(known))]]
        drawn = sure[torch.randperm(len(sure), generator=generator)[:share]]
        uv = prediction.canvases[v].in_photo(*prediction.depth.shape[1:]).reshape(-1, 2)[drawn]
        rays = torch.cat([uv, torch.ones(len(uv), 1)], dim=1) @ torch.linalg.inv(cameras.Ks[v]).T
        local = rays * (depth[drawn] * depth_scale[v])[:, None]
        pose = cameras.world_from_cam[v]
        xyz = local @ pose[:3, :3].T + pose[:3, 3]
        parts.append((xyz, photos[v][uv[:, 1].long(), uv[:, 0].long()], confidence[drawn]))
    if not parts:
        return PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    xyz, rgb, confidence = (torch.cat(column) for column in zip(*parts))
    return PointCloud(xyz, rgb, confidence)
