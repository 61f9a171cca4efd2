"""LPIPS v0.1 on AlexNet in numpy, as windows and dot products: the truth for recon.metrics.lpips."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def convolve(x, kernel, bias, stride, padding):
    """[C, H, W] with kernel [O, C, k, k]."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    size = kernel.shape[-1]
    windows = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True) + bias[:, None, None]


def max_pool(x):
    """3x3 windows, every second one."""
    return sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max((-1, -2))


def features(image, w):
    """ReLU activations after each convolution, for an image [H, W, 3] in [0, 1]."""
    mean, std = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = ((image * 2 - 1 - mean) / std).transpose(2, 0, 1)
    one = np.maximum(convolve(x, w["conv0.weight"], w["conv0.bias"], 4, 2), 0)
    two = np.maximum(convolve(max_pool(one), w["conv1.weight"], w["conv1.bias"], 1, 2), 0)
    three = np.maximum(convolve(max_pool(two), w["conv2.weight"], w["conv2.bias"], 1, 1), 0)
    four = np.maximum(convolve(three, w["conv3.weight"], w["conv3.bias"], 1, 1), 0)
    five = np.maximum(convolve(four, w["conv4.weight"], w["conv4.bias"], 1, 1), 0)
    return one, two, three, four, five


def lpips_numpy(a, b, w):
    total = 0.0
    for layer, (x, y) in enumerate(zip(features(a, w), features(b, w))):
        x = x / (np.sqrt((x**2).sum(0)) + 1e-10)
        y = y / (np.sqrt((y**2).sum(0)) + 1e-10)
        total += ((x - y) ** 2 * w[f"lin{layer}.weight"].reshape(-1, 1, 1)).sum(0).mean()
    return total
