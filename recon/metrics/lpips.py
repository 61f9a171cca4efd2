"""LPIPS, version 0.1, on AlexNet (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features").

The trunk is AlexNet's five convolutions; the distance is the channel-weighted squared difference of unit-normalised
features, averaged over positions and summed over the five layers (eq. 1). Differentiable in both images.
"""

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from recon.assets import weight_path
from recon.errors import InputError

WEIGHTS = "lpips/lpips_alex_v0.1.safetensors"
# Mean and standard deviation of ImageNet, for inputs in [-1, 1] (constants of version 0.1).
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
# (stride, padding, whether a 3x3 stride-2 maximum precedes) of each convolution.
LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
MIN_SIDE = 31
"""Below this AlexNet's third layer has no pixels left."""


@functools.cache
@torch.inference_mode(False)  # what is read inside inference mode could never take part in a gradient
def load_lpips(device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Trunk (`conv{0-4}.weight`, `.bias`) and heads (`lin{0-4}.weight`) in float32, read once per device.

    Raises:
        MissingDependencyError: the weight file is not there.
    """
    tensors = load_file(weight_path(WEIGHTS), device=str(device))
    return {name: tensor.float() for name, tensor in tensors.items()}


def lpips(
    a: Float[Tensor, "H W 3"], b: Float[Tensor, "H W 3"], weights: dict[str, Tensor] | None = None
) -> Float[Tensor, ""]:
    """Perceptual distance of two sRGB images in [0, 1]; 0 for equal ones, about 0.7 for unrelated ones.

    Raises:
        InputError: a side is under 31 pixels.
        MissingDependencyError: the weight file is not there.
    """
    if min(a.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"LPIPS needs images of at least {MIN_SIDE}x{MIN_SIDE} pixels, got {a.shape[1]}x{a.shape[0]}. "
            "Score larger images, or leave LPIPS out."
        )
    weights = load_lpips(a.device) if weights is None else weights
    images = torch.stack([a, b]).permute(0, 3, 1, 2).float()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # on a GPU, TF32 would cost three digits
        features = alexnet_features(images, weights)
    distance = torch.zeros((), device=a.device)
    for layer, x in enumerate(features):
        # The norm's floor under the root keeps the gradient finite where a position has no active feature.
        unit = x / (x.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt() + 1e-10)
        head = weights[f"lin{layer}.weight"].flatten()
        distance = distance + ((unit[0] - unit[1]).square().mean((1, 2)) * head).sum()
    return distance.to(a.dtype)


def alexnet_features(images: Float[Tensor, "N 3 H W"], weights: dict[str, Tensor]) -> list[Tensor]:
    """Activations after each of the five convolutions, for images in [0, 1]."""
    shift, scale = (images.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
    x = (2 * images - 1 - shift) / scale
    features = []
    for layer, (stride, padding, pooled) in enumerate(LAYERS):
        if pooled:
            x = F.max_pool2d(x, kernel_size=3, stride=2)
        kernel, bias = weights[f"conv{layer}.weight"], weights[f"conv{layer}.bias"]
        x = F.relu(F.conv2d(x, kernel, bias, stride=stride, padding=padding))
        features.append(x)
    return features
