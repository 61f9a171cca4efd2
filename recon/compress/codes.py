"""Splats as small whole numbers and the tables that say what these mean: what SOG and our own container store.

Positions are quantised after `sign(x) ln(1 + |x|)`, so that what is near the origin (where the cameras look) is finer.
Scales and colours are indices into codebooks, the view-dependent colour one index into a palette of whole sets of
coefficients (as in Niedermayr et al. 2024, Compressed 3D Gaussian Splatting; Navaneet et al. 2024, CompGS, and SOG),
rotations their smallest three components.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.compress.packing import from_smallest_three, opacity_logits, smallest_three
from recon.sparse import kmeans, nearest
from recon.types import Splats

BYTE = 255
POSITION_BITS = 16
TOP = (1 << POSITION_BITS) - 1
COARSEST_BITS = 8
"""A position is stored as a multiple of at most 2 to this power: at least 255 steps a side."""


@dataclass(frozen=True)
class QuantiseConfig:
    """How finely. The defaults are what SOG can hold at most."""

    position_step: float = 0.0
    """From one position to the next along each axis, about, in units of the middle standard deviation of the Gaussians
    (their median); 0 is as fine as 16 bits allow. Bits alone would depend on what lies farthest away."""
    rotation_steps: int = 255
    """Steps of each of the three components of a rotation, at most 255."""
    opacity_steps: int = 255
    """Steps of the opacity, at most 255."""
    scale_step: float = 0.0
    """From one log scale to the next; as small as 256 of them allow, or this."""
    thin: int = 1
    """The smallest scale of each Gaussian takes only every so many steps: what is thin shows its faces."""
    smallest: float = 0.0
    """Share of the log scales that are so small that they are rounded up to the smallest of the others."""
    color_step: float = 0.0
    """From one colour to the next, of the zeroth coefficient; as small as 256 of them allow, or this."""
    palette: int = 4096
    """Entries of the palette of view-dependent colour, at most 65536; 0 leaves it out."""
    rounds: int = 5
    """Of k-means, which makes the palette."""


@dataclass(frozen=True)
class Codes:
    """N quantised Gaussians. Everything fits in the bytes that SOG has for it."""

    positions: Int[Tensor, "N 3"]
    """0 to 65535."""
    unit: Int[Tensor, " 3"]
    """What all of them are multiples of, a power of 2 on each axis."""
    low: Float[Tensor, " 3"]
    """Of the transformed coordinates, where the code is 0; float64."""
    step: Float[Tensor, " 3"]
    """From one code to the next in the transformed coordinates; float64."""
    largest: Int[Tensor, " N"]
    """Which component of w x y z is not stored."""
    rotations: Int[Tensor, "N 3"]
    """The others times sqrt(2), [-1, 1] as 0 to 255."""
    opacities: Int[Tensor, " N"]
    """0 to 255."""
    scales: Int[Tensor, "N 3"]
    scale_book: Float[Tensor, " S"]
    """Log scales, ascending."""
    colors: Int[Tensor, "N 3"]
    color_book: Float[Tensor, " C"]
    """Zeroth coefficients, ascending."""
    labels: Int[Tensor, " N"]
    palette: Int[Tensor, "P K 3"]
    """Indices into `coefficient_book`; K = 0 and P = 1 without view-dependent colour."""
    coefficient_book: Float[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Tensor) -> "Codes":
        """A subset, or another order."""
        names = ("positions", "largest", "rotations", "opacities", "scales", "colors", "labels")
        return replace(self, **{name: getattr(self, name)[index] for name in names})


def quantise(splats: Splats, config: QuantiseConfig, weights: Float[Tensor, " N"] | None = None) -> Codes:
    """The codes of `splats`, in their order.

    Args:
        weights: how much each Gaussian counts when codebooks are made.
    """
    if weights is None:
        weights = torch.ones(len(splats))
    positions, unit, low, step = _positions(splats, config.position_step)
    largest, others = smallest_three(splats.quats)
    scale_book = ruler(without_smallest(splats.log_scales, config.smallest), config.scale_step)
    color_book = ruler(splats.sh0, config.color_step)
    labels, palette, coefficient_book = _palette(splats.shN, config, weights)
    return Codes(
        positions=positions,
        unit=unit,
        low=low,
        step=step,
        largest=largest,
        rotations=coarse(others / 2 + 0.5, config.rotation_steps),
        opacities=coarse(splats.opacities, config.opacity_steps),
        scales=_scales(splats.log_scales, scale_book, config.thin),
        scale_book=scale_book,
        colors=look_up(splats.sh0[:, 0], color_book),
        color_book=color_book,
        labels=labels,
        palette=palette,
        coefficient_book=coefficient_book,
    )


def requantise(splats: Splats, like: Codes, config: QuantiseConfig) -> Codes:
    """The codes of splats that have moved a little since `like` was made of them, on its grid and with its codebooks
    and palette labels. What has left the grid of positions comes back to its rim."""
    moved = (to_log(splats.means) - like.low) / (like.step * like.unit)
    largest, others = smallest_three(splats.quats)
    return replace(
        like,
        positions=moved.round().clamp_min(0).long().minimum(TOP // like.unit) * like.unit,
        largest=largest,
        rotations=coarse(others / 2 + 0.5, config.rotation_steps),
        opacities=coarse(splats.opacities, config.opacity_steps),
        scales=_scales(splats.log_scales, like.scale_book, config.thin),
        colors=look_up(splats.sh0[:, 0], like.color_book),
    )


def dequantise(codes: Codes) -> Splats:
    """What `codes` stand for."""
    n = len(codes)
    rest = codes.coefficient_book[codes.palette][codes.labels] if codes.palette.shape[1] else torch.zeros(n, 0, 3)
    return Splats(
        means=from_log(codes.low + codes.step * codes.positions).float(),
        quats=from_smallest_three(codes.largest, codes.rotations.double() / BYTE * 2 - 1),
        log_scales=codes.scale_book[codes.scales],
        logit_opacities=opacity_logits(codes.opacities.float() / BYTE),
        sh0=codes.color_book[codes.colors][:, None],
        shN=rest,
    )


def to_log(xyz: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sign(x) ln(1 + |x|), in float64."""
    return xyz.double().sign() * xyz.double().abs().log1p()


def from_log(near: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The inverse of `to_log`."""
    return near.sign() * near.abs().expm1()


def _positions(splats: Splats, wanted: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(codes, unit, low, step), so that unit times step is about `wanted` where the Gaussians are. Codes are multiples
    of a power of 2, whose zeros cost nothing, and take the full range of 16 bits on all sides, because viewers hold
    `low + 65535 step` for the scene's bounds."""
    if len(splats) == 0:
        return torch.zeros(0, 3, dtype=torch.int64), torch.ones(3, dtype=torch.int64), torch.zeros(3), torch.ones(3)
    near = to_log(splats.means)
    low, extent = near.amin(0), (near.amax(0) - near.amin(0)).clamp_min(1e-9)
    unit = torch.ones(3, dtype=torch.float64)
    if wanted > 0:
        size = splats.scales.median(dim=1).values.double().clamp_min(1e-30)
        there = (1 + splats.means.double().abs()) / size[:, None]  # a step at the origin is larger farther away
        finest = extent / TOP * there.median(0).values
        unit = 2 ** (wanted / finest).log2().round().clamp(0, COARSEST_BITS)
    step = extent / ((TOP / unit).floor() * unit)
    return (((near - low) / (step * unit)).round() * unit).long(), unit.long(), low, step


def _scales(log_scales: Float[Tensor, "N 3"], book: Float[Tensor, " S"], thin: int) -> Int[Tensor, "N 3"]:
    """Indices of log scales; those of the smallest of each Gaussian are multiples of `thin`."""
    index = look_up(log_scales, book)
    rounded = ((index / thin).round().long() * thin).clamp(max=(len(book) - 1) // thin * thin)
    smallest = log_scales.argmin(dim=1, keepdim=True) == torch.arange(3)
    return torch.where(smallest, rounded, index)


def coarse(unit: Float[Tensor, "*shape"], steps: int) -> Int[Tensor, "*shape"]:
    """Values in [0, 1] as 0 to 255, but only so many steps of it."""
    return ((unit.double() * steps).round().clamp(0, steps) * (BYTE / steps)).round().long()


def ruler(values: Float[Tensor, "..."], step: float) -> Float[Tensor, " S"]:
    """Numbers so far apart, from the least to the largest of `values`; farther apart where a byte could not count them.

    Even steps, not k-means: with the indices entropy-coded afterwards, an even quantiser is the best for its size
    (Gish and Pierce 1968), and one that k-means makes spends its entries on the many small Gaussians and leaves large
    steps between the few large ones, which show (12 dB worse at the same size, measured on trained scenes).
    """
    if values.numel() == 0:
        return torch.zeros(1)
    low, high = float(values.min()), float(values.max())
    steps = math.ceil((high - low) / step) if step > 0 else BYTE
    count = min(BYTE, max(1, steps)) + 1
    return torch.linspace(low, max(high, low + 1e-6), count)


def without_smallest(values: Float[Tensor, "N 3"], share: float) -> Float[Tensor, " M"]:
    """All values but the smallest."""
    flat = values.reshape(-1)
    return flat.sort().values[round(share * len(flat)) :]


def look_up(values: Float[Tensor, "*shape"], book: Float[Tensor, " S"]) -> Int[Tensor, "*shape"]:
    """The index of the nearest number of an ascending codebook."""
    middles = (book[1:] + book[:-1]) / 2
    return torch.bucketize(values.float().contiguous(), middles)


def _palette(
    shN: Float[Tensor, "N K 3"], config: QuantiseConfig, weights: Float[Tensor, " N"]
) -> tuple[Int[Tensor, " N"], Int[Tensor, "P K 3"], Float[Tensor, " B"]]:
    n, K = shN.shape[:2]
    if n == 0 or K == 0 or config.palette == 0:
        return torch.zeros(n, dtype=torch.int64), torch.zeros(1, 0, 3, dtype=torch.int64), torch.zeros(1)
    flat = shN.reshape(n, K * 3).float()
    book = kmeans(flat, min(config.palette, n), weights=weights.float(), rounds=config.rounds)
    numbers = ruler(book.centers, 0.0)
    palette = look_up(book.centers, numbers)
    labels = nearest(flat, numbers[palette])
    return labels, palette.reshape(-1, K, 3), numbers
