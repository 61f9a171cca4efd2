import pytest
import torch
from reference.geometry_loops import line_distance, project_point, unproject_pixel

from recon.geometry import (
    directions_in_camera,
    epipolar_distance,
    essential_from_poses,
    fundamental_from_cameras,
    inverse_se3,
    look_at,
    pixel_grid,
    pixel_rays,
    project,
    sampson_distance,
    unproject,
    unproject_depth,
)

F64 = torch.float64


def rig(n: int = 3, dtype: torch.dtype = F64) -> tuple[torch.Tensor, torch.Tensor]:
    """Cameras about 4 units from the origin, all looking near it; skewed, with differing focal lengths."""
    eyes = torch.nn.functional.normalize(torch.randn(n, 3, dtype=F64), dim=-1) * 4
    poses = look_at(eyes, 0.1 * torch.randn(n, 3, dtype=F64), torch.tensor([0.0, -1.0, 0.0], dtype=F64).expand(n, 3))
    Ks = torch.tensor([[500.0, 2.0, 310.0], [0, 480.0, 250.0], [0, 0, 1]], dtype=F64).repeat(n, 1, 1)
    Ks[:, 0, 0] += torch.arange(n) * 7
    return poses.to(dtype), Ks.to(dtype)


def test_project_matches_the_loop():
    poses, Ks = rig()
    points = torch.randn(6, 3, dtype=F64)
    uv, z = project(points, poses, Ks)
    assert uv.shape == (3, 6, 2)
    for i in range(3):
        for p in range(6):
            expected_uv, expected_z = project_point(points[p].tolist(), poses[i].tolist(), Ks[i].tolist())
            assert uv[i, p].tolist() == pytest.approx(expected_uv, rel=1e-12)
            assert z[i, p].item() == pytest.approx(expected_z, rel=1e-12)


def test_one_camera_and_a_batch_agree():
    poses, Ks = rig()
    points = torch.randn(6, 3, dtype=F64)
    uv, z = project(points, poses, Ks)
    one_uv, one_z = project(points, poses[1], Ks[1])
    assert torch.allclose(one_uv, uv[1])
    assert torch.allclose(one_z, z[1])


def test_unproject_inverts_project():
    poses, Ks = rig()
    points = torch.randn(6, 3, dtype=F64)
    uv, z = project(points, poses, Ks)
    assert torch.allclose(unproject(uv, z, Ks, poses), points.expand(3, 6, 3), atol=1e-12)


def test_unproject_depth_matches_the_loop():
    poses, Ks = rig(1)
    depth = torch.rand(4, 5, dtype=F64) + 1
    points = unproject_depth(depth, Ks[0], poses[0])
    for row in range(4):
        for column in range(5):
            expected = unproject_pixel(
                column + 0.5, row + 0.5, depth[row, column].item(), poses[0].tolist(), Ks[0].tolist()
            )
            assert points[row, column].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_unproject_depth_of_a_batch():
    poses, Ks = rig(2)
    depth = torch.rand(2, 4, 5, dtype=F64) + 1
    points = unproject_depth(depth, Ks, poses)
    # Up to rounding: libraries multiply many matrices in another order than one, on some processors.
    single = unproject_depth(depth[1], Ks[1], poses[1])
    assert torch.allclose(points[1], single, rtol=1e-12, atol=1e-12)


def test_first_pixel_centre_is_at_one_half():
    grid = pixel_grid(3, 4)
    assert grid.shape == (3, 4, 2)
    assert grid[0, 0].tolist() == [0.5, 0.5]
    assert grid[2, 3].tolist() == [3.5, 2.5]


def test_rays_pass_through_the_points_of_their_pixels():
    poses, Ks = rig(1)
    depth = torch.rand(4, 5, dtype=F64) + 1
    origin, directions = pixel_rays(4, 5, Ks[0], poses[0])
    offsets = unproject_depth(depth, Ks[0], poses[0]) - origin
    assert torch.allclose(offsets / offsets.norm(dim=-1, keepdim=True), directions, atol=1e-12)


def test_project_gradients():
    poses, Ks = rig(2)
    points = torch.randn(3, 3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(project, (points, poses.requires_grad_(), Ks.requires_grad_()), atol=1e-5)


def test_points_in_the_camera_plane_stay_finite():
    points = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, -1.0]], requires_grad=True)
    uv, z = project(points, torch.eye(4), torch.eye(3))
    assert uv.isfinite().all()
    assert z.tolist() == [0.0, -1.0]
    uv.sum().backward()
    assert points.grad.isfinite().all()


def test_epipolar_constraint_and_distances():
    poses, Ks = rig(2)
    points = torch.randn(8, 3, dtype=F64)
    uv, _ = project(points, poses, Ks)
    F = fundamental_from_cameras(poses[0], Ks[0], poses[1], Ks[1])
    assert epipolar_distance(F, uv[0], uv[1]).max() < 1e-9
    assert epipolar_distance(F.T, uv[1], uv[0]).max() < 1e-9
    assert sampson_distance(F, uv[0], uv[1]).max() < 1e-9
    shifted = uv[1] + torch.randn_like(uv[1]) * 3
    distances = epipolar_distance(F, uv[0], shifted)
    for p in range(8):
        expected = line_distance(F.tolist(), uv[0, p].tolist(), shifted[p].tolist())
        assert distances[p].item() == pytest.approx(expected, rel=1e-9)


def test_sampson_distance_is_the_least_correction_to_first_order():
    poses, Ks = rig(2)
    uv, _ = project(torch.randn(8, 3, dtype=F64), poses, Ks)
    F = fundamental_from_cameras(poses[0], Ks[0], poses[1], Ks[1])
    noisy_a, noisy_b = uv[0] + 0.01 * torch.randn_like(uv[0]), uv[1] + 0.01 * torch.randn_like(uv[1])
    sampson = sampson_distance(F, noisy_a, noisy_b)
    one_sided = torch.minimum(epipolar_distance(F, noisy_a, noisy_b), epipolar_distance(F.T, noisy_b, noisy_a))
    # Moving both points costs least: d^-2 = d_a^-2 + d_b^-2 exactly, by the definition of both.
    other = torch.maximum(epipolar_distance(F, noisy_a, noisy_b), epipolar_distance(F.T, noisy_b, noisy_a))
    assert torch.allclose(sampson**-2, one_sided**-2 + other**-2, rtol=1e-9)


def test_essential_matrix_of_directions():
    poses, Ks = rig(2)
    uv, _ = project(torch.randn(8, 3, dtype=F64), poses, Ks)
    a, b = directions_in_camera(uv, Ks)
    E = essential_from_poses(poses[0], poses[1])
    assert ((b @ E) * a).sum(-1).abs().max() < 1e-12
    singular = torch.linalg.svdvals(E)
    baseline = (inverse_se3(poses)[0, :3, 3] - inverse_se3(poses)[1, :3, 3]).norm()
    assert torch.allclose(singular, torch.stack([baseline, baseline, baseline * 0]), atol=1e-12)


def test_coinciding_cameras_have_no_epipolar_line():
    poses, Ks = rig(1)
    F = fundamental_from_cameras(poses[0], Ks[0], poses[0], Ks[0])
    assert torch.equal(
        epipolar_distance(torch.zeros_like(F), torch.ones(2, 2, dtype=F64), torch.ones(2, 2, dtype=F64)),
        torch.zeros(2, dtype=F64),
    )
    assert F.abs().max() < 1e-12
