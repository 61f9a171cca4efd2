"""One flat colour behind the scene in most photos goes far back; whatever else is unsure stays. Synthetic."""

from dataclasses import replace

import numpy as np
import torch

from recon.optimize.backdrop import BackdropConfig, set_back
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

HEIGHT, WIDTH = 60, 80
TOP = slice(0, 24)


def studio(flat_in: int, colors: tuple[float, ...] = (0.04, 0.04, 0.04)) -> tuple[PosedScene, DepthMaps]:
    """Three photos of noise at depth 2; the upper part of the first `flat_in` is flat, guessed to be at 1.5."""
    generator = torch.Generator().manual_seed(0)
    images, depths, confidences = [], [], []
    for view in range(3):
        image = torch.rand(HEIGHT, WIDTH, 3, generator=generator)
        depth, confidence = torch.full((HEIGHT, WIDTH), 2.0), torch.ones(HEIGHT, WIDTH)
        depth[TOP], confidence[TOP] = 1.5, 0.0
        if view < flat_in:
            image[TOP] = colors[view] + 0.002 * torch.randn(24, WIDTH, 3, generator=generator)
        images.append(image)
        depths.append(depth)
        confidences.append(confidence)
    cameras = Cameras.create(torch.eye(4).repeat(3, 1, 1), torch.eye(3).repeat(3, 1, 1), WIDTH, HEIGHT)
    points = PointCloud(torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1))
    scene = PosedScene(("a", "b", "c"), tuple(images), cameras, points)
    return scene, DepthMaps(tuple(depths), tuple(confidences))


def moved(scene: PosedScene, depths: DepthMaps, config: BackdropConfig | None = None) -> np.ndarray:
    """Share of the upper part that was moved, by photo."""
    _, after = set_back(scene, depths, config or BackdropConfig(), 0.2)
    for view in range(3):
        assert torch.equal(after.depth[view][24:], depths.depth[view][24:])
        changed = after.depth[view] != depths.depth[view]
        assert bool((after.depth[view][changed] == 2 * (config or BackdropConfig()).distance).all())
    return np.array([float((after.depth[v][TOP] != depths.depth[v][TOP]).float().mean()) for v in range(3)])


def test_a_flat_colour_in_two_of_three_photos_goes_behind_everything() -> None:
    shares = moved(*studio(2))
    assert (shares[:2] > 0.95).all()
    assert shares[2] == 0


def test_a_flat_part_of_one_photo_stays() -> None:
    assert (moved(*studio(1)) == 0).all()


def test_flat_parts_of_different_colours_stay() -> None:
    assert (moved(*studio(3, colors=(0.04, 0.5, 0.9))) == 0).all()


def test_what_stereo_is_sure_of_stays() -> None:
    scene, depths = studio(3)
    sure = replace(depths, confidence=tuple(torch.ones(HEIGHT, WIDTH) for _ in range(3)))
    assert (moved(scene, sure) == 0).all()


def test_a_flat_part_inside_the_photo_stays() -> None:
    scene, depths = studio(3)
    generator = torch.Generator().manual_seed(1)
    framed = []
    for image in scene.images:
        noisy = torch.rand(HEIGHT, WIDTH, 3, generator=generator)
        noisy[8:20, 10:70] = image[8:20, 10:70]
        framed.append(noisy)
    assert (moved(replace(scene, images=tuple(framed)), depths) == 0).all()


def test_points_that_would_be_seen_before_the_backdrop_are_dropped() -> None:
    scene, depths = studio(2)
    K = torch.tensor([[80.0, 0.0, 40.0], [0.0, 80.0, 30.0], [0.0, 0.0, 1.0]]).repeat(3, 1, 1)
    cameras = Cameras.create(torch.eye(4).repeat(3, 1, 1), K, WIDTH, HEIGHT)
    # Upper part, lower part, behind the camera, beside the picture; depths do not matter.
    xyz = torch.tensor([[0.0, -0.4, 2.0], [0.0, -1.0, 5.0], [0.0, 0.3, 2.0], [0.0, 0.4, -2.0], [9.0, -0.4, 2.0]])
    points = PointCloud(xyz, torch.zeros(5, 3), torch.ones(5), spacing=torch.arange(5.0))
    after, _ = set_back(replace(scene, cameras=cameras, points=points), depths, BackdropConfig(), 0.2)
    assert after.points.spacing is not None
    assert after.points.spacing.tolist() == [2, 3, 4]


def test_a_point_well_within_the_backdrop_stays_if_more_photos_are_sure_of_it_than_show_the_backdrop() -> None:
    scene, depths = studio(2)
    K = torch.tensor([[80.0, 0.0, 40.0], [0.0, 80.0, 30.0], [0.0, 0.0, 1.0]]).repeat(3, 1, 1)
    # All three are sure of a thing at depth 2 in the upper part's middle; the first has the backdrop's colour there.
    depth, confidence = [d.clone() for d in depths.depth], [c.clone() for c in depths.confidence]
    images = [image.clone() for image in scene.images]
    thing = (slice(8, 22), slice(30, 50))
    for view in range(3):
        depth[view][thing], confidence[view][thing] = 2.0, 1.0
    images[1][thing] = scene.images[2][thing]
    xyz = torch.tensor([[0.0, -0.45, 2.0], [0.0, -0.45, 1.8], [0.6, -0.45, 2.0], [0.0, -0.25, 2.0]])
    points = PointCloud(xyz, torch.zeros(4, 3), torch.ones(4), spacing=torch.arange(4.0))
    cameras = Cameras.create(torch.eye(4).repeat(3, 1, 1), K, WIDTH, HEIGHT)
    scene = replace(scene, images=tuple(images), cameras=cameras, points=points)
    depths = DepthMaps(tuple(depth), tuple(confidence))

    def kept(seen: DepthMaps) -> list[float]:
        spacing = set_back(scene, seen, BackdropConfig(), 0.2)[0].points.spacing
        assert spacing is not None
        return spacing.tolist()

    # Not what stands before that surface, nor what is beside it, nor what is beside the backdrop's rim.
    assert kept(depths) == [0]
    doubted = replace(depths, confidence=(confidence[0], confidence[1], torch.zeros(HEIGHT, WIDTH)))
    assert kept(doubted) == []  # one for it, one against


def test_it_can_be_turned_off() -> None:
    assert (moved(*studio(3), config=BackdropConfig(distance=0.0)) == 0).all()
