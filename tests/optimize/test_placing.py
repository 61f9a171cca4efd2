"""Placing photos after the first reconstruction, on a synthetic scene: right and wrong need an exact truth.

The scene is a corner of three speckled walls; photos are renderings of it, and pictures are matched with OpenCV's SIFT,
so that no weights are needed.
"""

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import Float
from optimize_scenes import rasterizer
from torch import Tensor

from recon.geometry.projection import project, unproject_depth
from recon.geometry.se3 import exp_se3, look_at
from recon.optimize import InitConfig
from recon.optimize.init import splats_from_points
from recon.optimize.placing import Photo, PlacingConfig, contradicted, look_again, relative_pose, surface_of
from recon.optimize.placing.candidates import chains, orbit_of, turns, viewing_sphere
from recon.optimize.placing.decide import Action, disagrees, moved_by
from recon.optimize.placing.evidence import WINDOW, local_correlation, occupied_cells, photometric
from recon.optimize.placing.resection import resect
from recon.render import render
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene, Splats

SIZE = (160, 120)
UP = torch.tensor([0.0, -1.0, 0.0])
CONFIG = PlacingConfig(search_side=160, confirm_side=160, elevations_deg=(0.0,), min_inliers=15)


class SiftPictures:
    """Pictures matched with SIFT and the ratio test."""

    def features(self, picture: Float[Tensor, "H W 3"], limit: int) -> Any:
        grey = (picture.mean(-1).clamp(0, 1) * 255).byte().numpy()
        return cv2.SIFT_create(nfeatures=limit, contrastThreshold=0.02).detectAndCompute(grey, None)  # type: ignore[attr-defined]

    def match(self, a: Any, b: Any) -> tuple[Float[Tensor, "M 2"], Float[Tensor, "M 2"]]:
        pairs = [] if a[1] is None or b[1] is None else cv2.BFMatcher().knnMatch(a[1], b[1], k=2)
        good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < 0.8 * p[1].distance]
        left = [a[0][m.queryIdx].pt for m in good]
        right = [b[0][m.trainIdx].pt for m in good]
        return torch.tensor(left).reshape(-1, 2) + 0.5, torch.tensor(right).reshape(-1, 2) + 0.5


def corner(seed: int) -> Splats:
    """Floor and two walls of the unit cube's inside, covered with speckles of random colours."""
    generator = torch.Generator().manual_seed(seed)
    n = 6000
    uv = torch.rand(3, n, 2, generator=generator) * 2
    zero = torch.zeros(n)
    walls = [
        (torch.stack([uv[0, :, 0], zero, uv[0, :, 1]], 1), torch.tensor([0.0, -1.0, 0.0])),
        (torch.stack([uv[1, :, 0], -uv[1, :, 1], zero], 1), torch.tensor([0.0, 0.0, 1.0])),
        (torch.stack([zero, -uv[2, :, 0], uv[2, :, 1]], 1), torch.tensor([1.0, 0.0, 0.0])),
    ]
    xyz = torch.cat([points for points, _ in walls])
    normals = torch.cat([normal.expand(n, 3) for _, normal in walls])
    speckles = 0.2 + 0.6 * torch.rand(len(xyz), 1, generator=generator).expand(-1, 3)
    tint = 0.2 * torch.rand(len(xyz), 3, generator=generator)
    spacing = torch.full((len(xyz),), 0.045)
    cloud = PointCloud(xyz, speckles + tint, torch.ones(len(xyz)), normals, spacing)
    return splats_from_points(cloud, InitConfig(opacity=0.98), sh_degree=0)


def cameras_at(azimuths_deg: list[float]) -> Cameras:
    """Cameras that look into the corner from directions about the vertical; 45 degrees is the middle."""
    angles = torch.tensor(azimuths_deg).deg2rad()
    focus = torch.tensor([0.6, -0.6, 0.6])
    eyes = focus + 3.0 * torch.stack([angles.cos(), torch.full_like(angles, -0.5), angles.sin()], 1)
    poses = look_at(eyes, focus.expand_as(eyes), UP.expand_as(eyes))
    K = torch.tensor([[185.0, 0, SIZE[0] / 2], [0, 185.0, SIZE[1] / 2], [0, 0, 1]])
    return Cameras.create(poses, K.repeat(len(poses), 1, 1), *SIZE)


def photographed(truth: Splats, cameras: Cameras) -> tuple[PosedScene, DepthMaps]:
    """Photos, depth and normals as perfect stereo would give them."""
    out = render(truth, cameras, rasterizer())
    images = tuple(image.clamp(0, 1) for image in out.rgb)
    sure = tuple((alpha > 0.95).float() for alpha in out.alpha)
    normals = tuple(normals_of(depth, cameras[v]) for v, depth in enumerate(out.depth))
    names = tuple(f"{v}.png" for v in range(len(cameras)))
    empty = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    return PosedScene(names, images, cameras, empty), DepthMaps(tuple(out.depth), sure, normals)


def normals_of(depth: Tensor, camera: Cameras) -> Tensor:
    xyz = unproject_depth(depth, camera.Ks[0], camera.cam_from_world[0])
    dx, dy = torch.gradient(xyz, dim=1)[0], torch.gradient(xyz, dim=0)[0]
    normals = torch.nn.functional.normalize(torch.linalg.cross(dx, dy), dim=-1)
    towards = ((camera.centers[0] - xyz) * normals).sum(-1, keepdim=True).sign()
    return normals * towards


@pytest.fixture(scope="module")
def reconstructed() -> tuple[PosedScene, DepthMaps]:
    return photographed(corner(0), cameras_at([5.0, 15.0, 25.0, 35.0]))


def unplaced(camera: Cameras) -> Cameras:
    return replace(camera, cam_from_world=torch.eye(4)[None], registered=torch.tensor([False]))


def test_a_photo_that_no_neighbour_pose_leads_to_is_found_by_the_search(reconstructed) -> None:
    scene, depths = reconstructed
    true = cameras_at([80.0])
    photo = render(corner(0), true, rasterizer()).rgb[0].clamp(0, 1)
    query = Photo(photo, unplaced(true))
    decision = look_again(query, scene, depths, range(4), SiftPictures(), rasterizer(), CONFIG)
    assert decision.action is Action.PLACED, decision
    assert decision.before is None
    found = decision.found
    assert found is not None
    assert moved_by(true.cam_from_world[0], found.cam_from_world) < 1.0
    projected, _ = project(found.xyz, true.cam_from_world[0], true.Ks[0])
    assert float((projected - found.uv).norm(dim=1).median()) < 2.0


def test_a_photo_of_something_else_is_left_out(reconstructed) -> None:
    scene, depths = reconstructed
    true = cameras_at([45.0])
    foreign = render(corner(7), true, rasterizer()).rgb[0].clamp(0, 1)
    query = Photo(foreign, unplaced(true))
    decision = look_again(query, scene, depths, range(4), SiftPictures(), rasterizer(), CONFIG)
    assert decision.action is Action.LEFT
    assert not decision.moves


def test_a_wrong_pose_is_contradicted_and_put_right_and_right_ones_are_confirmed() -> None:
    true = cameras_at([5.0, 20.0, 35.0, 50.0])
    scene, depths = photographed(corner(0), true)
    poses = true.cam_from_world.clone()
    poses[1] = turns(orbit_of(true, torch.zeros(1, 3) + 0.6), poses[1][None])[0]  # a quarter turn about the vertical
    wrong = replace(scene, cameras=replace(true, cam_from_world=poses))
    blind = list(depths.confidence)
    blind[1] = torch.zeros_like(blind[1])  # stereo finds nothing for a photo in the wrong place
    depths = replace(depths, confidence=tuple(blind))
    verdicts = contradicted(wrong, depths, rasterizer(), CONFIG)
    assert [disagrees(*verdict, CONFIG) for verdict in verdicts] == [False, True, False, False], verdicts
    photo = lambda v: Photo(scene.images[v], wrong.cameras[v])  # noqa: E731
    decision = look_again(photo(1), wrong, depths, [0, 2, 3], SiftPictures(), rasterizer(), CONFIG)
    assert decision.action is Action.MOVED
    assert decision.found is not None
    assert moved_by(true.cam_from_world[1], decision.found.cam_from_world) < 1.0
    kept = look_again(photo(2), wrong, depths, [0, 3], SiftPictures(), rasterizer(), CONFIG)
    assert kept.action is Action.CONFIRMED
    assert not kept.moves


def test_walls_do_not_show_from_behind(reconstructed) -> None:
    scene, depths = reconstructed
    surface = surface_of(scene, depths, [0, 1], rasterizer())
    assert surface is not None
    front = cameras_at([20.0])
    eye = torch.tensor([[-2.0, 1.5, -2.0]])  # behind both walls and under the floor
    behind = replace(front, cam_from_world=look_at(eye, torch.full((1, 3), 0.6), UP[None]))
    assert float((surface.look(front).alpha > 0.5).float().mean()) > 0.5
    assert float((surface.look(behind).alpha > 0.5).float().mean()) < 0.02
    nothing = replace(depths, confidence=tuple(torch.zeros_like(c) for c in depths.confidence))
    assert surface_of(scene, nothing, [0, 1], rasterizer()) is None


def test_the_viewing_sphere_surrounds_what_the_cameras_look_at() -> None:
    cameras = cameras_at([0.0, 30.0, 60.0])
    focus = torch.tensor([0.6, -0.6, 0.6])
    orbit = orbit_of(cameras, focus.repeat(5, 1))
    assert torch.allclose(orbit.focus, focus, atol=0.05)
    assert float(orbit.up @ UP) > 0.85
    poses = viewing_sphere(orbit, replace(CONFIG, radii=(0.8, 1.2), elevations_deg=(-20.0, 0.0)))
    assert len(poses) == 2 * 2 * 12
    in_camera = poses[:, :3, :3] @ orbit.focus + poses[:, :3, 3]
    assert float(in_camera[:, :2].abs().max()) < 1e-4
    distance = in_camera[:, 2] / orbit.radius
    assert torch.allclose(distance.sort().values, torch.tensor([0.8] * 24 + [1.2] * 24), atol=1e-4)
    half = turns(orbit, cameras.cam_from_world[:1])[1]
    center = -half[:3, :3].T @ half[:3, 3]
    apart = center + cameras.centers[0] - 2 * orbit.focus
    assert float((apart - (apart @ orbit.up) * orbit.up).norm()) < 1e-3


def test_a_chained_pose_is_among_the_candidates_when_its_length_is() -> None:
    cameras = cameras_at([0.0, 20.0])
    orbit = orbit_of(cameras, torch.zeros(1, 3) + 0.6)
    relative = cameras.cam_from_world[1] @ cameras.world_from_cam[0]
    length = float(relative[:3, 3].norm())
    scaled = replace(orbit, radius=2 * length)  # so that half a radius is the true length
    poses = chains(scaled, cameras.cam_from_world[:1], relative[None])
    assert min(float((pose - cameras.cam_from_world[1]).abs().max()) for pose in poses) < 1e-4


def test_resection_survives_outliers_and_finds_nothing_in_noise() -> None:
    camera, generator = cameras_at([30.0]), torch.Generator().manual_seed(1)
    xyz = torch.rand(80, 3, generator=generator) * torch.tensor([1.0, -1.0, 1.0])
    uv, _ = project(xyz, camera.cam_from_world[0], camera.Ks[0])
    noise = torch.rand(80, 2, generator=generator) * torch.tensor(SIZE)
    mixed = torch.where(torch.arange(80)[:, None] < 32, noise, uv)
    found = resect(mixed, xyz, camera.Ks[0], 2.0, seed=0)
    assert found is not None
    assert moved_by(camera.cam_from_world[0], found.cam_from_world) < 0.01
    assert bool(found.inliers[32:].all())
    lost = resect(noise, xyz, camera.Ks[0], 2.0, seed=0)
    assert lost is None or int(lost.inliers.sum()) < 15
    assert resect(uv[:5], xyz[:5], camera.Ks[0], 2.0, seed=0) is None


def test_relative_poses_come_from_matches() -> None:
    cameras, generator = cameras_at([0.0, 40.0]), torch.Generator().manual_seed(2)
    xyz = torch.rand(60, 3, generator=generator) * torch.tensor([1.0, -1.0, 1.0])
    uv, _ = project(xyz, cameras.cam_from_world, cameras.Ks)
    found = relative_pose(uv[0], uv[1], cameras.Ks[0], cameras.Ks[1])
    true = cameras.cam_from_world[1] @ cameras.world_from_cam[0]
    assert found is not None
    assert moved_by(true, found) < 0.1
    assert torch.allclose(found[:3, 3], true[:3, 3] / true[:3, 3].norm(), atol=1e-2)
    assert relative_pose(uv[0, :4], uv[1, :4], cameras.Ks[0], cameras.Ks[1]) is None


def test_local_correlation_is_that_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = torch.rand(2, 20, 24, generator=generator)
    b = 0.5 * a + 0.5 * b
    valid = torch.rand(20, 24, generator=generator) > 0.2
    found, textured = local_correlation(a, b, valid)
    half = WINDOW // 2
    for y, x in ((6, 7), (10, 12), (13, 18)):
        window = (slice(y - half, y + half + 1), slice(x - half, x + half + 1))
        inside = valid[window].numpy()
        expected = np.corrcoef(a[window].numpy()[inside], b[window].numpy()[inside])[0, 1]
        assert float(found[y, x]) == pytest.approx(expected, abs=1e-4)
        assert bool(textured[y, x])


def test_agreement_tells_the_same_view_from_another(reconstructed) -> None:
    scene, _ = reconstructed
    alpha = torch.ones(SIZE[1], SIZE[0])
    brighter = (0.8 * scene.images[0] + 0.1).clamp(0, 1)
    coverage, same = photometric(scene.images[0], brighter, alpha)
    _, other = photometric(scene.images[0], scene.images[3], alpha)
    assert coverage == 1.0
    assert same > 0.95
    assert other < CONFIG.min_agreement
    assert photometric(scene.images[0], brighter, 0 * alpha) == (0.0, 0.0)


def test_a_small_object_in_its_place_is_not_contradicted(reconstructed) -> None:
    scene, depths = reconstructed
    masks = tuple(torch.zeros(image.shape[:2]) for image in scene.images)
    for mask in masks:
        height, width = mask.shape
        mask[int(0.42 * height) : int(0.6 * height), int(0.4 * width) : int(0.62 * width)] = 1  # 4% of the photo
    small = replace(scene, masks=masks)
    verdicts = contradicted(small, depths, rasterizer(), CONFIG)
    assert not any(disagrees(*verdict, CONFIG) for verdict in verdicts), verdicts
    assert occupied_cells(torch.tensor([[1.0, 1.0], [2.0, 2.0], [158.0, 115.0]]), *map(float, SIZE)) == 2


def test_moved_by_measures_the_turn() -> None:
    pose = cameras_at([0.0]).cam_from_world[0]
    turned = exp_se3(torch.tensor([0.3, 0, 0, 0, math.radians(25), 0])) @ pose
    assert moved_by(pose, turned) == pytest.approx(25, abs=0.05)
