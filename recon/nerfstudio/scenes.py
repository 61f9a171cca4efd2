"""What nerfstudio and recon hand each other, without nerfstudio: scenes on disk, and cameras from world to world.

nerfstudio's cameras are camera-to-world with OpenGL axes (x right, y up, z backward), in a world with z up and about
one unit of distance to the scene. Ours stay in the world of their file; a similarity `ns_from_world` leads over.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from recon.data import Scene, open_scene, resize, transforms_json
from recon.data.formats.base import fit_to_files
from recon.data.formats.nerfstudio import photo_of
from recon.errors import InputError
from recon.geometry import Sim3, inverse_se3, normalizing_sim3
from recon.types import Cameras, ImageSet, PointCloud, PosedScene

RUN_CAMERAS = "cameras.json"
UPRIGHT_FROM_TIDY = torch.tensor(
    [[-(0.5**0.5), 0.0, -(0.5**0.5)], [0.5**0.5, 0.0, -(0.5**0.5)], [0.0, -1.0, 0.0]], dtype=torch.float64
)
"""From y down and the cameras on -z to z up and the cameras on (1, 1, 0), where nerfstudio's viewer starts."""
OPENCV_FROM_OPENGL = transforms_json.OPENCV_FROM_OPENGL


def open_data(path: Path) -> Scene:
    """The placed photos of a run folder (or of the photo folder that it lies in), of a file in the layout of
    transforms.json, or of a scene in any other format that recon reads.

    Raises:
        InputError: none of these, or damaged.
    """
    files = [path] if path.is_file() else [path / RUN_CAMERAS, path / "recon" / RUN_CAMERAS]
    found = next((file for file in files if file.is_file()), None)
    return open_scene(path) if found is None else _read_cameras(found)


def _read_cameras(file: Path) -> Scene:
    known = transforms_json.read_transforms(file, torch.float64)
    placed = [i for i in range(len(known.names)) if bool(known.cameras.registered[i])]
    if len(placed) < 2:
        raise InputError(f"{file} has cameras of {len(placed)} photos, at least 2 are needed. Give another scene.")
    photos = tuple(photo_of(file.parent, known.names[i]) for i in placed)
    masks = None if known.masks is None else [known.masks[i] for i in placed]
    return Scene(
        name=file.parent.name,
        format="recon",
        names=tuple(known.names[i] for i in placed),
        image_paths=photos,
        cameras=fit_to_files(known.cameras[placed], photos),
        indices=tuple(range(len(placed))),
        mask_paths=None if masks is None else tuple(None if m is None else file.parent / m for m in masks),
        points=known.points,
        distortion=None if known.distortion is None else known.distortion[placed],
    )


def upright_world(cameras: Cameras, points: PointCloud | None) -> Sim3:
    """`ns_from_world`: what the cameras look at is the origin, they are one unit away on average, z is up."""
    xyz = None if points is None else points.xyz.to(cameras.cam_from_world)
    tidy = normalizing_sim3(cameras, xyz)
    R = UPRIGHT_FROM_TIDY.to(tidy.R)
    return Sim3(tidy.scale, R @ tidy.R, R @ tidy.t)


def to_opengl(cameras: Cameras, ns_from_world: Sim3) -> Float[Tensor, "V 3 4"]:
    """Camera-to-world in nerfstudio's world, float32."""
    moved = _double(ns_from_world).apply_poses(cameras.cam_from_world.double().cpu())
    return (inverse_se3(moved) @ OPENCV_FROM_OPENGL)[:, :3].float()


def from_opengl(poses: Float[Tensor, "V 3 4"], ns_from_world: Sim3) -> Float[Tensor, "V 4 4"]:
    """`cam_from_world` in our world, float32. Inverse of `to_opengl`."""
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(len(poses), 1, 4)
    world_from_cam = torch.cat([poses.double().cpu(), last], dim=1) @ OPENCV_FROM_OPENGL
    return _double(ns_from_world).inverse().apply_poses(inverse_se3(world_from_cam)).float()


def _double(sim: Sim3) -> Sim3:
    return Sim3(sim.scale.double().cpu(), sim.R.double().cpu(), sim.t.double().cpu())


def lens_of(distortion: Float[Tensor, "V 8"] | None) -> Float[Tensor, "V 6"] | None:
    """nerfstudio's k1 k2 k3 k4 p1 p2, from OpenCV's k1 k2 p1 p2 k3 k4 k5 k6.

    Raises:
        InputError: a rational lens (k4 to k6), which nerfstudio does not straighten.
    """
    if distortion is None:
        return None
    if bool(distortion[:, 5:].any()):
        raise InputError("nerfstudio does not straighten lenses with k4, k5 or k6. Undistort the photos first.")
    k1, k2, p1, p2, k3 = distortion[:, :5].unbind(1)
    return torch.stack([k1, k2, k3, torch.zeros_like(k1), p1, p2], dim=1).float()


def training_scene(
    names: Sequence[str],
    pictures: Sequence[Float[Tensor, "_ _ _"]],
    masks: Sequence[Float[Tensor, "_ _"] | None],
    cameras: Cameras,
    points: PointCloud | None,
    max_side: int,
) -> PosedScene:
    """What the trainer takes: photos whose longest side is at most `max_side`, as `recon run` shrinks them.

    Args:
        pictures: [H, W, 3], or with alpha [H, W, 4], in [0, 1], at the cameras' sizes; alpha is a mask.
        masks: 1 on the object; they go before alpha. A photo without counts as a whole when others have one.
    """
    found = [_mask_of(picture, mask) for picture, mask in zip(pictures, masks, strict=True)]
    whole = [torch.ones(picture.shape[:2]) if mask is None else mask for picture, mask in zip(pictures, found)]
    images = ImageSet(
        tuple(names),
        tuple(picture[..., :3].contiguous() for picture in pictures),
        torch.full((len(names),), math.nan),
        torch.zeros(len(names), dtype=torch.int64),
        None if all(mask is None for mask in found) else tuple(whole),
    )
    images = resize(images, max_side)
    width = torch.tensor([image.shape[1] for image in images.images])
    height = torch.tensor([image.shape[0] for image in images.images])
    nothing = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    return PosedScene(images.names, images.images, cameras.resized(width, height), points or nothing, images.masks)


def _mask_of(picture: Float[Tensor, "H W C"], mask: Float[Tensor, "H W"] | None) -> Float[Tensor, "H W"] | None:
    if mask is None and picture.shape[2] == 4:
        return picture[..., 3].contiguous()
    return mask
