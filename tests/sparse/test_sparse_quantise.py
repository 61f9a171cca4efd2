"""Quantisers against loops, and properties of codebooks."""

import pytest
import torch
from reference import sparse_quantise as loops

from recon.native import vq
from recon.sparse import SimVQ, codebook_usage, kmeans, nearest, residual_quantise
from recon.sparse.quantise.nearest import _nearest_torch


def _distortion(points: torch.Tensor, decoded: torch.Tensor) -> float:
    return float((points - decoded).square().sum(1).mean())


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (37, 5, 3), (50, 9, 40), (400, 45, 17)])
def test_nearest_is_what_the_loop_finds(n: int, d: int, k: int) -> None:
    points, centers = torch.randn(n, d) + 5, torch.randn(k, d) + 5
    expected = loops.nearest(points.tolist(), centers.tolist())
    assert nearest(points, centers).tolist() == expected
    assert nearest(points.double(), centers.double()).tolist() == expected
    assert _nearest_torch(points, centers).tolist() == expected


def test_nearest_takes_the_first_of_equals_and_refuses_none() -> None:
    centers = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).repeat(20, 1)
    assert nearest(torch.zeros(3, 2), centers).tolist() == [1, 1, 1]
    assert nearest(torch.zeros(0, 2), centers).shape == (0,)
    with pytest.raises(ValueError, match="no centres"):
        nearest(torch.zeros(3, 2), torch.zeros(0, 2))


def test_a_round_of_kmeans_is_lloyds() -> None:
    points, weights = torch.randn(60, 3), torch.rand(60)
    first = kmeans(points, 5, weights=weights, rounds=0, seed=3)
    second = kmeans(points, 5, weights=weights, rounds=1, seed=3)
    expected = loops.lloyd_round(points.tolist(), weights.tolist(), first.labels.tolist(), 5)
    assert torch.allclose(second.centers, torch.tensor(expected), atol=1e-5)
    assert second.labels.tolist() == loops.nearest(points.tolist(), second.centers.tolist())


def test_separated_clusters_are_found_with_every_entry_used() -> None:
    truth = torch.randn(40, 6) * 100
    points = (truth[:, None] + 0.1 * torch.randn(40, 25, 6)).reshape(-1, 6)
    book = kmeans(points, 40, rounds=30)
    assert len(book.labels.unique()) == 40
    spread = kmeans(points, 400, rounds=3)
    assert len(spread.labels.unique()) == 400
    assert _distortion(points, spread.centers[spread.labels]) < 0.1


def test_many_centres_are_about_as_good_as_by_full_search() -> None:
    scale = torch.logspace(0, -1, 12)
    points = torch.randn(4000, 12) * scale * torch.randn(4000, 1).exp()
    book = kmeans(points, 400, rounds=5)
    centers, labels = points[:400].clone(), None
    for _ in range(5):
        labels = _nearest_torch(points, centers)
        for k in labels.unique().tolist():
            centers[k] = points[labels == k].mean(0)
    full = centers[_nearest_torch(points, centers)]
    assert _distortion(points, book.centers[book.labels]) < _distortion(points, full)
    assert float((nearest(points, book.centers) == book.labels).float().mean()) > 0.9
    assert torch.equal(book.labels, kmeans(points, 400, rounds=5).labels), "the same seed gives the same codebook"


def test_kmeans_without_the_library_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(3000, 4)
    native = kmeans(points, 300, rounds=5)
    monkeypatch.setattr(vq, "available", lambda *tensors: False)
    plain = kmeans(points, 300, rounds=5)
    ratio = _distortion(points, native.centers[native.labels]) / _distortion(points, plain.centers[plain.labels])
    assert 0.95 < ratio < 1.05


def test_heavy_points_get_the_centres() -> None:
    points = torch.cat([torch.randn(500, 2), torch.randn(500, 2) + 50])
    weights = torch.cat([torch.full((500,), 1000.0), torch.full((500,), 1e-3)])
    book = kmeans(points, 20, weights=weights, rounds=10)
    assert int((book.centers[:, 0] < 25).sum()) >= 18


def test_degenerate_inputs() -> None:
    points = torch.randn(6, 3)
    all_of_them = kmeans(points, 100)
    assert len(all_of_them.centers) == 6
    assert _distortion(points, all_of_them.centers[all_of_them.labels]) < 1e-12
    same = kmeans(torch.ones(600, 3), 300, rounds=2)
    assert bool((same.centers[same.labels] == 1).all())
    with pytest.raises(ValueError, match="clusters of 0 points"):
        kmeans(torch.zeros(0, 3), 5)
    with pytest.raises(ValueError, match="negative"):
        kmeans(points, 2, weights=torch.tensor([1.0, 1, 1, 1, 1, -1]))


def test_residual_codebooks_add_up_and_each_helps() -> None:
    points = torch.randn(800, 6)
    one = residual_quantise(points, [16])
    three = residual_quantise(points, [16, 16, 16])
    expected = loops.decode_residual([book.tolist() for book in three.centers], three.labels.tolist())
    assert torch.allclose(three.decode(), torch.tensor(expected), atol=1e-5)
    assert torch.equal(three.labels[:, 0], one.labels[:, 0])
    assert _distortion(points, three.decode()) < 0.6 * _distortion(points, one.decode())
    with pytest.raises(ValueError, match="at least one codebook"):
        residual_quantise(points, [])


def test_simvq_uses_entries_that_a_plain_codebook_leaves_dead() -> None:
    points = torch.randn(600, 4) @ torch.diag(torch.tensor([5.0, 1.0, 0.3, 0.1]))
    start = torch.randn(64, 4)
    model, plain = SimVQ(start), torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([*model.parameters(), plain], lr=0.05)
    before = model(points)
    for _ in range(70):
        optimizer.zero_grad()
        own = (plain[nearest(points, plain)] - points).square().mean()
        (model(points).loss + own).backward()
        optimizer.step()
    after, used = model(points), codebook_usage(nearest(points, plain), 64)
    assert _distortion(points, after.points.detach()) < 0.5 * _distortion(points, before.points.detach())
    assert after.usage.used > max(0.9, 1.2 * used.used)
    assert after.usage.perplexity > before.usage.perplexity


def test_simvq_passes_gradients_straight_through() -> None:
    model = SimVQ(torch.randn(8, 3), commitment=0.0)
    points = torch.randn(20, 3, requires_grad=True)
    upstream = torch.randn(20, 3)
    result = model(points)
    (gradient,) = torch.autograd.grad((result.points * upstream).sum(), points)
    assert torch.equal(gradient, upstream)
    assert torch.allclose(result.points, model.codebook()[result.labels])


def test_usage_counts_entries() -> None:
    even = codebook_usage(torch.arange(16), 32)
    assert even.used == 0.5
    assert even.perplexity == pytest.approx(16)
    assert codebook_usage(torch.zeros(10, dtype=torch.int64), 4).perplexity == pytest.approx(1)
