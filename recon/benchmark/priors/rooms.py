"""Made-up rooms, cut out of photos: another one for each window, so that the network cannot learn scenes by heart.

Flat pieces and balls, wearing crops of photos or noise, stand in a box that wears some too. Rays are cast one by one at
twice the size, so what is drawn is exact: the same surfaces from every side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from recon.benchmark.priors.photographed import Photographed
from recon.data.folder import list_photos
from recon.errors import InputError
from recon.types import Cameras

Array = NDArray[np.floating]
ROOM = "room"
"""What they are all called."""
TEXTURE_PX = 256
VIEWS = 12
SUPERSAMPLED = 2


@dataclass(frozen=True)
class Piece:
    """A parallelogram `corner + a u + b v` with a and b in [0, 1], or a ball if `radius` is above 0."""

    corner: Array
    """Of a ball, its centre."""
    u: Array
    v: Array
    texture: Array
    """[T,T,3]."""
    radius: float = 0.0


def read_textures(folders: Sequence[Path]) -> list[Array]:
    """Photos whose crops rooms wear, in [0, 1].

    Raises:
        InputError: a folder holds no photos.
    """
    paths = [path for folder in folders for path in list_photos(folder)[0]]
    pictures = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths]
    found: list[Array] = [picture.astype(np.float32) / 255 for picture in pictures if picture is not None]
    if not found:
        raise InputError(f"There are no pictures in {', '.join(map(str, folders))}. Give a folder of photos.")
    return found


def make_room(textures: Sequence[Array], side: int, seed: int) -> Photographed:
    """A room seen by `VIEWS` cameras on an arc, `side` pixels long."""
    chance = np.random.default_rng(seed)
    pieces = [*_box(textures, chance), *_things(textures, chance)]
    height = round(side * chance.choice([0.67, 0.75, 1.0]) / 4) * 4
    cameras = _arc(side, height, chance)
    photos = torch.stack([_draw(pieces, cameras, view) for view in range(VIEWS)])
    return Photographed(ROOM, photos, cameras)


def _texture(textures: Sequence[Array], chance: np.random.Generator) -> Array:
    """A crop of a photo in other colours, or soft noise of a few sizes; some nearly plain."""
    if chance.random() < 0.75:
        photo = textures[int(chance.integers(len(textures)))]
        share = chance.uniform(0.15, 0.8) * min(photo.shape[:2])
        top, left = (chance.integers(0, int(edge - share) + 1) for edge in photo.shape[:2])
        crop = photo[top : top + int(share), left : left + int(share)]
        picture = cv2.resize(crop, (TEXTURE_PX, TEXTURE_PX), interpolation=cv2.INTER_AREA)
    else:
        picture = np.zeros((TEXTURE_PX, TEXTURE_PX, 3), np.float32)
        for cells in (4, 16, 64):
            noise = chance.random((cells, cells, 1), dtype=np.float32) + 0.3 * chance.random(
                (cells, cells, 3), dtype=np.float32
            )
            picture = picture + cv2.resize(noise, (TEXTURE_PX, TEXTURE_PX), interpolation=cv2.INTER_CUBIC) / 3
    contrast, shade = chance.uniform(0.1, 1.2), chance.uniform(0.1, 0.9) + chance.normal(0, 0.1, 3)
    picture = shade + contrast * (picture - picture.mean((0, 1)))
    return np.ascontiguousarray(picture.clip(0, 1), dtype=np.float32)


def _box(textures: Sequence[Array], chance: np.random.Generator) -> list[Piece]:
    """Floor, back and side walls of a box about the origin (y down); sometimes only a floor in the dark."""
    half, depth, rise = chance.uniform(1.2, 3.0), chance.uniform(0.8, 3.0), chance.uniform(1.5, 3.0)
    floor = Piece(_at(-half, 0.5, -half), _at(2 * half, 0, 0), _at(0, 0, half + depth), _texture(textures, chance))
    back = Piece(_at(-half, 0.5, depth), _at(2 * half, 0, 0), _at(0, -rise, 0), _texture(textures, chance))
    sides = [
        Piece(_at(x, 0.5, -half), _at(0, 0, half + depth), _at(0, -rise, 0), _texture(textures, chance))
        for x in (-half, half)
    ]
    return [floor] if chance.random() < 0.15 else [floor, back, *sides]


def _things(textures: Sequence[Array], chance: np.random.Generator) -> list[Piece]:
    """Boxes, balls, poles and leaves on the floor and in the air."""
    pieces = []
    for _ in range(chance.integers(2, 7)):
        place = _at(chance.uniform(-0.7, 0.7), 0.5, chance.uniform(-0.5, 0.7))
        size = chance.uniform(0.1, 0.45, 3)
        if chance.random() < 0.35:
            centre = place - _at(0, size[0], 0)
            pieces.append(Piece(centre, _at(1, 0, 0), _at(0, 1, 0), _texture(textures, chance), float(size[0])))
        else:
            pieces += _cuboid(place, size, chance.uniform(0, np.pi), textures, chance)
    for _ in range(chance.choice([0, 4, 30])):
        u, v = chance.normal(0, 0.12, (2, 3)).astype(np.float32)
        place = _at(*chance.uniform((-0.7, -0.5, -0.4), (0.7, 0.4, 0.6)))
        pieces.append(Piece(place, u, v, _texture(textures, chance)))
    return pieces


def _cuboid(
    place: Array, size: Array, turn: float, textures: Sequence[Array], chance: np.random.Generator
) -> list[Piece]:
    """Top and four sides of a box that stands at `place`."""
    x, z = size[0] * _at(np.cos(turn), 0, np.sin(turn)), size[2] * _at(-np.sin(turn), 0, np.cos(turn))
    up = _at(0, -2 * size[1], 0)
    low = place - (x + z) / 2
    edges = ((low, x, up), (low, z, up), (low + z, x, up), (low + x, z, up), (low + up, x, z))
    return [Piece(corner, u, v, _texture(textures, chance)) for corner, u, v in edges]


def _arc(width: int, height: int, chance: np.random.Generator) -> Cameras:
    """Cameras that look at the middle from an arc in front, OpenCV axes."""
    reach, distance = chance.uniform(0.3, 1.2), chance.uniform(1.3, 2.2)
    turns = np.sort(chance.uniform(-reach / 2, reach / 2, VIEWS)) + chance.normal(0, 0.2)
    lifts = chance.uniform(0.05, 0.7) + chance.normal(0, 0.08, VIEWS)
    eyes = np.stack([np.sin(turns) * np.cos(lifts), -np.sin(lifts), -np.cos(turns) * np.cos(lifts)], 1)
    eyes = eyes * (distance + chance.normal(0, 0.05, (VIEWS, 1)))
    forward = chance.normal(0, 0.05, (VIEWS, 3)) - eyes
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    rotations = np.stack([right, np.cross(forward, right), forward], 1)
    poses = np.tile(np.eye(4, dtype=np.float32), (VIEWS, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotations, -np.einsum("vij,vj->vi", rotations, eyes)
    focal = chance.uniform(0.8, 1.3) * width
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)
    return Cameras.create(torch.from_numpy(poses), K.repeat(VIEWS, 1, 1), width, height)


def _draw(pieces: Sequence[Piece], cameras: Cameras, view: int) -> torch.Tensor:
    """Photo `view`, by the nearest hit of each ray."""
    width, height = (int(side[view]) * SUPERSAMPLED for side in (cameras.width, cameras.height))
    K = cameras.Ks[view].numpy() * np.float32(SUPERSAMPLED)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5)
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1).reshape(-1, 3)
    rays = rays @ cameras.cam_from_world[view, :3, :3].numpy()
    eye = cameras.centers[view].numpy()
    nearest = np.full(len(rays), np.inf, np.float32)
    image = np.zeros((len(rays), 3), np.float32)
    for piece in pieces:
        depth, across = _hit_ball(piece, eye, rays) if piece.radius > 0 else _hit_flat(piece, eye, rays)
        closer = np.flatnonzero(depth < nearest)
        nearest[closer] = depth[closer]
        column, row = (across[closer] * (TEXTURE_PX - 1)).round().astype(np.int64).T
        image[closer] = piece.texture[row, column]
    picture = cv2.resize(image.reshape(height, width, 3), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(picture)


def _hit_flat(piece: Piece, eye: Array, rays: Array) -> tuple[Array, Array]:
    """Depth along each ray, infinite where it misses, and where it hits in [0, 1]^2."""
    normal = np.cross(piece.u, piece.v)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = ((piece.corner - eye) @ normal / (rays @ normal)).astype(np.float32)
        local = eye + depth[:, None] * rays - piece.corner
        basis = np.linalg.pinv(np.stack([piece.u, piece.v], 1)).astype(np.float32)
        across = local @ basis.T
    inside = (depth > 1e-3) & ((across >= 0) & (across <= 1)).all(1)
    return np.where(inside, depth, np.inf), across


def _hit_ball(piece: Piece, eye: Array, rays: Array) -> tuple[Array, Array]:
    """As `_hit_flat`; the texture goes round it by longitude and latitude."""
    to_eye = eye - piece.corner
    a, b, c = (rays * rays).sum(1), rays @ to_eye, to_eye @ to_eye - piece.radius**2
    root = b * b - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    where = np.nan_to_num((to_eye + np.where(root > 0, depth, 0)[:, None] * rays) / piece.radius)
    across = np.stack([np.arctan2(where[:, 2], where[:, 0]) / (2 * np.pi) + 0.5, where[:, 1].clip(-1, 1) / 2 + 0.5], 1)
    return np.where((depth > 1e-3) & (root > 0), depth, np.inf), across


def _at(x: float, y: float, z: float) -> Array:
    return np.array([x, y, z], np.float32)
