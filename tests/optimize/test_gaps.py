"""Gaps are filled, but a guess never stands in front of what is sure."""

import math
from dataclasses import replace

import torch
from optimize_scenes import SIZE, arc_cameras, scene

from recon.geometry.projection import project
from recon.optimize.config import DensifyConfig, InitConfig, RateConfig
from recon.optimize.gaps import (
    BEYOND,
    FINE_BACK_OFF,
    Surface,
    Witness,
    back_off,
    depth_buffer,
    fill_gaps,
    hides,
    move_back,
    neighbour_pairs,
    views_between,
)
from recon.optimize.growth.select import make_densifier
from recon.optimize.init import splats_from_points
from recon.optimize.parameters import SplatParameters
from recon.types import DepthMaps, PointCloud


def test_no_photo_is_its_own_neighbour() -> None:
    cameras = arc_cameras(5)
    assert all(i < j for i, j in neighbour_pairs(cameras))
    twins = replace(cameras[[0, 0]], cam_from_world=cameras.cam_from_world[[0, 0]])
    assert neighbour_pairs(twins) == [(0, 1)]
    many = arc_cameras(30)
    far = many.cam_from_world.clone()
    far[:, :3, 3] -= (far[:, :3, :3] @ torch.tensor([0.0, 0.0, 300.0])[:, None])[..., 0]
    assert all(i < j for i, j in neighbour_pairs(replace(many, cam_from_world=far)))


def wall_surface(depth: float = 4.0) -> Surface:
    camera = arc_cameras(3)[[1]]
    return Surface(torch.full((SIZE[1], SIZE[0]), depth), camera.cam_from_world[0], camera.Ks[0])


def test_only_points_in_front_of_a_sure_surface_hide_it() -> None:
    xyz = torch.tensor([[0.0, 0, -2], [0.0, 0, 0], [0.0, 0, 3], [50.0, 0, -2], [0.0, 0, -9]])
    assert hides(xyz, [wall_surface()]).tolist() == [True, False, False, False, False]
    nothing_sure = replace(wall_surface(), depth=torch.full((SIZE[1], SIZE[0]), torch.inf))
    assert not hides(xyz, [nothing_sure]).any()


def test_points_move_back_along_their_ray_until_they_hide_nothing() -> None:
    center = torch.tensor([1.0, 0.5, -4.0])
    xyz = torch.tensor([[0.4, 0.2, -2.0], [0.1, 0.0, 1.0]])
    moved, standing = move_back(xyz, center, [wall_surface()])
    assert standing.all()
    assert not hides(moved, [wall_surface()]).any()
    assert torch.equal(moved[1], xyz[1])
    ray, before = moved[0] - center, xyz[0] - center
    assert torch.allclose(ray / ray.norm(), before / before.norm(), atol=1e-5)
    assert ray.norm() > before.norm()


def test_a_point_that_finds_no_place_is_given_up() -> None:
    away = torch.tensor([[0.0, 0.0, -3.9]])
    _, standing = move_back(away, torch.tensor([0.0, 0.0, -3.9 - 1e-6]), [wall_surface()])
    assert not standing.any()


def test_the_depth_buffer_is_the_nearest_point_of_each_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(300, 3, generator=generator) * 4 - 2
    camera = arc_cameras(3)[[0]]
    pose, K = camera.cam_from_world[0], camera.Ks[0]
    buffer = depth_buffer(xyz, pose, K, (SIZE[1], SIZE[0]))
    naive = torch.full((SIZE[1], SIZE[0]), torch.inf)
    for point in xyz:
        x, y, z = (pose[:3, :3] @ point + pose[:3, 3]).tolist()
        u, v = math.floor(K[0, 0] * x / z + K[0, 2]), math.floor(K[1, 1] * y / z + K[1, 2])
        if z > 0 and 0 <= u < SIZE[0] and 0 <= v < SIZE[1]:
            naive[v, u] = min(float(naive[v, u]), z)
    assert torch.allclose(buffer, naive, atol=1e-5)


def unsure_patch(guess: float | None) -> tuple[PointCloud, int]:
    """(points, how many were added) for the wall with a square of photo 1 unmatched.

    The square is filled at depth `guess`; None keeps the true one.
    """
    posed, depths, _ = scene()
    depth, confidence = list(depths.depth), list(depths.confidence)
    depth[1], confidence[1] = depth[1].clone(), confidence[1].clone()
    if guess is not None:
        depth[1][10:30, 20:40] = guess
    confidence[1][10:30, 20:40] = 0.1
    unsure = DepthMaps(tuple(depth), tuple(confidence))
    points = fill_gaps(posed, unsure, InitConfig(fill_stride=1))
    return points, len(points) - len(posed.points)


def test_a_gap_guessed_too_near_is_not_left_in_front() -> None:
    posed, _, _ = scene()
    points, added = unsure_patch(1.5)
    fresh = points.xyz[len(points) - added :]
    assert added > 0
    assert not hides(fresh, views_between(posed)).any()
    assert (points.confidence[len(points) - added :] == 0).all()


def test_a_gap_that_other_photos_cover_stays_empty_and_a_hidden_one_is_filled() -> None:
    _, covered = unsure_patch(None)
    _, hidden = unsure_patch(9.0)
    assert hidden > 350
    assert covered < 0.3 * hidden


def red_photo(depth: float) -> Witness:
    """A photo that is red all over; what it shows is sure at `depth`, or not if that is infinite."""
    red = torch.tensor([0.9, 0.1, 0.1]).expand(SIZE[1], SIZE[0], 3)
    return Witness.of(wall_surface(depth), red)


def test_a_photo_judges_what_it_would_show() -> None:
    xyz = torch.tensor([[0.0, 0, -2], [0.0, 0, -2], [0.0, 0, 5], [50.0, 0, -2]])
    rgb = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.1, 0.1, 0.9], [0.1, 0.1, 0.9]])
    seen, off = red_photo(4.0).judge(xyz, rgb)
    assert seen.tolist() == [True, True, False, False]  # behind the wall, and out of the frame
    assert off.tolist() == [False, True, False, False]
    seen, off = red_photo(torch.inf).judge(xyz, rgb)
    assert seen.tolist() == [True, True, True, False]
    assert off.tolist() == [False, True, True, False]


def test_a_guess_of_the_wrong_colour_moves_until_no_photo_would_show_it() -> None:
    center = torch.tensor([-3.0, 0.0, -4.0])
    guess = torch.tensor([[0.2, 0.0, -2.0], [0.2, 0.1, -2.0]])
    rgb = torch.tensor([[0.1, 0.1, 0.9], [0.9, 0.1, 0.1]])
    witness = red_photo(torch.inf)
    factor, judged = back_off(guess, rgb, center, [witness], [])
    assert judged.all()
    assert factor[1] == 1
    assert factor[0] > 1
    seen, _ = witness.judge(center + factor[:, None] * (guess - center), rgb)
    assert seen.tolist() == [False, True]
    least = factor[:1, None] / BEYOND
    free, _ = witness.judge(center + least * (guess[:1] - center), rgb[:1])
    assert not free.any()
    one_less, _ = witness.judge(center + least / FINE_BACK_OFF * (guess[:1] - center), rgb[:1])
    assert one_less.all()


def test_a_guess_goes_no_farther_than_it_must_where_it_would_hide_something() -> None:
    center = torch.tensor([-3.0, 0.0, -4.0])
    guess = torch.tensor([[0.2, 0.0, -2.0]])
    blue = torch.tensor([[0.1, 0.1, 0.9]])
    factor, _ = back_off(guess, blue, center, [red_photo(torch.inf)], [])
    beyond = center + factor[:, None] * (guess - center)
    towards_least = (center - beyond) * (1 - 1 / BEYOND)
    # A view from behind that place, with a sure wall between the two places: only the farther one hides it.
    turned = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    turned[:3, 3] = -turned[:3, :3] @ (beyond[0] + torch.tensor([0.0, 0.0, 2.0]))
    wall = Surface(torch.full((40, 40), float(2.0 - 0.5 * towards_least[0, 2])), turned, red_photo(1.0).surface.K)
    assert hides(beyond, [wall]).all()
    careful, _ = back_off(guess, blue, center, [red_photo(torch.inf)], [wall])
    assert careful < factor
    assert not hides(center + careful[:, None] * (guess - center), [wall]).any()


def test_what_no_photo_can_judge_goes_where_its_like_beside_it_goes() -> None:
    """Photo 0 has an unsure blue patch, guessed too near. Photo 1 sees a sure wall behind the right part of it, so that
    part must go back; it has the left part out of its frame."""
    posed, depths, _ = scene(2)
    images = [torch.full_like(image, 0.8) for image in posed.images]
    confidence = [torch.ones_like(c) for c in depths.confidence]
    blue, patch = torch.tensor([0.0, 0.0, 1.0]), (slice(10, 40), slice(30, 54))
    images[0][patch], confidence[0][patch] = blue, 0.0
    guessed = DepthMaps(
        (torch.full_like(depths.depth[0], 2.0), torch.full_like(depths.depth[1], 3.0)), tuple(confidence)
    )
    posed = replace(posed, images=tuple(images), points=posed.points[torch.zeros(0, dtype=torch.long)])
    points = fill_gaps(posed, guessed, InitConfig(fill_stride=1))
    camera = posed.cameras[0]
    uv, depth = project(points.xyz, camera.cam_from_world[0], camera.Ks[0])
    out_of_frame = uv[:, 0] < 40  # at a depth of 2, a point is 42 pixels farther left in photo 1
    assert int(out_of_frame.sum()) > 200
    assert float((depth[~out_of_frame] > 2.7).float().mean()) > 0.8
    assert float((depth[out_of_frame] > 2.4).float().mean()) > 0.8


def test_filling_can_be_switched_off() -> None:
    posed, depths, _ = scene()
    assert fill_gaps(posed, depths, InitConfig(fill_below=0.0)) is posed.points
    assert fill_gaps(posed, None, InitConfig()) is posed.points


def test_a_refinement_shrinks_fog_and_removes_what_no_photo_shows() -> None:
    cameras = arc_cameras(3)
    xyz = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [40.0, 0, 0], [0.0, 0, -9]])
    points = PointCloud(xyz, torch.rand(4, 3), torch.ones(4), spacing=torch.tensor([0.05, 3.0, 0.05, 0.05]))
    parameters = SplatParameters(splats_from_points(points, InitConfig(), 0), RateConfig(), 4.0)
    densifier = make_densifier(DensifyConfig(), 4, cameras, seed=0)
    densifier.refine(parameters, grow=False)
    left = parameters.splats().detach()
    assert len(left) == 2
    assert densifier.account.pruned["unseen"] == 2
    distance = torch.cdist(left.means, cameras.centers).amin(1)
    assert (left.scales.amax(1) <= DensifyConfig().max_angle * distance * 1.001).all()
