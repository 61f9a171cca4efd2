"""Some of the photos by themselves: what is tried on photos whose truth is known leaves one out.

What is left of a left-out photo: stereo found the others' depth with its help.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon.optimize.cameras import CameraParameters
from recon.stereo import StereoConfig
from recon.stereo.fuse import fuse
from recon.types import Cameras, DepthMaps, PosedScene


def between_others(cameras: Cameras, index: int) -> float:
    """In (0, 1]: 1 for a camera on the line between two others, about 1/9 for the end of an evenly spaced row.

    The square of how much of the detour by this camera, between the two others that make it largest, is their distance.
    """
    apart = torch.cdist(cameras.centers, cameras.centers)
    detour = (apart[index][:, None] + apart[index][None]).clamp_min(1e-12)
    share = apart / detour
    share[index], share[:, index] = 0, 0
    return max(1e-3, float(share.max().clamp(max=1)) ** 2)


def chosen_photos(
    scene: PosedScene, depths: DepthMaps | None, indices: Sequence[int]
) -> tuple[PosedScene, DepthMaps | None]:
    """Some of the photos with their depth, and the points that their depth makes."""
    masks = None if scene.masks is None else tuple(scene.masks[i] for i in indices)
    part = PosedScene(
        tuple(scene.names[i] for i in indices),
        tuple(scene.images[i] for i in indices),
        scene.cameras[indices],
        scene.points,
        masks,
    )
    if depths is None or depths.normals is None:
        return part, depths if depths is None else chosen_maps(depths, indices)
    maps = chosen_maps(depths, indices)
    cloud = fuse(part, maps, StereoConfig())
    return (replace(part, points=cloud) if len(cloud) else part), maps


def without_exposures(scene: PosedScene, cameras: CameraParameters) -> PosedScene:
    """Photos in the colours of the splats, with the cameras as they are now."""
    device = cameras.log_gains.device
    images = tuple(cameras.unexpose(image.to(device), i).clamp(0, 1).cpu() for i, image in enumerate(scene.images))
    return replace(scene, images=images, cameras=cameras.cameras().to("cpu"))


def in_front_of_black(scene: PosedScene, index: int) -> Float[Tensor, "_ _ 3"]:
    image = scene.images[index]
    return image if scene.masks is None else image * scene.masks[index][..., None]


def chosen_maps(depths: DepthMaps, indices: Sequence[int]) -> DepthMaps:
    """Of some of the photos."""
    normals = None if depths.normals is None else tuple(depths.normals[i] for i in indices)
    return DepthMaps(tuple(depths.depth[i] for i in indices), tuple(depths.confidence[i] for i in indices), normals)
