"""Gaussians as the browser wants them: centres, covariances, one colour each."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from recon.render.sh import coefficient_count, sh_basis
from recon.types import SH_C0, Cameras, Splats
from viewer.display import DisplayFrame, placed_indices

MAX_SIGMA = 200.0  # display units; its square is still a half float, in which viser sends covariances
MAX_COLOR_VIEWS = 9
SELECTED = (1.0, 0.59, 0.12)
"""What selected Gaussians are tinted with."""
CHUNK = 2048  # small enough for torch to work in one thread


@dataclass(frozen=True)
class BrowserSplats:
    """The arguments of viser's `add_gaussian_splats` and `set_gaussians`."""

    centers: Float[np.ndarray, "N 3"]
    covariances: Float[np.ndarray, "N 3 3"]
    rgbs: UInt8[np.ndarray, "N 3"]
    opacities: UInt8[np.ndarray, "N 1"]

    def __len__(self) -> int:
        return len(self.centers)


def to_browser(
    splats: Splats,
    frame: DisplayFrame,
    cameras: Cameras | None = None,
    selected: Bool[torch.Tensor, " N"] | None = None,
) -> BrowserSplats:
    """Splats in display units, in the colours that `cameras` see (the browser knows no harmonics), `selected` tinted.

    Gaussians with a value that is not finite, or no orientation, are left out. Computed in numpy: torch would use all
    threads, and while a run trains those are taken.
    """
    drawable = _drawable(splats)
    if not bool(drawable.all()):
        splats = splats[drawable.to(splats.device)]
        selected = None if selected is None else selected[drawable]
    means, quats, log_scales, logits = (
        value.numpy(force=True).astype(np.float64)
        for value in (splats.means, splats.quats, splats.log_scales, splats.logit_opacities)
    )
    sigmas = np.exp(np.minimum(log_scales + math.log(frame.scale), math.log(MAX_SIGMA)))
    colors = seen_colors(splats, cameras)
    if selected is not None and bool(selected.any()):
        colors = torch.where(selected[:, None], 0.3 * colors + 0.7 * torch.tensor(SELECTED), colors)
    axes = (_rotations(quats) * sigmas[:, None, :]).astype(np.float32)
    return BrowserSplats(
        frame.points(means).astype(np.float32),
        axes @ axes.transpose(0, 2, 1),
        to_bytes(colors),
        np.rint(255.0 * 0.5 * (1.0 + np.tanh(0.5 * logits[:, None]))).astype(np.uint8),
    )


def _rotations(quats: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 3 3"]:
    """Rotation matrices of quaternions (wxyz) of any length but 0. By hand: SciPy takes longer to load than this."""
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    rows = (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
        (2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)),
        (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _drawable(splats: Splats) -> Bool[torch.Tensor, " N"]:
    keep = ~np.isnan(splats.logit_opacities.numpy(force=True)) & (splats.quats.numpy(force=True) != 0).any(axis=1)
    for values in (splats.means, splats.quats, splats.log_scales, splats.sh0, splats.shN):
        keep &= np.isfinite(values.numpy(force=True)).all(axis=tuple(range(1, values.ndim)))
    return torch.from_numpy(keep)


@torch.no_grad()
def seen_colors(splats: Splats, cameras: Cameras | None) -> Float[torch.Tensor, "N 3"]:
    """One colour per Gaussian, as the input cameras see it on average: what is lost of the harmonics is the change
    from photo to photo, not the colour in the photos."""
    placed = placed_indices(cameras)[:MAX_COLOR_VIEWS]
    if cameras is None or not placed or splats.sh_degree == 0:
        return splats.rgb
    centers = cameras.centers[placed].to(splats.means)
    return torch.cat([_mean_color(splats[i : i + CHUNK], centers) for i in range(0, max(len(splats), 1), CHUNK)])


def _mean_color(splats: Splats, centers: Float[torch.Tensor, "V 3"]) -> Float[torch.Tensor, "N 3"]:
    """Colour is linear in the basis, so the basis is averaged rather than the colours (which 3DGS clamps at 0)."""
    basis = torch.zeros(len(splats), coefficient_count(splats.sh_degree)).to(splats.means)
    for center in centers:
        basis += sh_basis(torch.nn.functional.normalize(splats.means - center, dim=1), splats.sh_degree)
    color = splats.sh0[:, 0] * SH_C0 + torch.einsum("nk,nkc->nc", basis[:, 1:] / len(centers), splats.shN)
    return (color + 0.5).clamp(0.0, 1.0)


def most_visible(splats: Splats, count: int) -> Splats:
    """The `count` Gaussians that cover most; all if there are no more."""
    return splats if len(splats) <= count else splats[rows_of_most_visible(splats, count)]


@torch.no_grad()
def rows_of_most_visible(splats: Splats, count: int) -> Int[torch.Tensor, " K"]:
    """Which `count` Gaussians cover most: by opacity times the area of the two longest axes; in their order."""
    two_longest = splats.log_scales.sum(1) - splats.log_scales.amin(1)
    weight = splats.opacities.log() + two_longest
    return torch.topk(weight, count, sorted=False).indices.sort().values


def to_bytes(values: torch.Tensor) -> UInt8[np.ndarray, "..."]:
    """Values in [0, 1] as bytes, rounded (viser itself would truncate)."""
    return np.rint(255.0 * values.numpy(force=True).clip(0.0, 1.0)).astype(np.uint8)
