"""Depth views to a surface: a truncated signed distance, averaged over the views, and its zero set.

After Curless and Levoy (1996): each view adds the distance to its surface along its line of sight, cut off at the
truncation; what lies further behind stays unknown, what lies before is free. Triangles come from marching cubes, and
only from cells whose eight corners are known, so that the mesh ends where knowledge does.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from recon.errors import InputError
from recon.geometry.projection import project, unproject_depth
from recon.mesh.config import MeshConfig
from recon.mesh.grid import BRICK, Space, bricks_at, space_around, unravel, voxels_of, with_neighbours
from recon.mesh.surface import Surface
from recon.mesh.views import DepthView

log = logging.getLogger(__name__)

CROSSING = 60.0
"""Degrees."""
TIGHT, LOOSE = (0.005, 0.02), (0.05, 0.2)
"""Share of points left outside the inner box at each end, and the room around the others: of an object, and else."""
PORTION = 400
"""Bricks that are integrated at once."""


def fuse(views: Sequence[DepthView], config: MeshConfig) -> Surface:
    """The surface that the views agree on.

    Raises:
        InputError: the views show no surface.
    """
    points = [_points(view) for view in views]
    seen = torch.cat(points)
    if len(seen) < 100:
        raise InputError(
            f"The splats show no surface: {len(seen)} pixels of {len(views)} views have a clear depth. "
            "Train longer (--quality standard), or check the masks and cameras in report.html."
        )
    masked = any(view.outside is not None for view in views)
    space = space_around(seen, config.resolution, *(TIGHT if masked else LOOSE))
    numbers = _active_bricks(views, points, space, config)
    if closed := silhouettes_cross(views):
        numbers = torch.unique(torch.cat([numbers, _hull_bricks(views, space)]))
    field, colors = _integrate(views, numbers, space, config, closed)
    surface = _zero_set(field.numpy(), colors.numpy(), numbers.numpy(), space)
    log.info("fused %d views in %d bricks: %d triangles", len(views), len(numbers), len(surface.faces))
    if len(surface.faces) == 0:
        raise InputError("The views of the splats agree on no surface. Train longer (--quality standard).")
    return surface


def _points(view: DepthView) -> Float[Tensor, "P 3"]:
    """World points of the pixels that have a depth."""
    world = unproject_depth(view.depth, view.camera.Ks[0], view.camera.cam_from_world[0])
    return world[view.depth > 0]


def _active_bricks(views: Sequence[DepthView], points: Sequence[Tensor], space: Space, config: MeshConfig) -> Tensor:
    """Bricks within the truncation of what some view sees, along the line of sight."""
    found = []
    for view, seen in zip(views, points):
        sight = torch.nn.functional.normalize(seen - view.camera.centers[0], dim=1)
        reach = config.truncation * space.stretch(seen)[:, None]
        for step in (-1.0, 0.0, 1.0):
            found.append(bricks_at(space.to_grid(seen + step * reach * sight), space.bricks))
    return torch.unique(torch.cat(found))


def silhouettes_cross(views: Sequence[DepthView]) -> bool:
    """Whether masks bound the object from all sides: two masked views look at least `CROSSING` across each other.

    What nobody saw then counts as inside the object as far as the masks allow (a visual hull), and the mesh is closed.
    Views from one side only would make the object a long tail.
    """
    sights = [view.camera.cam_from_world[0, 2, :3] for view in views if view.outside is not None]
    if not sights:
        return False
    cosine = (torch.stack(sights) @ torch.stack(sights).T).abs()
    return bool(cosine.min() < math.cos(math.radians(CROSSING)))


def _hull_bricks(views: Sequence[DepthView], space: Space) -> Tensor:
    """Bricks in the inner box that hold a place which no mask rules out."""
    all_bricks = torch.arange(math.prod(space.bricks))
    quarter = torch.cartesian_prod(*[torch.tensor([0.25, 0.75]) * BRICK] * 3)
    grid = BRICK * torch.stack(unravel(all_bricks, space.bricks), dim=-1)[:, None] + quarter
    world = space.to_world(grid.flatten(0, 1))
    boxed = space.holds(world)
    kept = torch.zeros(len(world), dtype=torch.bool)
    kept[boxed] = ~ruled_out(views, world[boxed])
    return all_bricks[kept.reshape(len(all_bricks), -1).any(1)]


def ruled_out(views: Sequence[DepthView], world: Float[Tensor, "P 3"]) -> Bool[Tensor, " P"]:
    """Places outside the object in one view's mask, or inside it in fewer than half of the masked views."""
    masked = [view for view in views if view.outside is not None]
    outside = torch.zeros(len(world), dtype=torch.bool)
    inside = torch.zeros(len(world), dtype=torch.int16)
    for view in masked:
        assert view.outside is not None, "chosen above"
        at, pixel, _ = _pixels(view, world)
        misses = view.outside.flatten()[pixel]
        outside[at] |= misses
        inside[at] += (~misses).to(inside)
    return outside | (2 * inside < len(masked))


def _integrate(
    views: Sequence[DepthView], numbers: Tensor, space: Space, config: MeshConfig, closed: bool
) -> tuple[Float[Tensor, "M B"], Float[Tensor, "M B 3"]]:
    """Signed distance in units of the truncation (positive before the surface), and colour; NaN where unknown."""
    masked = any(view.outside is not None for view in views)
    fields, colors = [], []
    for portion in numbers.split(PORTION):
        world = space.to_world(voxels_of(portion, space.bricks).flatten(0, 1))
        truncation = config.truncation * space.stretch(world)
        total = torch.zeros(len(world), 5)
        for view in views:
            _add_view(view, world, truncation, total)
        unknown = torch.where(space.holds(world), -1.0, 1.0) if closed else torch.full_like(truncation, torch.nan)
        field = torch.where(total[:, 1] > 0, total[:, 0] / total[:, 1], unknown)
        if masked:
            field[ruled_out(views, world)] = 1.0
        fields.append(field.reshape(len(portion), -1))
        colors.append((total[:, 2:] / total[:, 1:2]).reshape(len(portion), -1, 3))
    return torch.cat(fields), torch.cat(colors)


def _pixels(view: DepthView, world: Float[Tensor, "P 3"]) -> tuple[Int[Tensor, " I"], Int[Tensor, " I"], Tensor]:
    """Of the places in the picture: which they are, their pixel's number, and their depth."""
    uv, z = project(world, view.camera.cam_from_world[0], view.camera.Ks[0])
    height, width = view.depth.shape
    inside = (z > 1e-6) & (uv[:, 0] >= 0) & (uv[:, 0] < width) & (uv[:, 1] >= 0) & (uv[:, 1] < height)
    (at,) = inside.nonzero(as_tuple=True)
    return at, uv[at, 1].long() * width + uv[at, 0].long(), z[at]


def _add_view(view: DepthView, world: Float[Tensor, "P 3"], truncation: Tensor, total: Float[Tensor, "P 5"]) -> None:
    """Add weight * (distance, 1, colour) of one view to `total`."""
    at, pixel, z = _pixels(view, world)
    depth = view.depth.flatten()[pixel]
    distance = (depth - z) / truncation[at]
    use = (depth > 0) & (distance > -1)
    at, pixel, distance = at[use], pixel[use], distance[use].clamp(max=1)
    weight = view.weight.flatten()[pixel]
    colored = weight[:, None] * view.rgb.reshape(-1, 3)[pixel]
    total[at] += torch.cat([(weight * distance)[:, None], weight[:, None], colored], dim=1)


def _zero_set(field: np.ndarray, colors: np.ndarray, numbers: np.ndarray, space: Space) -> Surface:
    """Triangles of all bricks, joined along the bricks' sides."""
    import mcubes

    blocks = with_neighbours(field, numbers, space.bricks)
    known = ~np.isnan(blocks)
    corner = BRICK * np.stack(np.unravel_index(numbers, space.bricks), axis=-1)
    crossed = np.flatnonzero(
        (np.nanmin(blocks, (1, 2, 3), initial=1) < 0) & (np.nanmax(blocks, (1, 2, 3), initial=-1) > 0)
    )
    vertices, faces, count = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], 0
    for b in crossed:
        block_vertices, block_faces = mcubes.marching_cubes(np.where(known[b], blocks[b], 1.0), 0.0)
        block_faces = block_faces[:, ::-1].astype(np.int64)  # it winds them for values that fall outwards
        cell = (
            block_vertices[block_faces].mean(1).astype(np.int64).clip(0, BRICK - 1) if len(block_faces) else block_faces
        )
        whole = _whole_cells(known[b])[tuple(cell.T)]
        vertices.append(block_vertices + corner[b])
        faces.append(block_faces[whole] + count)
        count += len(block_vertices)
    return _joined(np.concatenate(vertices), np.concatenate(faces), colors, numbers, space)


def _whole_cells(known: np.ndarray) -> np.ndarray:
    """Cells [8, 8, 8] whose eight corners are known."""
    along_x = known[1:] & known[:-1]
    along_y = along_x[:, 1:] & along_x[:, :-1]
    return along_y[:, :, 1:] & along_y[:, :, :-1]


def _joined(grid: np.ndarray, faces: np.ndarray, colors: np.ndarray, numbers: np.ndarray, space: Space) -> Surface:
    """Vertices that two bricks made at one place become one; triangles that thereby vanish go."""
    keys = np.round(grid * 1000).astype(np.int64)
    _, first, where = np.unique(
        (keys[:, 0] << 42) | (keys[:, 1] << 21) | keys[:, 2], return_index=True, return_inverse=True
    )
    faces = where.reshape(-1)[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    at = grid[first]
    world = space.to_world(torch.from_numpy(at).float()).numpy()
    return Surface(world, faces, _colors_at(at, colors, numbers, space)).part(np.arange(len(faces)))


def _colors_at(at: np.ndarray, colors: np.ndarray, numbers: np.ndarray, space: Space) -> np.ndarray:
    """Colour of the voxel nearest to each grid coordinate; where no view saw it, of the nearest place that was seen."""
    voxel = np.floor(at).astype(np.int64)
    brick = np.ravel_multi_index(tuple((voxel // BRICK).T), space.bricks)
    local = np.ravel_multi_index(tuple((voxel % BRICK).T), (BRICK, BRICK, BRICK))
    found = colors[np.searchsorted(numbers, brick), local].clip(0, 1)
    seen = ~np.isnan(found[:, 0])
    if seen.any() and not seen.all():
        _, nearest = cKDTree(at[seen]).query(at[~seen])
        found[~seen] = found[seen][nearest]
    return np.nan_to_num(found, nan=0.5)
