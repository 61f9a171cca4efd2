"""Splats as PLY, in the layout of the 3D Gaussian Splatting paper (Kerbl et al. 2023) that every viewer opens.

One `vertex` per Gaussian, all float32: x y z nx ny nz, f_dc_0..2, f_rest_0..3K-1, opacity, scale_0..2, rot_0..3.
Values are the stored ones (logit opacity, log scales, unnormalised wxyz quaternion), so a round trip is exact.
`f_rest` is channel-major: all K coefficients of red, then of green, then of blue.
"""

import logging
from pathlib import Path

import numpy as np
import torch

from recon.compress.compressed_ply import is_compressed, read_compressed_ply
from recon.errors import InputError
from recon.plyio import columns_of, read_points, read_vertices, write_points, write_vertices
from recon.types import Splats

__all__ = ["read_ply", "read_points", "write_ply", "write_points"]

logger = logging.getLogger(__name__)

POSITION = ["x", "y", "z"]
NORMAL = ["nx", "ny", "nz"]
SH0 = ["f_dc_0", "f_dc_1", "f_dc_2"]
OPACITY = ["opacity"]
LOG_SCALE = ["scale_0", "scale_1", "scale_2"]
QUAT = ["rot_0", "rot_1", "rot_2", "rot_3"]
REQUIRED = POSITION + SH0 + OPACITY + LOG_SCALE + QUAT
REST_COUNTS = (0, 9, 24, 45)  # 3 ((degree + 1)^2 - 1) for degrees 0 to 3


def write_ply(path: Path | str, splats: Splats) -> None:
    """Write `splats` to `path`, atomically. Normals are written as zeros, as the layout demands.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    n_rest = 3 * splats.shN.shape[1]
    names = POSITION + NORMAL + SH0 + rest_names(n_rest) + OPACITY + LOG_SCALE + QUAT
    table = torch.cat(
        [
            splats.means,
            torch.zeros_like(splats.means),
            splats.sh0[:, 0],
            splats.shN.transpose(1, 2).reshape(len(splats), n_rest),
            splats.logit_opacities[:, None],
            splats.log_scales,
            splats.quats,
        ],
        dim=1,
    )
    rows = np.ascontiguousarray(table.detach().cpu().to(torch.float32).numpy(), dtype="<f4")
    write_vertices(path, rows.view(np.dtype([(name, "<f4") for name in names]))[:, 0])


def read_ply(path: Path | str) -> Splats:
    """Read splats written by `write_ply` or any program that keeps the layout; property order does not matter. A
    compressed PLY file (SuperSplat, PlayCanvas) is known by its properties.

    Gaussians with a non-finite position, scale, rotation or colour are left out with a logged warning.

    Raises:
        InputError: not a readable PLY file, or a PLY file of something else.
    """
    vertices = read_vertices(path)
    if is_compressed(vertices):
        return drop_broken(read_compressed_ply(Path(path), vertices), path)
    names = vertices.dtype.names or ()
    _check_is_splats(path, names)
    rest = rest_names(sum(name.startswith("f_rest_") for name in names))
    if len(rest) not in REST_COUNTS or not set(rest) <= set(names):
        raise InputError(
            f"{path} has {len(rest)} f_rest properties; spherical harmonics of degree 0 to 3 have "
            f"{', '.join(map(str, REST_COUNTS))}. Export it with degree 3 or lower."
        )
    splats = Splats(
        means=columns_of(vertices, POSITION),
        quats=columns_of(vertices, QUAT),
        log_scales=columns_of(vertices, LOG_SCALE),
        logit_opacities=columns_of(vertices, OPACITY)[:, 0],
        sh0=columns_of(vertices, SH0)[:, None],
        shN=columns_of(vertices, rest).reshape(len(vertices), 3, len(rest) // 3).transpose(1, 2).contiguous(),
    )
    return drop_broken(splats, path)


def ply_bytes(splats: Splats) -> int:
    """What `write_ply` would take for `splats`, less the header: what other formats are compared with."""
    return 4 * len(splats) * (len(REQUIRED) + len(NORMAL) + 3 * splats.shN.shape[1])


def rest_names(count: int) -> list[str]:
    """The names of `count` higher-order coefficients."""
    return [f"f_rest_{i}" for i in range(count)]


def drop_broken(splats: Splats, path: Path | str) -> Splats:
    """Leave out Gaussians that no renderer can draw. An infinite opacity logit (fully opaque) is fine, NaN is not."""
    keep = ~torch.isnan(splats.logit_opacities)
    for value in (splats.means, splats.quats, splats.log_scales, splats.sh0, splats.shN):
        keep &= torch.isfinite(value).flatten(1).all(1)
    if bool(keep.all()):
        return splats
    logger.warning("%s: left out %d of %d Gaussians with non-finite values", path, int((~keep).sum()), len(splats))
    return splats[keep]


def _check_is_splats(path: Path | str, names: tuple[str, ...]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if not missing:
        return
    if set(POSITION) <= set(names) and not {"opacity", "rot_0", "scale_0"} & set(names):
        raise InputError(
            f"{path} is a point cloud or mesh, not splats (found {', '.join(names)}). Give a Gaussian splat .ply."
        )
    raise InputError(f"{path} lacks {', '.join(missing)}, which Gaussian splats need. Give a Gaussian splat .ply.")
