"""On a CUDA device everything gives what it gives on the CPU."""

import pytest
import torch

from recon.sparse import (
    Blocks,
    Csr,
    HashGrid,
    HashGridConfig,
    HollowGrid,
    NOfM,
    RandomSharing,
    SaliencyMask,
    SimVQ,
    keep_global,
    keep_n_of_m,
    kmeans,
    magnitude,
    nearest,
    prox_group_envelope,
)

pytestmark = pytest.mark.requires_cuda


def test_masks_and_proximal_steps() -> None:
    values = torch.randn(40, 64)
    pairs = [
        (keep_n_of_m(magnitude(x), 2, 4), keep_global({"x": magnitude(x)}, 0.3)["x"], prox_group_envelope(x, 10, 0.1))
        for x in (values, values.cuda())
    ]
    for cpu, cuda in zip(*pairs):
        assert torch.allclose(cpu.float(), cuda.cpu().float(), atol=1e-5)


def test_quantisers() -> None:
    points, centers = torch.randn(500, 9), torch.randn(70, 9)
    assert torch.equal(nearest(points, centers), nearest(points.cuda(), centers.cuda()).cpu())
    errors = []
    for device in ("cpu", "cuda"):
        book = kmeans(points.to(device), 300, rounds=5)
        errors.append(float((book.centers[book.labels] - points.to(device)).square().mean()))
    assert errors[0] == pytest.approx(errors[1], rel=0.1)
    assert SimVQ(centers).cuda()(points.cuda()).points.device.type == "cuda"


def test_products() -> None:
    dense, other = torch.randn(16, 24), torch.randn(24, 10)
    dense = dense * keep_n_of_m(magnitude(dense), 1, 4)
    for make in (Csr.from_dense, lambda m: NOfM.from_dense(m, 1, 4), lambda m: Blocks.from_dense(m, 4, 4)):
        assert torch.allclose((make(dense.cuda()) @ other.cuda()).cpu(), dense @ other, atol=1e-4)
    square = (Csr.from_dense(dense.cuda()) @ Csr.from_dense(dense.T.contiguous().cuda())).to_dense()
    assert torch.allclose(square.cpu(), dense @ dense.T, atol=1e-4)


def test_hash_grid_and_sharing() -> None:
    field = HollowGrid(HashGrid(HashGridConfig(levels=4, log2_entries=8, finest=40)), SaliencyMask(5))
    positions, upstream = torch.rand(100, 3), torch.randn(100, 8)
    expected = field(positions)
    gradients = torch.autograd.grad(expected, list(field.parameters()), upstream)
    smaller = field.hollowed(positions)
    field.cuda()
    features = field(positions.cuda())
    assert torch.allclose(features.cpu(), expected, atol=1e-6)
    for a, b in zip(torch.autograd.grad(features, list(field.parameters()), upstream.cuda()), gradients):
        assert torch.allclose(a.cpu(), b, atol=1e-4)
    assert field.hollowed(positions.cuda()).n_parameters == smaller.n_parameters
    shared = RandomSharing({"w": 1.0}, {"w": (30,)}, pool=7)
    expected = shared()["w"]
    assert torch.allclose(shared.cuda()()["w"].cpu(), expected)
