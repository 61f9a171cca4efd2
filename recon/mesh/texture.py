"""The photos painted onto the mesh.

Two bands, as in Baumberg (2002, "Blending images for texturing 3D models"): what is smooth in a photo is averaged over
all photos that see a place, so that exposures flow into each other; what is sharp comes almost wholly from the photo
that sees it best, so that cameras and surfaces that are a little off blur nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from scipy.ndimage import minimum_filter

from recon.geometry.projection import project
from recon.mesh.clean import averaging
from recon.mesh.coverage import cover, depth_map
from recon.mesh.surface import Surface, TexturedMesh
from recon.mesh.unwrap import Atlas
from recon.mesh.views import Shots
from recon.types import Cameras

SMOOTH_BAND = 0.015
"""Standard deviation that parts the bands, over the photo's longer side."""
MARGIN = 0.008
"""Width along silhouettes and edges of a photo, over its longer side, where it is trusted less and less."""
DEPTH_TOLERANCE = 0.01
"""Relative depth up to which a place counts as the surface that a photo sees."""
SHARPEN = 6
"""Power of the weights for the sharp band: near 1 everything is averaged, at infinity the best photo takes all."""
AGREE_ROUNDS = 8
"""How far weights spread along the mesh, in edges: neighbouring places then take the same photo."""
FAINT = 0.02
"""Weight below which the splats' own colour takes over."""


@dataclass(frozen=True)
class Photo:
    """A photo as it is sampled."""

    camera: Cameras
    """A single one, in pixels of the photo."""
    bands: Float[torch.Tensor, "1 7 H W"]
    """The photo, its smooth band, and how far each pixel can be trusted, in [0, 1]."""
    nearest: Float[torch.Tensor, "1 1 H W"]
    """Depth of the mesh."""

    def sample(self, points: Float[np.ndarray, "P 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour [P, 3] and smooth colour [P, 3] at world points, and trust [P]: 0 where they are not seen."""
        uv, z = project(torch.from_numpy(points), self.camera.cam_from_world[0], self.camera.Ks[0])
        size = torch.tensor([self.bands.shape[3], self.bands.shape[2]])
        at = (2 * uv / size - 1)[None, None]
        values = F.grid_sample(self.bands, at, padding_mode="zeros", align_corners=False)[0, :, 0].T.numpy()
        depth = F.grid_sample(self.nearest, at, mode="nearest", align_corners=False)[0, 0, 0]
        seen = (z > 1e-6) & (z < depth * (1 + DEPTH_TOLERANCE))
        return values[:, :3], values[:, 3:6], values[:, 6] * seen.numpy()


def bake(surface: Surface, atlas: Atlas, shots: Shots, texture_side: int) -> TexturedMesh:
    """Texture of the surface from the photos (inside their masks), and from its own colours where none sees it."""
    flat = Surface(surface.vertices[atlas.origin], atlas.faces, surface.colors[atlas.origin])
    texels, faces, weights = _texels(atlas, texture_side)
    corners = flat.faces[faces]
    points = _mixed(flat.vertices, corners, weights)
    photos = [prepare(surface, shots, v) for v in range(len(shots.photos))]
    scores = vertex_scores(surface, photos)
    smooth, sharp = np.zeros((len(points), 4), np.float32), np.zeros((len(points), 4), np.float32)
    for photo, score in zip(photos, scores):
        color, low, trust = photo.sample(points)
        weight = _mixed(score[atlas.origin, None], corners, weights) * trust[:, None]
        gain, one = _gain(surface, photo, score), np.ones_like(weight)
        smooth += np.concatenate([low * gain, one], axis=1) * weight
        sharp += np.concatenate([(color - low) * gain, one], axis=1) * weight**SHARPEN
    own = _mixed(flat.colors, corners, weights)
    colors = (smooth[:, :3] + FAINT * own) / (smooth[:, 3:] + FAINT)
    colors += sharp[:, :3] / (sharp[:, 3:] + FAINT**SHARPEN)
    return TexturedMesh(flat, atlas.uv, _painted(texels, colors, texture_side))


def _texels(atlas: Atlas, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texel, triangle and barycentric coordinates of all texels that belong to a triangle."""
    rows_down = np.stack([atlas.uv[:, 0], 1 - atlas.uv[:, 1]], axis=1) * side
    parts = list(cover(rows_down[atlas.faces], side, side))
    texels, faces, weights = (np.concatenate(column) for column in zip(*parts))
    return texels, faces, weights.astype(np.float32)


def _mixed(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> Float[np.ndarray, "P C"]:
    """Values at vertices [V, C] interpolated by barycentric coordinates."""
    return np.einsum("pkc,pk->pc", values[corners].astype(np.float32), weights)


def prepare(surface: Surface, shots: Shots, v: int) -> Photo:
    """Photo `v`: its bands, and its trust: less near silhouettes, jumps of the depth, its own rim and its mask's."""
    photo, camera = shots.photos[v], shots.cameras[v]
    height, width = photo.shape[:2]
    uv, z = project(torch.from_numpy(surface.vertices), camera.cam_from_world[0], camera.Ks[0])
    depth = depth_map(uv.numpy(), z.numpy(), surface.faces, width, height)
    usable = np.isfinite(depth) & ~_edges(depth)
    if shots.masks is not None:
        usable &= F.interpolate(shots.masks[v][None, None], size=(height, width), mode="area")[0, 0].numpy() > 0.5
    usable[[0, -1]] = usable[:, [0, -1]] = False
    longest = max(width, height)
    trust = (cv2.distanceTransform(usable.astype(np.uint8), cv2.DIST_L2, 5) / (MARGIN * longest)).clip(0, 1)
    sharp, blur = photo.numpy(), (SMOOTH_BAND * longest)
    share = cv2.GaussianBlur(usable.astype(np.float32), (0, 0), blur)
    smooth = cv2.GaussianBlur(sharp * usable[..., None], (0, 0), blur) / np.maximum(share, 1e-3)[..., None]
    bands = np.concatenate([sharp, smooth, trust[..., None]], axis=2).astype(np.float32)
    # The nearest of neighbouring pixels: what is beside an edge must not take the colour of what is before it.
    nearest = minimum_filter(np.where(np.isfinite(depth), depth, 0), 3).astype(np.float32)
    return Photo(camera, torch.from_numpy(bands).permute(2, 0, 1)[None], torch.from_numpy(nearest)[None, None])


def _edges(depth: Float[np.ndarray, "H W"]) -> np.ndarray:
    """Pixels beside a jump of the depth."""
    inverse = 1 / depth
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(inverse, kernel) - cv2.erode(inverse, kernel) > 0.05 * inverse


def vertex_scores(surface: Surface, photos: Sequence[Photo]) -> Float[np.ndarray, "V n"]:
    """How well each photo sees each vertex: head on, near and trusted; 1 for the best photo, alike among neighbours."""
    mean, normals = averaging(surface), surface.normals()
    scores = []
    for photo in photos:
        _, _, trust = photo.sample(surface.vertices)
        sight = photo.camera.centers[0].numpy() - surface.vertices
        distance = np.linalg.norm(sight, axis=1)
        facing = ((sight * normals).sum(1) / np.maximum(distance, 1e-12)).clip(0)
        score = trust * facing**2 * (float(photo.camera.Ks[0, 0, 0]) / np.maximum(distance, 1e-12)) ** 2
        scores.append(score.astype(np.float32))
    stacked = np.stack(scores, axis=1)
    for _ in range(AGREE_ROUNDS):
        stacked = 0.5 * (stacked + mean @ stacked)
    return (stacked / np.maximum(stacked.max(1, keepdims=True), 1e-12)).T.copy()


def _gain(surface: Surface, photo: Photo, score: Float[np.ndarray, " n"]) -> Float[np.ndarray, "3"]:
    """Factor per channel that brings the photo's exposure to that of the splats, which agree among the photos."""
    _, smooth, trust = photo.sample(surface.vertices)
    good = (trust * score > 0.5) & (smooth > 0.05).all(1)
    if good.sum() < 100:
        return np.ones(3, np.float32)
    return np.median(surface.colors[good] / smooth[good], axis=0).clip(0.67, 1.5).astype(np.float32)


def _painted(texels: np.ndarray, colors: np.ndarray, side: int) -> UInt8[np.ndarray, "T T 3"]:
    """The texture; what no triangle covers repeats its nearest neighbour, so that charts do not fade at their rims."""
    image = np.zeros((side * side, 3), np.uint8)
    image[texels] = np.rint(255 * colors.clip(0, 1)).astype(np.uint8)
    empty = np.ones(side * side, np.uint8)
    empty[texels] = 0
    _, labels = cv2.distanceTransformWithLabels(
        empty.reshape(side, side), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(labels.max() + 1, np.int64)
    filled = np.flatnonzero(empty == 0)
    source[labels.ravel()[filled]] = filled
    return image[source[labels.ravel()]].reshape(side, side, 3)
