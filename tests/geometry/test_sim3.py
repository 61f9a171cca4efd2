import pytest
import torch

from recon.geometry import Sim3, exp_se3, exp_so3, project, umeyama
from recon.types import Cameras, PointCloud

F64 = torch.float64


def random_sim3() -> Sim3:
    return Sim3(torch.tensor(2.3, dtype=F64), exp_so3(torch.randn(3, dtype=F64)), torch.randn(3, dtype=F64))


def assert_same(a: Sim3, b: Sim3, atol: float = 1e-12) -> None:
    for x, y in ((a.scale, b.scale), (a.R, b.R), (a.t, b.t)):
        assert torch.allclose(x, y, atol=atol)


def test_exact_similarity_is_recovered():
    truth, points = random_sim3(), torch.randn(10, 3, dtype=F64)
    assert_same(umeyama(points, truth.apply_points(points)), truth)


def test_noise_is_fitted_better_than_by_the_truth():
    truth, points = random_sim3(), torch.randn(30, 3, dtype=F64)
    noisy = truth.apply_points(points) + 0.1 * torch.randn(30, 3, dtype=F64)

    def cost(sim: Sim3) -> torch.Tensor:
        return ((sim.apply_points(points) - noisy) ** 2).sum()

    found = umeyama(points, noisy)
    assert cost(found) < cost(truth)
    # A minimum: no small change of scale, rotation or translation improves it.
    for step in 1e-3 * torch.cat([torch.eye(7, dtype=F64), -torch.eye(7, dtype=F64)]):
        nearby = Sim3(found.scale * (1 + step[0]), exp_so3(step[1:4]) @ found.R, found.t + step[4:])
        assert cost(nearby) >= cost(found)


def test_mirrored_points_give_the_best_rotation_not_a_reflection():
    points = torch.randn(20, 3, dtype=F64)
    mirrored = points * torch.tensor([1.0, 1.0, -1.0], dtype=F64)
    found = umeyama(points, mirrored)
    assert torch.det(found.R).item() == pytest.approx(1.0)
    cost = ((found.apply_points(points) - mirrored) ** 2).sum()
    src, dst = points - points.mean(0), mirrored - mirrored.mean(0)
    for R in exp_so3(torch.randn(500, 3, dtype=F64) * 2):  # each with the scale that suits it best
        scale = ((src @ R.T) * dst).sum().clamp_min(0) / (src**2).sum()
        assert cost <= ((scale * src @ R.T - dst) ** 2).sum()


def test_planar_points_are_recovered():
    truth, points = random_sim3(), torch.randn(6, 3, dtype=F64) * torch.tensor([1.0, 1.0, 0.0], dtype=F64)
    assert_same(umeyama(points, truth.apply_points(points)), truth, 1e-11)


@pytest.mark.parametrize("n", [2, 5])
def test_collinear_points_fit_exactly_with_a_proper_rotation(n):
    truth = random_sim3()
    points = torch.randn(n, 1, dtype=F64) * torch.tensor([1.0, 2.0, -0.5], dtype=F64)
    found = umeyama(points, truth.apply_points(points))
    assert torch.allclose(found.apply_points(points), truth.apply_points(points), atol=1e-12)
    assert torch.det(found.R).item() == pytest.approx(1.0)
    assert found.scale.item() == pytest.approx(2.3)


def test_coinciding_points_give_a_shift():
    src, dst = torch.ones(3, 3), torch.full((3, 3), 2.0)
    found = umeyama(src, dst)
    assert found.scale.item() == 1.0
    assert torch.allclose(found.apply_points(src), dst)
    spread = umeyama(torch.randn(3, 3), dst)  # many points onto one
    assert spread.R.isfinite().all()
    assert torch.det(spread.R).item() == pytest.approx(1.0, abs=1e-6)


def test_weights_ignore_outliers_and_scale_can_be_fixed():
    truth, points = random_sim3(), torch.randn(10, 3, dtype=F64)
    target = truth.apply_points(points)
    target[0] += 100
    weights = torch.ones(10, dtype=F64)
    weights[0] = 0
    assert_same(umeyama(points, target, weights), truth)
    assert umeyama(points, target, with_scale=False).scale.item() == 1.0


def test_batches_are_fitted_one_by_one():
    src, dst = torch.randn(2, 4, 8, 3, dtype=F64)
    both = umeyama(src, dst)
    one = umeyama(src[2], dst[2])
    assert_same(Sim3(both.scale[2], both.R[2], both.t[2]), one)
    assert torch.allclose(both.apply_points(src)[2], one.apply_points(src[2]))


def test_gradient_of_the_fit():
    points = torch.randn(6, 3, dtype=F64)
    target = (random_sim3().apply_points(points) + 0.1 * torch.randn(6, 3, dtype=F64)).requires_grad_()

    def fit(dst):
        found = umeyama(points, dst)
        return found.scale, found.R, found.t

    assert torch.autograd.gradcheck(fit, target, atol=1e-6)


def test_group_axioms():
    a, b, c = random_sim3(), random_sim3(), random_sim3()
    assert_same(a.compose(b).compose(c), a.compose(b.compose(c)))
    assert_same(a.compose(a.inverse()), Sim3.identity(F64))
    points = torch.randn(5, 3, dtype=F64)
    assert torch.allclose(a.compose(b).apply_points(points), a.apply_points(b.apply_points(points)))


def test_moving_cameras_and_points_together_leaves_pictures_alone():
    poses = exp_se3(torch.randn(3, 6, dtype=F64))
    Ks = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], dtype=F64).repeat(3, 1, 1)
    cameras = Cameras.create(poses, Ks, 640, 480)
    points, sim = torch.randn(10, 3, dtype=F64), random_sim3()
    uv, z = project(points, poses, Ks)
    moved = sim.apply_cameras(cameras)
    moved_uv, moved_z = project(sim.apply_points(points), moved.cam_from_world, Ks)
    assert torch.allclose(moved_uv, uv, atol=1e-8)
    assert torch.allclose(moved_z, z * sim.scale)
    assert torch.allclose(moved.centers, sim.apply_points(cameras.centers), atol=1e-12)


def test_unregistered_cameras_stay_put():
    cameras = Cameras.create(exp_se3(torch.randn(2, 6, dtype=F64)), torch.eye(3, dtype=F64).repeat(2, 1, 1), 4, 4)
    cameras.registered[1] = False
    moved = random_sim3().apply_cameras(cameras)
    assert torch.equal(moved.cam_from_world[1], cameras.cam_from_world[1])
    assert not torch.equal(moved.cam_from_world[0], cameras.cam_from_world[0])


def test_cloud_moves_with_its_normals_and_spacing():
    sim = random_sim3()
    normals = torch.nn.functional.normalize(torch.randn(4, 3, dtype=F64), dim=-1)
    cloud = PointCloud(
        torch.randn(4, 3, dtype=F64),
        torch.rand(4, 3, dtype=F64),
        torch.ones(4, dtype=F64),
        normals,
        torch.ones(4, dtype=F64),
    )
    moved = sim.apply_cloud(cloud)
    assert torch.allclose(moved.spacing, torch.full((4,), 2.3, dtype=F64))
    tip = sim.apply_points(cloud.xyz + normals)
    assert torch.allclose((tip - moved.xyz) / 2.3, moved.normals, atol=1e-12)
