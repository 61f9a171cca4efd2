import numpy as np
import pytest
import torch
from reference import stereo_naive

from recon import native as library
from recon.stereo import native
from recon.stereo.native import MatchSettings, NeighbourView

pytestmark = pytest.mark.skipif(library.library() is None, reason="no native library")


def random_photos(height: int = 21, width: int = 27) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    smooth = generator.random((2, height // 3 + 2, width // 3 + 2)) * 255
    big = np.kron(smooth, np.ones((3, 3)))[:, :height, :width]
    return tuple((0.8 * big + 0.2 * generator.random(big.shape) * 255).astype(np.uint8))  # type: ignore


def test_quads_hold_the_four_neighbours():
    grey = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    quads = native.pack_quads(grey).numpy().view(np.uint8).reshape(3, 4, 4)
    assert quads[1, 1].tolist() == [5, 6, 9, 10]
    assert quads[2, 3].tolist() == [11, 11, 11, 11]  # edges repeated


def test_costs_match_the_naive_loop():
    reference, other = random_photos()
    generator = torch.Generator().manual_seed(0)
    M = torch.eye(3) + 0.02 * torch.randn(3, 3, generator=generator) * torch.tensor(
        [[1, 1, 9], [1, 1, 9], [0.02, 0.02, 1]]
    )
    m = torch.tensor([6.0, -2.0, 0.05])
    planes = 0.3 + 0.2 * torch.rand(21, 27, 3, generator=generator)
    planes[..., 1:] = 0.02 * (planes[..., 1:] - 0.4)
    quads = [native.pack_quads(torch.from_numpy(photo)) for photo in (reference, other)]
    view = NeighbourView(quads[1], M, m, torch.eye(3), torch.zeros(3), 1.0)
    costs = native.plane_costs(quads[0], [view], MatchSettings(0.1, 1.0, 30.0, noise=3.0, seed=0), planes)[..., 0]
    M64, m64 = M.double().numpy(), m.double().numpy()
    for y in range(21):
        for x in range(27):
            plane = tuple(float(value) for value in planes[y, x])
            expected = stereo_naive.cost(reference, other, M64, m64, x, y, plane, 3.0)
            assert abs(float(costs[y, x]) - expected) < 2e-4, (x, y)
    assert (costs == 2).any(), "some pixels should leave the other photo"
    assert (costs < 1).any(), "and some should match a little"


def test_cost_is_nothing_for_the_photo_itself():
    reference, _ = random_photos()
    quads = native.pack_quads(torch.from_numpy(reference))
    view = NeighbourView(quads, torch.eye(3), torch.zeros(3), torch.eye(3), torch.zeros(3), 1.0)
    planes = torch.full((21, 27, 3), 0.5)
    planes[..., 1:] = 0
    costs = native.plane_costs(quads, [view], MatchSettings(0.1, 1.0, 30.0, noise=3.0, seed=0), planes)
    assert float(costs[1:-1, 1:-1].max()) < 1e-4


def test_more_views_than_the_kernel_takes_is_an_error():
    reference, _ = random_photos()
    quads = native.pack_quads(torch.from_numpy(reference))
    view = NeighbourView(quads, torch.eye(3), torch.zeros(3), torch.eye(3), torch.zeros(3), 1.0)
    with pytest.raises(RuntimeError, match="9 views"):
        native.patchmatch(quads, [view] * 9, MatchSettings(0.1, 1, 30, 3, 0), torch.full((21, 27, 3), 0.5))
