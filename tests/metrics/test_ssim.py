"""SSIM against a naive loop over windows, against torch, and against finite differences."""

import math

import pytest
import torch
from torch import Tensor

from recon import native
from recon.metrics import ssim
from recon.metrics.ssim import C1, C2, gaussian_taps, ssim_torch


def naive_ssim(a: Tensor, b: Tensor, window_size: int, sigma: float, padding: str) -> float:
    """Eq. 13 of Wang et al. 2004, window by window; pixels beyond the border are zeros with full weight."""
    half, height, width, channels = window_size // 2, *a.shape
    margin = half if padding == "valid" else 0
    weights = {
        (v, u): math.exp(-0.5 * (u * u + v * v) / sigma**2)
        for v in range(-half, half + 1)
        for u in range(-half, half + 1)
    }
    norm = sum(weights.values())
    values = []
    for y in range(margin, height - margin):
        for x in range(margin, width - margin):
            for c in range(channels):
                m = dict.fromkeys(("a", "b", "aa", "bb", "ab"), 0.0)
                for (v, u), weight in weights.items():
                    if 0 <= y + v < height and 0 <= x + u < width:
                        p, q = float(a[y + v, x + u, c]), float(b[y + v, x + u, c])
                        for name, value in zip(m, (p, q, p * p, q * q, p * q)):
                            m[name] += weight / norm * value
                var_a, var_b, cov = m["aa"] - m["a"] ** 2, m["bb"] - m["b"] ** 2, m["ab"] - m["a"] * m["b"]
                top = (2 * m["a"] * m["b"] + C1) * (2 * cov + C2)
                values.append(top / ((m["a"] ** 2 + m["b"] ** 2 + C1) * (var_a + var_b + C2)))
    return sum(values) / len(values)


def images(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A textured image and a noisy copy, float32 in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(*shape, generator=generator)
    return a, (a + 0.2 * torch.randn(*shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("window_size", "sigma"), [(11, 1.5), (5, 0.8)])
def test_equals_naive_loop(padding: str, window_size: int, sigma: float) -> None:
    a, b = images(13, 14, 3)
    expected = naive_ssim(a, b, window_size, sigma, padding)
    assert float(ssim(a, b, window_size, sigma, padding=padding)) == pytest.approx(expected, abs=2e-6)
    assert float(ssim(a.double(), b.double(), window_size, sigma, padding=padding)) == pytest.approx(expected, abs=1e-7)


# Heights on both sides of the kernel's 64-row strips, widths that leave every kind of rest of an 8-float vector.
SHAPES = [(70, 37, 3), (64, 21, 3), (129, 8, 1), (3, 5, 3), (2, 40, 29, 3), (1, 1, 3), (66, 33, 4)]


CASES = [
    (shape, padding, window_size)
    for shape in SHAPES
    for padding in ("same", "valid")
    for window_size in (11, 7)
    if padding == "same" or min(shape[-3:-1]) >= window_size
]


@pytest.mark.parametrize(("shape", "padding", "window_size"), CASES)
def test_value_and_both_gradients_equal_float64_torch(shape: tuple, padding: str, window_size: int) -> None:
    a, b = (t.requires_grad_() for t in images(*shape))
    a64, b64 = (t.detach().double().requires_grad_() for t in (a, b))
    margin = window_size // 2 if padding == "valid" else 0
    value = ssim(a, b, window_size, padding=padding)
    flat = [t.reshape(-1, *t.shape[-3:]) for t in (a64, b64)]
    truth = ssim_torch(*flat, window_size, 1.5, margin)
    assert float(value.detach()) == pytest.approx(float(truth.detach()), abs=1e-6)
    got = torch.autograd.grad(3.0 * value, [a, b])
    expected = torch.autograd.grad(3.0 * truth, [a64, b64])
    for mine, true in zip(got, expected):
        assert mine.shape == true.shape
        assert (mine - true).norm() <= 2e-6 * true.norm()


def test_torch_gradient_equals_finite_differences() -> None:
    a, b = (t.double().requires_grad_() for t in images(1, 6, 7, 2))
    assert torch.autograd.gradcheck(lambda x, y: ssim_torch(x, y, 5, 1.0, 1), (a, b))


def test_identical_images_score_one_with_zero_gradient() -> None:
    a = images(40, 30, 3)[0].requires_grad_()
    value = ssim(a, a.detach().clone())
    value.backward()
    assert float(value.detach()) == pytest.approx(1.0, abs=1e-6)
    assert a.grad is not None
    assert float(a.grad.abs().max()) < 1e-6


def test_symmetric_and_bounded() -> None:
    a, b = images(33, 47, 3)
    assert float(ssim(a, b)) == pytest.approx(float(ssim(b, a)), abs=1e-6)
    assert -1 <= float(ssim(a, 1 - a)) < float(ssim(a, b)) < 1


def test_batch_is_the_mean_of_its_images() -> None:
    a, b = images(3, 20, 24, 3)
    one_by_one = sum(float(ssim(x, y)) for x, y in zip(a, b)) / 3
    assert float(ssim(a, b)) == pytest.approx(one_by_one, abs=1e-6)


def test_accepts_non_contiguous_and_gradient_only_for_one() -> None:
    a, b = images(24, 20, 3)
    swapped = a.transpose(0, 1).detach().requires_grad_()
    ssim(swapped, b.transpose(0, 1)).backward()
    assert swapped.grad is not None
    assert torch.isfinite(swapped.grad).all()
    assert b.grad is None


@pytest.mark.skipif(native.library() is None, reason="no native library")
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    a, b = images(200, 50, 3)
    results = []
    try:
        for threads in (1, 2, 5):
            native.set_thread_count(threads)
            x = a.clone().requires_grad_()
            value = ssim(x, b)
            value.backward()
            results.append((float(value.detach()), x.grad))
    finally:
        native.set_thread_count(None)
    for value, grad in results[1:]:
        assert value == results[0][0]
        assert torch.equal(grad, results[0][1])


def test_taps_are_a_normalised_symmetric_window() -> None:
    taps = gaussian_taps(11, 1.5)
    assert sum(taps) == pytest.approx(1.0)
    assert taps == pytest.approx(taps[::-1])
    assert taps[5] / taps[6] == pytest.approx(math.exp(0.5 / 1.5**2))


def test_rejects_what_cannot_be_computed() -> None:
    a, b = images(8, 8, 3)
    with pytest.raises(ValueError, match="odd"):
        ssim(a, b, window_size=10)
    with pytest.raises(ValueError, match="holds no 11x11 window"):
        ssim(a, b, padding="valid")
