"""Structural similarity (Wang et al. 2004, "Image quality assessment", eq. 13), differentiable.

The 3DGS setting: an 11x11 Gaussian window of sigma 1.5, zeros beyond the border, the mean over pixels and channels,
data range 1. On the CPU in float32 it is a fused native kernel; elsewhere, or without the library, separable
convolutions.
"""

import ctypes
import functools
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon import native

C1 = 0.01**2
C2 = 0.03**2
_MAX_NATIVE_WINDOW = 31  # the kernel's widest


def ssim(
    a: Float[Tensor, "*batch H W C"],
    b: Float[Tensor, "*batch H W C"],
    window_size: int = 11,
    sigma: float = 1.5,
    *,
    padding: Literal["same", "valid"] = "same",
) -> Float[Tensor, ""]:
    """Mean SSIM of images in [0, 1], single or batched; 1 for identical ones.

    Args:
        window_size: width of the window in pixels, odd.
        sigma: standard deviation of the window in pixels.
        padding: `same` counts every pixel, with zeros beyond the border, as 3DGS training does; `valid` counts only
            pixels whose window lies inside the image, as the paper and scikit-image do.

    Raises:
        ValueError: an even window, or one that does not fit into the image with `valid`.
    """
    if window_size % 2 == 0 or window_size < 1:
        raise ValueError(f"The SSIM window must be odd and positive, got {window_size}.")
    margin = window_size // 2 if padding == "valid" else 0
    height, width = a.shape[-3], a.shape[-2]
    if min(height, width) <= 2 * margin:
        raise ValueError(f"A {width}x{height} image holds no {window_size}x{window_size} window; use padding='same'.")
    window = _Window(window_size, sigma, margin)
    batch_a, batch_b = a.reshape(-1, *a.shape[-3:]), b.reshape(-1, *b.shape[-3:])
    library = _native_kernels()
    on_cpu = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    if library is not None and on_cpu and window_size <= _MAX_NATIVE_WINDOW:
        if not torch.is_grad_enabled():  # a Function does not look, and would compute a gradient nobody can ask for
            batch_a, batch_b = batch_a.detach(), batch_b.detach()
        result = _FusedSsim.apply(batch_a, batch_b, window, library)
        assert isinstance(result, Tensor), "a Function with one output returns a tensor"
        return result
    return ssim_torch(batch_a, batch_b, window_size, sigma, margin)


def ssim_torch(
    a: Float[Tensor, "B H W C"], b: Float[Tensor, "B H W C"], window_size: int, sigma: float, margin: int
) -> Float[Tensor, ""]:
    """The same in PyTorch, on any device and dtype; pixels within `margin` of the border do not count."""
    a, b = a.movedim(-1, 1), b.movedim(-1, 1)
    taps = torch.tensor(gaussian_taps(window_size, sigma), dtype=a.dtype, device=a.device)
    # SSIM needs the two variances only as a sum, so four filtered maps do.
    maps = torch.cat([a, b, a * b, a * a + b * b], dim=1)
    n, half = maps.shape[1], window_size // 2
    maps = torch.nn.functional.conv2d(maps, taps.view(1, 1, 1, -1).expand(n, 1, 1, -1), padding=(0, half), groups=n)
    maps = torch.nn.functional.conv2d(maps, taps.view(1, 1, -1, 1).expand(n, 1, -1, 1), padding=(half, 0), groups=n)
    mean_a, mean_b, product, squares = maps.chunk(4, dim=1)
    cross, own = mean_a * mean_b, mean_a.square() + mean_b.square()
    numerator = (2 * cross + C1) * (2 * (product - cross) + C2)
    values = numerator / ((own + C1) * (squares - own + C2))
    height, width = values.shape[-2:]
    return values[..., margin : height - margin, margin : width - margin].mean()


@functools.cache
def gaussian_taps(window_size: int, sigma: float) -> tuple[float, ...]:
    """Weights of the window along one axis; they add up to 1."""
    x = torch.arange(window_size, dtype=torch.float64) - window_size // 2
    weights = torch.exp(-0.5 * (x / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


@dataclass(frozen=True)
class _Window:
    size: int
    sigma: float
    margin: int

    def taps(self) -> Any:
        return (ctypes.c_float * self.size)(*gaussian_taps(self.size, self.sigma))


@functools.cache
def _native_kernels() -> ctypes.CDLL | None:
    """The library with the function's signature declared, or None."""
    library = native.library()
    if library is None:
        return None
    pointer, size, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    library.recon_ssim.restype = ctypes.c_double
    library.recon_ssim.argtypes = [pointer, pointer, *[size] * 4, pointer, size, size, real, real, pointer, size]
    return library


class _FusedSsim(torch.autograd.Function):
    """The forward pass computes the gradient along with the value; the backward pass only scales it."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, window: _Window, library: ctypes.CDLL) -> Tensor:  # type: ignore[override]
        a, b = a.contiguous(), b.contiguous()
        gradients = tuple(torch.empty_like(a) if wanted else None for wanted in ctx.needs_input_grad[:2])
        total = _sum_of_ssim(library, a, b, window, gradients[0])
        if gradients[1] is not None:  # SSIM is symmetric: the gradient by b is that by a of the swapped images
            _sum_of_ssim(library, b, a, window, gradients[1])
        batch, height, width, channels = a.shape
        ctx.counted = batch * (height - 2 * window.margin) * (width - 2 * window.margin) * channels
        ctx.save_for_backward(*gradients)
        return a.new_tensor(total / ctx.counted)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scale = float(grad) / ctx.counted
        by_a, by_b = (None if saved is None else saved * scale for saved in ctx.saved_tensors)
        return by_a, by_b, None, None


def _sum_of_ssim(library: ctypes.CDLL, a: Tensor, b: Tensor, window: _Window, gradient: Tensor | None) -> float:
    """Sum over the pixels that count; `gradient`, if given, receives its derivative by `a`."""
    total = library.recon_ssim(
        a.data_ptr(), b.data_ptr(), *a.shape, window.taps(), window.size // 2, window.margin, C1, C2,
        None if gradient is None else gradient.data_ptr(), native.thread_count(),
    )  # fmt: skip
    return float(total)
