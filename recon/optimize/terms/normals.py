"""Surface orientation: of the rendered depth against stereo's, and from pixel to pixel."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.geometry.projection import unproject_depth
from recon.optimize.terms.base import Step, weighted_mean
from recon.types import Cameras

JUMP = 0.03
"""Relative difference between neighbours in depth from which there is an edge, and no normal across it."""
EDGE_GAIN = 10.0
"""How fast a change of colour (in [0, 1], summed over channels) releases the smoothness: exp(-gain * change)."""


def consistency_term(step: Step) -> Float[Tensor, ""]:
    """Mean of 1 - n . n' (2DGS, Huang et al. 2024, eq. 14), n' from stereo and weighted by its confidence.

    Deviation: 2DGS compares with the normals of its own discs; stereo's are fitted to the photos.
    """
    stereo = step.target.stereo
    if stereo is None or stereo.normals is None:
        return step.rgb.new_zeros(())
    normals, valid = normals_of_depth(step.view.depth, step.camera)
    known = valid & (stereo.normals.norm(dim=-1) > 0.5)
    return weighted_mean(1 - (normals * stereo.normals).sum(-1), stereo.confidence * known)


def smoothness_term(step: Step) -> Float[Tensor, ""]:
    """Mean of |n_p - n_q| over neighbouring pixels (as in DN-Splatter, Turkulainen et al. 2024), less where the photo
    changes colour (weights of Godard et al. 2017, eq. 6)."""
    normals, valid = normals_of_depth(step.view.depth, step.camera)
    return smoothness(normals, valid, step.target.rgb)


def smoothness(
    normals: Float[Tensor, "H W 3"], valid: Bool[Tensor, "H W"], photo: Float[Tensor, "H W 3"]
) -> Float[Tensor, ""]:
    """Mean over pairs in a row plus mean over pairs in a column."""
    total = normals.new_zeros(())
    for axis in (0, 1):
        turn, change = (torch.diff(values, dim=axis).abs().sum(-1) for values in (normals, photo))
        pairs = valid.shape[axis] - 1
        both = valid.narrow(axis, 0, pairs) & valid.narrow(axis, 1, pairs)
        total = total + weighted_mean(turn, torch.exp(-EDGE_GAIN * change) * both)
    return total


def normals_of_depth(
    depth: Float[Tensor, "H W"], camera: Cameras
) -> tuple[Float[Tensor, "H W 3"], Bool[Tensor, "H W"]]:
    """Unit normals in the world, towards `camera` (V = 1), from central differences; and where they mean something.

    At the rim, without a hit, and across edges there is none; the values there are finite.
    """
    points = unproject_depth(depth, camera.Ks[0], camera.cam_from_world[0])
    along_x = points[1:-1, 2:] - points[1:-1, :-2]
    along_y = points[2:, 1:-1] - points[:-2, 1:-1]
    # x to the right times y down points away from the camera. The norm has a gradient at 0 thanks to eps alone.
    normals = torch.nn.functional.normalize(-torch.linalg.cross(along_x, along_y), dim=-1, eps=1e-20)
    d = depth.detach()
    middle = d[1:-1, 1:-1]
    around = torch.stack([d[1:-1, 2:], d[1:-1, :-2], d[2:, 1:-1], d[:-2, 1:-1]])
    valid = (middle > 0) & ((around - middle).abs() < JUMP * middle).all(0)
    return torch.nn.functional.pad(normals, (0, 0, 1, 1, 1, 1)), torch.nn.functional.pad(valid, (1, 1, 1, 1))
