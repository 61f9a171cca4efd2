"""A mesh laid flat: charts cut along seams and packed into a square, by xatlas (Young 2018)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from recon.mesh.surface import Surface

PIECE = 600
"""Triangles handed to xatlas at once. Its time grows with the square of a piece: 60 000 triangles took 25 CPU-s whole
and 2 in pieces of this size, with fewer charts."""
PADDING = 3
"""Texels between charts."""


@dataclass(frozen=True)
class Atlas:
    """Where a surface's triangles lie on the texture."""

    origin: Int[np.ndarray, " W"]
    """For each new vertex the one that it was: vertices on seams are there several times."""
    faces: Int[np.ndarray, "F 3"]
    """Of new vertices; the triangles are those of the surface, in another order."""
    uv: Float[np.ndarray, "W 2"]
    """In [0, 1], v upwards."""


def unwrap(surface: Surface, texture_side: int) -> Atlas:
    """Every triangle gets a place of its own on the texture."""
    import xatlas

    atlas = xatlas.Atlas()
    used = []
    for piece in _pieces(surface):
        vertices, faces = np.unique(surface.faces[piece], return_inverse=True)
        used.append(vertices)
        atlas.add_mesh(surface.vertices[vertices].astype(np.float32), faces.reshape(-1, 3).astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = texture_side, PADDING, True
    atlas.generate(pack_options=options)
    origins, corners, uvs, count = [], [], [], 0
    for i, vertices in enumerate(used):
        vertex_map, piece_faces, piece_uv = atlas.get_mesh(i)
        origins.append(vertices[vertex_map])
        corners.append(piece_faces.astype(np.int64) + count)
        uvs.append(piece_uv)
        count += len(vertex_map)
    # xatlas asks for the resolution, and may need a little more; it fits when both sides are scaled alike.
    scale = np.array([atlas.width, atlas.height], np.float32) / max(atlas.width, atlas.height)
    return Atlas(np.concatenate(origins), np.concatenate(corners), _upwards(np.concatenate(uvs) * scale))


def _upwards(uv: np.ndarray) -> np.ndarray:
    """From rows counted downwards to v counted upwards."""
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)


def _pieces(surface: Surface) -> list[Int[np.ndarray, " _"]]:
    """Triangles in groups of neighbours: halved along their longest extent until they are small."""
    middles = surface.corners().mean(1)
    done, left = [], [np.arange(len(surface.faces))]
    while left:
        group = left.pop()
        if len(group) <= PIECE:
            done.append(group)
            continue
        axis = int(np.ptp(middles[group], axis=0).argmax())
        ordered = group[np.argsort(middles[group, axis])]
        left += [ordered[: len(group) // 2], ordered[len(group) // 2 :]]
    return done
