"""From what marching cubes leaves to a mesh for other programs: no specks, no stairs, pinholes, needless faces."""

import logging

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from recon.mesh.config import MeshConfig
from recon.mesh.surface import Surface

log = logging.getLogger(__name__)

SHRINK, GROW = 0.5, -0.53
"""Taubin's lambda and mu (1995): a smoothing step, and one back that leaves the volume as it was."""


def clean(surface: Surface, config: MeshConfig) -> Surface:
    """Large parts only, smoothed, small holes closed, decimated."""
    surface = smooth(large_parts(surface, config.min_part), config.smoothing)
    return decimate(close_holes(surface, config.hole_edges), config.max_faces)


def neighbours(surface: Surface) -> sparse.csr_matrix:
    """Which vertices share an edge [V, V]: 1 where they do."""
    a, b, c = surface.faces.T
    rows, columns = np.concatenate([a, b, c, b, c, a]), np.concatenate([b, c, a, a, b, c])
    size = len(surface.vertices)
    matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (size, size))
    matrix.data[:] = 1
    return matrix


def averaging(surface: Surface) -> sparse.csr_matrix:
    """The matrix that replaces each vertex's value by the mean of its neighbours'."""
    matrix = neighbours(surface)
    count = np.asarray(matrix.sum(1)).ravel()
    return sparse.diags((1 / np.maximum(count, 1)).astype(np.float32)) @ matrix


def large_parts(surface: Surface, min_share: float) -> Surface:
    """Connected parts of at least `min_share` of the largest one's triangles.

    Triangles are counted as marching cubes made them: by area, a shred far outside, of large voxels, would be large.
    """
    _, part = connected_components(neighbours(surface), directed=False)
    of_face = part[surface.faces[:, 0]]
    count = np.bincount(of_face)
    return surface.part(count[of_face] >= min_share * count.max())


def smooth(surface: Surface, rounds: int) -> Surface:
    """Taubin's low-pass filter: takes the stairs of the voxels away without shrinking."""
    mean = averaging(surface)
    vertices = surface.vertices.astype(np.float32)
    for _ in range(rounds):
        for step in (SHRINK, GROW):
            vertices = vertices + step * (mean @ vertices - vertices)
    return Surface(vertices, surface.faces, surface.colors)


def close_holes(surface: Surface, max_edges: int) -> Surface:
    """Boundaries of at most `max_edges` edges closed by a fan around their middle.

    A part's outer rim is a boundary as well: a loop is closed only if it is not the longest of its part.
    """
    loops = boundary_loops(surface.faces)
    if not loops:
        return surface
    _, part = connected_components(neighbours(surface), directed=False)
    longest: dict[int, int] = {}
    for i, loop in enumerate(loops):
        best = longest.get(part[loop[0]])
        if best is None or len(loop) > len(loops[best]):
            longest[part[loop[0]]] = i
    rims = set(longest.values())
    chosen = [loop for i, loop in enumerate(loops) if len(loop) <= max_edges and i not in rims]
    return _with_fans(surface, chosen) if chosen else surface


def _with_fans(surface: Surface, loops: list[Int[np.ndarray, " _"]]) -> Surface:
    """Each loop filled with triangles to a new vertex in its middle."""
    first = len(surface.vertices)
    fans = [np.stack([np.roll(loop, -1), loop, np.full(len(loop), first + i)], 1) for i, loop in enumerate(loops)]
    middles = np.stack([surface.vertices[loop].mean(0) for loop in loops])
    colors = np.stack([surface.colors[loop].mean(0) for loop in loops])
    return Surface(
        np.concatenate([surface.vertices, middles]),
        np.concatenate([surface.faces, *fans]),
        np.concatenate([surface.colors, colors]),
    )


def boundary_loops(faces: Int[np.ndarray, "F 3"]) -> list[Int[np.ndarray, " _"]]:
    """Closed ways along edges with a triangle on one side only, in the triangles' direction.

    Where two boundaries touch in a vertex, both are left out: they are not simple.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    forward, backward = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    open_edges = edges[~np.isin(forward, backward)]
    following = dict(zip(*open_edges.T.tolist())) if len(open_edges) else {}
    ambiguous = set(np.flatnonzero(np.bincount(open_edges[:, 0], minlength=1) > 1).tolist())
    loops, done = [], set()
    for start in following:
        if start in done:
            continue
        loop, at = [], start
        while at in following and at not in done:
            done.add(at)
            loop.append(at)
            at = following[at]
        if at == start and len(loop) >= 3 and not ambiguous.intersection(loop):
            loops.append(np.array(loop))
    return loops


def decimate(surface: Surface, max_faces: int) -> Surface:
    """At most `max_faces` triangles, by quadric errors (Garland and Heckbert 1997)."""
    if len(surface.faces) <= max_faces:
        return surface
    import fast_simplification

    vertices, faces = fast_simplification.simplify(
        surface.vertices.astype(np.float32), surface.faces.astype(np.int32), target_count=max_faces
    )
    colors = _nearest_colors(surface, vertices)
    return Surface(vertices.astype(np.float32), faces.astype(np.int64), colors).part(np.arange(len(faces)))


def _nearest_colors(surface: Surface, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    _, nearest = cKDTree(surface.vertices).query(vertices)
    return surface.colors[nearest]
