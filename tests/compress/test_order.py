"""The order of Gaussians in a file, the form in which each is stored, and what neighbours cost."""

from dataclasses import replace

import pytest
import torch

from recon.compress.codes import QuantiseConfig
from recon.compress.order import canonical, curve_order, hilbert
from recon.compress.smoothness import unlikeness
from recon.geometry.so3 import quat_to_rotmat
from recon.types import Splats


def blobs(n: int = 200) -> Splats:
    g = torch.Generator().manual_seed(1)
    return Splats(
        torch.rand(n, 3, generator=g),
        torch.randn(n, 4, generator=g),
        torch.randn(n, 3, generator=g) - 3,
        torch.randn(n, generator=g),
        torch.randn(n, 1, 3, generator=g),
        torch.zeros(n, 0, 3),
    )


def covariances(splats: Splats) -> torch.Tensor:
    axes = quat_to_rotmat(torch.nn.functional.normalize(splats.quats.double(), dim=1))
    return (axes * splats.scales.double().square()[:, None]) @ axes.mT


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_the_curve_visits_every_cell_and_never_jumps(bits: int) -> None:
    cells = torch.cartesian_prod(*[torch.arange(1 << bits)] * 3)
    places = hilbert(cells, bits)
    assert torch.equal(places.sort().values, torch.arange(8**bits))
    steps = cells[places.argsort()].diff(dim=0).abs().sum(1)
    assert steps.unique().tolist() == [1]


def test_neighbours_on_the_curve_are_near() -> None:
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    order = curve_order(points)
    assert torch.equal(order.sort().values, torch.arange(500))
    assert float(points[order].diff(dim=0).norm(dim=1).mean()) < 0.35 * float(points.diff(dim=0).norm(dim=1).mean())
    assert len(curve_order(points[:0])) == 0


def test_the_canonical_form_is_the_same_gaussian() -> None:
    splats = blobs()
    same = canonical(splats)
    torch.testing.assert_close(covariances(same), covariances(splats), rtol=1e-4, atol=1e-9)
    assert bool((same.log_scales.diff(dim=1) <= 0).all())
    assert torch.equal(same.quats.abs().argmax(1), torch.zeros(200, dtype=torch.int64))
    assert bool((same.quats[:, 0] > 0).all())
    again = canonical(same)
    torch.testing.assert_close(again.quats, same.quats)
    assert torch.equal(again.log_scales, same.log_scales)


def test_the_24_ways_to_write_a_gaussian_become_one() -> None:
    splats = blobs(50)
    half = torch.tensor([0.0, 1.0, 0.0, 0.0])  # about the first axis
    w, x, y, z = splats.quats.unbind(1)
    turned = torch.stack([-x, w, z, -y], 1)
    assert float((quat_to_rotmat(half) - torch.diag(torch.tensor([1.0, -1, -1]))).abs().max()) < 1e-6
    torch.testing.assert_close(canonical(replace(splats, quats=turned)).quats, canonical(splats).quats)


def test_unlikeness_counts_differences_to_neighbours() -> None:
    config = QuantiseConfig(rotation_steps=31, opacity_steps=15, scale_step=0.1, thin=4, color_step=0.05)
    one = canonical(blobs(1))
    flat = Splats.cat([one] * 12)
    assert float(unlikeness(flat, config, 4)) == 0
    brighter = replace(flat, sh0=flat.sh0.clone())
    brighter.sh0[5, 0, 1] += 0.05  # one step of green, which red and blue are told from
    # Two neighbours in the row and two above and below, three channels that differ by one: log2(2) / 2 each.
    assert float(unlikeness(brighter, config, 4)) == pytest.approx(4 * 3 * 0.5 / 2 / 12, rel=1e-4)


def test_unlikeness_pulls_neighbours_together() -> None:
    config = QuantiseConfig(rotation_steps=31, opacity_steps=15, scale_step=0.1, color_step=0.05)
    splats = canonical(blobs(40))
    scales = splats.log_scales.clone().requires_grad_()
    before = unlikeness(replace(splats, log_scales=scales), config, 8)
    (slope,) = torch.autograd.grad(before, scales)
    after = unlikeness(replace(splats, log_scales=splats.log_scales - 1e-3 * slope / slope.norm()), config, 8)
    assert float(after.detach()) < float(before.detach())
