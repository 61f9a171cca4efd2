"""Which Gaussian comes when, and which of its equal forms is stored: both are free, and neighbours that are alike cost
less.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.compress.packing import interleave, to_codes
from recon.types import Splats

BITS = 20
HALF = 0.5**0.5


def curve_order(xyz: Float[Tensor, "N 3"]) -> Int[Tensor, " N"]:
    """Indices that sort points along a Hilbert curve, which never jumps: 1.5% less than along Morton's."""
    if len(xyz) == 0:
        return torch.zeros(0, dtype=torch.int64)
    low, high = xyz.amin(0), xyz.amax(0)
    return hilbert(to_codes((xyz - low) / (high - low).amax().clamp_min(1e-30), BITS), BITS).argsort(stable=True)


def hilbert(cells: Int[Tensor, "N 3"], bits: int) -> Int[Tensor, " N"]:
    """Places of cells along a Hilbert curve (Skilling 2004, "Programming the Hilbert curve")."""
    axes = list(cells.unbind(1))
    for bit in reversed(range(1, bits)):
        high, low = 1 << bit, (1 << bit) - 1
        for i in range(3):
            inverted = (axes[i] & high) != 0
            swapped = torch.where(inverted, 0, (axes[0] ^ axes[i]) & low)
            axes[0] = axes[0] ^ torch.where(inverted, low, swapped)
            if i > 0:
                axes[i] = axes[i] ^ swapped
    axes[1] = axes[1] ^ axes[0]
    axes[2] = axes[2] ^ axes[1]
    turned = torch.zeros_like(axes[0])
    for bit in reversed(range(1, bits)):
        turned = torch.where((axes[2] & (1 << bit)) != 0, turned ^ ((1 << bit) - 1), turned)
    return interleave(torch.stack([axis ^ turned for axis in reversed(axes)], 1), bits)


def canonical(splats: Splats) -> Splats:
    """The same Gaussians, each with its axes from the longest to the shortest and the rotation that turns least of the
    four that are left: of the 24 ways to write a Gaussian, the one whose numbers are most alike."""
    quats, log_scales = torch.nn.functional.normalize(splats.quats, dim=1), splats.log_scales
    for first, second in ((0, 2), (1, 2), (0, 1)):
        swap = (log_scales[:, first] < log_scales[:, second])[:, None]
        quarter = quats.new_zeros(4)
        quarter[0] = quarter[3 - first - second + 1] = HALF  # about the third axis
        order = [second if k == first else first if k == second else k for k in range(3)]
        quats = torch.where(swap, _times(quats, quarter), quats)
        log_scales = torch.where(swap, log_scales[:, order], log_scales)
    largest = quats.abs().argmax(dim=1)
    back = torch.eye(4).to(quats)[largest] * quats.new_tensor([1.0, -1.0, -1.0, -1.0])  # half a turn, or none
    quats = _times(quats, back)
    return replace(splats, quats=quats * quats[:, :1].sign(), log_scales=log_scales)


def _times(first: Float[Tensor, "N 4"], second: Float[Tensor, "*b 4"]) -> Float[Tensor, "N 4"]:
    """Products of quaternions: the second rotation, then the first."""
    w, x, y, z = first.unbind(-1)
    a, b, c, d = second.unbind(-1)
    return torch.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        -1,
    )
