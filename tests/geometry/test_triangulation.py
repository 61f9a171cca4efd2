import math

import pytest
import torch

from recon.geometry import angle_between, inverse_se3, look_at, max_parallax, parallax_angles, project, triangulate_dlt

F64 = torch.float64


def rig(n: int, distance: float = 4.0, dtype: torch.dtype = F64) -> tuple[torch.Tensor, torch.Tensor]:
    angle = torch.linspace(0, 1.2, n, dtype=F64)
    eyes = torch.stack([angle.sin(), 0.1 * angle, -angle.cos()], -1) * distance
    up = torch.tensor([0.0, -1.0, 0.0], dtype=F64).expand(n, 3)
    K = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], dtype=F64)
    return look_at(eyes, torch.zeros(n, 3, dtype=F64), up).to(dtype), K.repeat(n, 1, 1).to(dtype)


@pytest.mark.parametrize("views", [2, 3, 6])
def test_exact_data_gives_exact_points(views):
    poses, Ks = rig(views)
    points = torch.randn(50, 3, dtype=F64)
    uv, _ = project(points, poses, Ks)
    assert torch.allclose(triangulate_dlt(uv, poses, Ks), points, atol=1e-10)


def test_far_from_the_origin_in_float32():
    """A scene 100 units from the origin keeps float32 accuracy relative to the cameras, not to the origin."""
    poses, Ks = rig(3)
    points = torch.randn(50, 3, dtype=F64)
    uv, _ = project(points, poses, Ks)
    move = torch.tensor([100.0, 50.0, -70.0], dtype=F64)
    moved = poses.clone()
    moved[:, :3, 3] -= (poses[:, :3, :3] @ move[:, None])[..., 0]
    found = triangulate_dlt(uv, moved, Ks)
    assert torch.allclose(found, points + move, atol=1e-9)
    found32 = triangulate_dlt(uv.float(), poses.float(), Ks.float())
    assert found32.dtype == torch.float32
    assert torch.allclose(found32.double(), points, atol=1e-4)


def test_noise_of_a_pixel_moves_points_by_about_a_pixel():
    poses, Ks = rig(4)
    points = torch.randn(200, 3, dtype=F64) * 0.5
    uv, _ = project(points, poses, Ks)
    found = triangulate_dlt(uv + torch.randn_like(uv), poses, Ks)
    # A pixel covers distance / focal = 4 / 500 units; depth is a few times worse.
    assert (found - points).norm(dim=-1).median() < 4 * 4 / 500


def test_hidden_views_do_not_count():
    poses, Ks = rig(3)
    points = torch.randn(4, 3, dtype=F64)
    uv, _ = project(points, poses, Ks)
    visible = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 0]], dtype=torch.bool)
    uv = torch.where(visible[..., None], uv, torch.full_like(uv, 7.0))  # nonsense where hidden
    found = triangulate_dlt(uv, poses, Ks, visible)
    assert torch.allclose(found[:3], points[:3], atol=1e-10)
    assert found[3].isnan().all()


def test_gradient_with_respect_to_pixels():
    poses, Ks = rig(3)
    uv, _ = project(torch.randn(2, 3, dtype=F64), poses, Ks)
    uv = (uv + 0.5 * torch.randn_like(uv)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: triangulate_dlt(x, poses, Ks), uv, atol=1e-6)


def test_no_points():
    poses, Ks = rig(2)
    assert triangulate_dlt(torch.zeros(2, 0, 2, dtype=F64), poses, Ks).shape == (0, 3)


def test_parallax_of_a_right_angle():
    a, b = torch.tensor([1.0, 0.0, 0.0], dtype=F64), torch.tensor([0.0, 1.0, 0.0], dtype=F64)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1e6]], dtype=F64)
    angles = parallax_angles(points, a, b)
    assert angles[0].item() == pytest.approx(math.pi / 2)
    assert angles[1].item() == pytest.approx(math.sqrt(2) / 1e6, rel=1e-6)  # acos would give 0


def test_max_parallax_is_the_largest_pair():
    poses, _ = rig(3)
    centers = inverse_se3(poses)[:, :3, 3]
    points = torch.randn(5, 3, dtype=F64) * 0.1
    pairs = [parallax_angles(points, centers[i], centers[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert torch.equal(max_parallax(points, centers), torch.stack(pairs).max(0).values)
    only_two = torch.tensor([True, True, False])[:, None].expand(3, 5)
    assert torch.equal(max_parallax(points, centers, only_two), pairs[0])
    assert max_parallax(points, centers[:1]).tolist() == [0.0] * 5


def test_opposite_directions_are_pi_apart():
    d = torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    assert angle_between(d, -d).item() == pytest.approx(math.pi)
    assert angle_between(d, 5 * d).item() == 0.0
