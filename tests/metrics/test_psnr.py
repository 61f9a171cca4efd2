import math

import pytest
import torch

from recon.metrics import psnr


def test_known_values():
    a = torch.zeros(4, 5, 3)
    assert psnr(a, a + 0.1).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(a, a + 0.01).item() == pytest.approx(40.0, abs=1e-4)
    assert psnr(a, a).item() == math.inf


def test_matches_a_loop():
    a, b = torch.rand(2, 3, 4, 3, dtype=torch.float64)
    total = 0.0
    for i in range(3):
        for j in range(4):
            for c in range(3):
                total += (a[i, j, c].item() - b[i, j, c].item()) ** 2
    assert psnr(a, b).item() == pytest.approx(-10 * math.log10(total / 36))


def test_only_masked_pixels_count():
    a, b = torch.rand(2, 6, 6, 3)
    mask = torch.zeros(6, 6)
    mask[1:3, 2:5] = 1
    assert psnr(a, b, mask).item() == pytest.approx(psnr(a[1:3, 2:5], b[1:3, 2:5]).item(), rel=1e-5)
    assert psnr(a, b, torch.zeros(6, 6)).isnan()
    assert psnr(a, b, torch.ones(6, 6)).item() == pytest.approx(psnr(a, b).item(), rel=1e-5)


def test_a_batch_is_scored_image_by_image():
    a, b = torch.rand(2, 5, 4, 4, 3)
    both = psnr(a, b)
    assert both.shape == (5,)
    assert both[3] == psnr(a[3], b[3])
