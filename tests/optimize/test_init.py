import pytest
import torch

from recon.errors import InputError
from recon.geometry.so3 import quat_to_rotmat
from recon.optimize.config import DensifyConfig, InitConfig
from recon.optimize.growth.gradient import choose_to_grow, split_in_two
from recon.optimize.init import quats_from_normals, sample_spacing, splats_from_points, thin_out, z_order
from recon.types import PointCloud, Splats


def cloud(n: int = 400, normals: bool = True) -> PointCloud:
    generator = torch.Generator().manual_seed(1)
    xyz = torch.rand(n, 3, generator=generator)
    unit = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    return PointCloud(
        xyz, torch.rand(n, 3, generator=generator), torch.rand(n, generator=generator), unit if normals else None
    )


def test_discs_lie_on_their_surface() -> None:
    points = cloud()
    splats = splats_from_points(points, InitConfig(), sh_degree=1)
    axes = quat_to_rotmat(splats.quats)
    thinnest = axes[torch.arange(len(splats)), :, splats.scales.argmin(1)]
    assert torch.allclose((thinnest * points.normals).sum(1).abs(), torch.ones(len(splats)), atol=1e-5)
    assert torch.allclose(splats.rgb, points.rgb, atol=1e-5)
    assert splats.shN.shape == (len(points), 3, 3)


def test_every_normal_has_a_rotation_even_straight_down() -> None:
    normals = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -1, 0], [0.6, 0, -0.8]])
    R = quat_to_rotmat(quats_from_normals(normals))
    assert torch.allclose(R[:, :, 2], normals, atol=1e-6)


def test_spacing_is_the_mean_distance_to_three_neighbours() -> None:
    points = cloud(60)
    distance = torch.cdist(points.xyz, points.xyz)
    naive = distance.sort(dim=1).values[:, 1:4].mean(1)
    expected = naive.clamp(max=3 * float(naive.median()))
    assert torch.allclose(sample_spacing(points), expected, atol=1e-5)


def test_a_lone_point_does_not_become_a_blob() -> None:
    points = cloud(50)
    xyz = torch.cat([points.xyz, torch.tensor([[100.0, 0, 0]])])
    lone = PointCloud(xyz, torch.rand(51, 3), torch.ones(51), spacing=torch.full((51,), 0.01))
    assert float(sample_spacing(lone)[-1]) <= 0.1 + 1e-6


def test_thinning_prefers_confident_points_and_keeps_the_number() -> None:
    points = cloud(2000)
    thin = thin_out(points, 500, seed=0)
    assert len(thin) == 500
    assert float(thin.confidence.mean()) > float(points.confidence.mean()) + 0.05
    assert torch.equal(thin.xyz, thin_out(points, 500, seed=0).xyz)


def test_no_points_is_an_input_error() -> None:
    empty = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    with pytest.raises(InputError):
        splats_from_points(empty, InitConfig(), 1)


def test_z_order_is_a_permutation_that_shortens_the_way() -> None:
    xyz = cloud(1000).xyz
    order = z_order(xyz)
    assert torch.equal(order.sort().values, torch.arange(1000))
    walk = lambda x: float((x[1:] - x[:-1]).norm(dim=1).sum())  # noqa: E731
    assert walk(xyz[order]) < 0.4 * walk(xyz)


def test_growth_takes_the_strongest_and_respects_the_room() -> None:
    gradient = torch.arange(100).float()
    config = DensifyConfig(grow_grad=10.0, grow_fraction=0.5)
    alive = torch.ones(100, dtype=torch.bool)
    alive[99] = False
    chosen = choose_to_grow(gradient, alive, config, room=7)
    assert chosen.nonzero()[:, 0].tolist() == list(range(92, 99))
    assert choose_to_grow(gradient, alive, config, room=0).sum() == 0


def test_a_split_keeps_the_mean_and_shrinks() -> None:
    points = PointCloud(torch.zeros(4000, 3), torch.rand(4000, 3), torch.ones(4000), spacing=torch.ones(4000))
    splats = splats_from_points(points, InitConfig(), 0)
    halves = split_in_two(splats, torch.Generator().manual_seed(0))
    assert len(halves) == 2 * len(splats)
    assert isinstance(halves, Splats)
    assert torch.allclose(halves.scales[: len(splats)], splats.scales / 1.6)
    spread = halves.means.std(0)
    assert torch.allclose(spread, splats.scales[0], rtol=0.05)
