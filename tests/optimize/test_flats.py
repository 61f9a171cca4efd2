"""Planes are found among sure points, and guesses around them are put on them. Synthetic where truth is needed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon.benchmark.runs.sets import DEMO, open_set
from recon.geometry.projection import project, unproject_depth
from recon.optimize.flats import FlatsConfig, find_planes, onto_flats, plane_depths
from recon.stereo import StereoConfig, reconstruct
from recon.stereo.fill import fill
from recon.stereo.native import available
from recon.stereo.planes import slopes_of
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

HEIGHT, WIDTH = 60, 80
FLOOR, WALL = torch.tensor([0.0, -1.0, 0.0, 1.0]), torch.tensor([-0.6, 0.0, -0.8, 4.0])
"""y = 1, and a wall that slants away to the right."""
HIDDEN = (slice(0, 60), slice(50, 80))
"""What stereo did not match."""


def cameras() -> Cameras:
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, -0.3, 0.3])
    K = torch.tensor([[70.0, 0.0, WIDTH / 2], [0.0, 70.0, HEIGHT / 2], [0.0, 0.0, 1.0]])
    return Cameras.create(poses, K.repeat(3, 1, 1), WIDTH, HEIGHT)


def room(guess: float, noise: float = 0.0) -> tuple[PosedScene, DepthMaps, torch.Tensor]:
    """Three photos of a floor and a wall, of another grey each; in the first, the right part is unsure and guessed at
    `guess` times its depth. And that photo's true depth. `noise` is relative."""
    generator = torch.Generator().manual_seed(0)
    view = cameras()
    depth, images, xyz, normals = [], [], [], []
    for i in range(3):
        at = plane_depths(view, i, (HEIGHT, WIDTH), torch.stack([FLOOR, WALL]))
        z, which = torch.where(at > 0, at, torch.inf).min(dim=0)
        z = z * (1 + noise * torch.randn(z.shape, generator=generator))
        depth.append(z)
        images.append(torch.where(which == 0, 0.3, 0.7)[..., None].repeat(1, 1, 3))
        xyz.append(unproject_depth(z, view.Ks[i], view.cam_from_world[i]))
        normals.append(torch.stack([FLOOR[:3], WALL[:3]])[which])
    truth = depth[0].clone()
    depth[0][HIDDEN] *= guess
    confidence = [torch.ones(HEIGHT, WIDTH) for _ in range(3)]
    confidence[0][HIDDEN] = 0.0
    sure = torch.stack(confidence) > 0
    points = torch.stack(xyz)[sure]
    cloud = PointCloud(points, torch.zeros_like(points), torch.ones(len(points)), torch.stack(normals)[sure])
    return PosedScene(("a", "b", "c"), tuple(images), view, cloud), DepthMaps(tuple(depth), tuple(confidence)), truth


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    """Between two planes, in degrees."""
    return float(torch.rad2deg(torch.arccos((a[:3] @ b[:3]).abs().clamp(max=1))))


def test_the_planes_of_a_room_are_found() -> None:
    scene, _, _ = room(1.0, noise=0.002)
    found = find_planes(scene.points, scene.cameras, FlatsConfig())
    assert len(found) == 2
    assert torch.allclose(found[:, :3].norm(dim=1), torch.ones(2), atol=1e-5)
    for truth in (FLOOR, WALL):
        best = min(found, key=lambda plane: angle(plane, truth))
        assert angle(best, truth) < 0.3
        assert abs(float(best[3].abs() - truth[3].abs())) < 0.01


def test_the_same_planes_for_the_same_seed() -> None:
    scene, _, _ = room(1.0, noise=0.002)
    first, again = (find_planes(scene.points, scene.cameras, FlatsConfig(), seed=4) for _ in range(2))
    assert torch.equal(first, again)


def test_no_planes_in_a_ball_in_scattered_points_or_without_normals() -> None:
    generator = torch.Generator().manual_seed(1)
    ball = torch.nn.functional.normalize(torch.randn(5000, 3, generator=generator), dim=1)
    middle = torch.tensor([0.0, 0.0, 4.0])
    grey, sure = torch.full((5000, 3), 0.5), torch.ones(5000)
    rounded = PointCloud(middle + ball, grey, sure, ball)
    assert len(find_planes(rounded, cameras(), FlatsConfig(tolerance=0.003))) == 0
    scattered = PointCloud(middle + 2 * torch.rand(5000, 3, generator=generator), grey, sure, ball)
    assert len(find_planes(scattered, cameras(), FlatsConfig())) == 0
    scene, depths, _ = room(1.3)
    bare = replace(scene, points=replace(scene.points, normals=None))
    assert onto_flats(bare, depths, FlatsConfig(), 0.2) is depths
    empty = replace(scene, points=scene.points[torch.zeros(0, dtype=torch.long)])
    assert onto_flats(empty, depths, FlatsConfig(), 0.2) is depths


@pytest.mark.parametrize("guess", [0.6, 1.3])
def test_guesses_come_onto_the_planes_around_them(guess: float) -> None:
    scene, depths, truth = room(guess)
    moved = onto_flats(scene, depths, FlatsConfig(), 0.2)
    off = (moved.depth[0][HIDDEN] / truth[HIDDEN] - 1).abs()
    assert float((off < 0.01).float().mean()) > 0.97
    sure = depths.confidence[0] > 0
    assert torch.equal(moved.depth[0][sure], depths.depth[0][sure])
    assert all(torch.equal(moved.depth[view], depths.depth[view]) for view in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(moved.confidence, depths.confidence))


def test_a_plane_does_not_change_a_guess_beyond_its_reach() -> None:
    scene, depths, _ = room(3.5)
    moved = onto_flats(scene, depths, FlatsConfig(), 0.2)
    assert torch.equal(moved.depth[0], depths.depth[0])


def test_guesses_among_what_lies_on_no_plane_stay() -> None:
    """The sure pixels of the first photo lie halfway to the planes that the other two see."""
    scene, depths, truth = room(1.0)
    bush = replace(depths, depth=(0.5 * truth, *depths.depth[1:]))
    moved = onto_flats(scene, bush, FlatsConfig(), 0.2)
    assert torch.equal(moved.depth[0], bush.depth[0])


def test_it_can_be_switched_off() -> None:
    scene, depths, _ = room(1.3)
    assert onto_flats(scene, depths, FlatsConfig(planes=0), 0.2) is depths
    assert onto_flats(scene, depths, FlatsConfig(), 0.0) is depths


@pytest.mark.skipif(not available(), reason="needs the native library")
def test_hidden_parts_of_a_real_facade_are_guessed_better(demo_images: Path) -> None:
    """A third of a photo of the door, taken away from stereo: against what is carried over from the rest, by what
    stereo had found there. Below there is the ground, a plane. Elsewhere are mouldings, and slopes carry over well:
    there it must do no harm."""
    posed, depths = demo_depths()
    errors = {
        third: torch.tensor([hidden_errors(posed, depths, view, third) for view in range(3)]).mean(dim=0)
        for third in ("left", "right", "lower")
    }
    carried, flat = errors["lower"].tolist()
    assert flat < 0.85 * carried
    carried, flat = sum(errors.values()).tolist()
    assert flat < 1.05 * carried


def demo_depths() -> tuple[PosedScene, DepthMaps]:
    """Three photos of the demo, small, with given cameras, their depth and the points fused of it."""
    photos, split = open_set(DEMO, "3", max_side=240).scenes[0]
    row = photos.at(split.input_views)
    exact = row.cameras
    single = replace(exact, cam_from_world=exact.cam_from_world.float(), Ks=exact.Ks.float())
    nothing = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    posed = PosedScene(("a", "b", "c"), tuple(row.image(i) for i in range(3)), single, nothing)
    depths, points = reconstruct(posed, StereoConfig())
    return replace(posed, points=points), depths


def hidden_errors(posed: PosedScene, depths: DepthMaps, view: int, third: str) -> tuple[float, float]:
    """Mean relative error of depth in a third of photo `view` that is made unsure: (carried over, on planes). Errors
    over 0.5 count as that."""
    depth, confidence = depths.depth[view], depths.confidence[view]
    height, width = depth.shape
    known = (confidence >= 0.2) & (depth > 0)
    hidden = torch.zeros_like(known)
    rows, columns = {
        "left": (slice(None), slice(0, width // 3)),
        "right": (slice(None), slice(2 * width // 3, None)),
        "lower": (slice(2 * height // 3, None), slice(None)),
    }[third]
    hidden[rows, columns] = True

    inverse = torch.where(known, 1 / depth.clamp_min(1e-9), 0.0)
    planes = torch.cat([inverse[..., None], slopes_of(inverse)], dim=-1)
    beside_nothing = -torch.nn.functional.max_pool2d(-(known & ~hidden).float()[None], 3, 1, 1)[0]
    carried = 1 / fill(planes, confidence * beside_nothing, 255 * posed.images[view].mean(dim=2))[..., 0]
    told, trusted = list(depths.depth), list(depths.confidence)
    told[view], trusted[view] = torch.where(hidden, carried, depth), confidence * ~hidden
    guessed = replace(depths, depth=tuple(told), confidence=tuple(trusted))

    uv, _ = project(posed.points.xyz, posed.cameras.cam_from_world[view], posed.cameras.Ks[view])
    column, row = uv[:, 0].long().clamp(0, width - 1), uv[:, 1].long().clamp(0, height - 1)
    seen = replace(posed, points=posed.points[~hidden[row, column]])
    moved = onto_flats(seen, guessed, FlatsConfig(), 0.2).depth[view]
    judged = hidden & known
    errors = [(guess[judged] / depth[judged] - 1).abs().clamp(max=0.5).mean() for guess in (carried, moved)]
    return float(errors[0]), float(errors[1])
