"""A small U-Net that corrects the plain blend, and the one diffusion step that it is asked for.

It sees a view as planes at the view's size: the rendering, its alpha and depth, what the nearest photos show there (as
they are, and against what the splats show in their places), how sure that is, how far the photos disagree, and the
plain blend's own logits. It answers with corrections of those logits, a residual, and a correction of the confidence.
Its last layer starts at zero: untrained it *is* the plain blend.

Training is a diffusion model's (Ho et al. 2020, "Denoising Diffusion Probabilistic Models") of the truth's difference
to the rendering, predicting the clean one (x0), noise by the cosine schedule (Nichol and Dhariwal 2021, eq. 17).
Sampling is one DDIM step (Song et al. 2021, eq. 12) from pure noise, which is the prediction itself: more steps lose.
"""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from recon.priors.diffusion.base import Views
from recon.priors.diffusion.blend import UNSEEN, blend_logits, changes

NOISE_SCALE = 4.0
"""Differences to the rendering are about a quarter of a unit; diffusion wants about one."""
NEAREST = 3.0
"""Bound of `Planes.near`: floaters before the camera are no measure."""
CONFIDENCE_MARGIN = 1e-3
"""Confidences are kept so far from 0 and 1, so that their logits are finite."""


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of the network."""

    references: int = 2
    """Photos warped into each view."""
    channels: tuple[int, ...] = (32, 64, 96)
    """Of each level; each is half the size of the one before."""
    unshuffle: int = 4
    """Pixels, each way, that are folded into channels at the door."""
    groups: int = 8
    """Of the normalisation."""

    @property
    def planes(self) -> int:
        """Channels of `Planes.stacked`."""
        return 10 + self.references * 8


@dataclass(frozen=True)
class Planes:
    """V views of R references as the network takes them."""

    rgb: Float[Tensor, "V 3 H W"]
    alpha: Float[Tensor, "V 1 H W"]
    near: Float[Tensor, "V 1 H W"]
    """The view's median depth over the pixel's, at most `NEAREST`; 0 where nothing was hit."""
    valid: Float[Tensor, "V R H W"]
    logits: Float[Tensor, "V C H W"]
    """The plain blend's, C = R + 1."""
    warped: Float[Tensor, "V R 3 H W"]
    better: Float[Tensor, "V R 3 H W"]
    """What the photo knows better: itself less what the splats show in its place."""
    beyond: Float[Tensor, "V 3 H W"]
    """What the plain blend adds where no photo sees the place."""

    @staticmethod
    def of(views: Views) -> "Planes":
        logits = blend_logits(views)
        return Planes(
            rgb=views.rgb.movedim(-1, 1),
            alpha=views.alpha[:, None],
            near=_near(views.depth)[:, None],
            valid=views.valid,
            logits=logits,
            warped=views.warped.movedim(-1, 2),
            better=(views.warped - views.warped_own).movedim(-1, 2),
            beyond=changes(views, logits)[1].movedim(-1, 1),
        )

    def view(self, index: int) -> "Planes":
        """One view, as planes of one."""
        return Planes(*(getattr(self, f.name)[index : index + 1] for f in fields(self)))

    @property
    def stacked(self) -> Float[Tensor, "V P H W"]:
        """All as channels. Logits are brought to about one, and photos count as far as they are sure."""
        sure = self.valid[:, :, None]
        parts = (
            self.rgb, self.alpha, self.near, self.spread, self.valid, self.logits / -math.log(UNSEEN),
            (self.warped - self.rgb[:, None]).flatten(1, 2), (self.better * sure).flatten(1, 2), self.beyond,
        )  # fmt: skip
        return torch.cat(parts, dim=1)

    @property
    def spread(self) -> Float[Tensor, "V 1 H W"]:
        """Standard deviation of the photos' colours, by how sure they are; 0 where at most one sees the place."""
        sure = (self.valid / self.valid.sum(1, keepdim=True).clamp_min(1e-6))[:, :, None]
        mean = (sure * self.warped).sum(1, keepdim=True)
        return (sure * (self.warped - mean).square()).sum(1).mean(1, keepdim=True).clamp_min(1e-8).sqrt()


def _near(depth: Float[Tensor, "V H W"]) -> Float[Tensor, "V H W"]:
    middle = torch.stack([one[one > 0].median() if bool((one > 0).any()) else one.new_ones(()) for one in depth])
    ratio = middle[:, None, None] / depth.clamp_min(1e-9)
    return torch.where(depth > 0, ratio.clamp(max=NEAREST), 0)


@dataclass(frozen=True)
class Correction:
    """What the network answers: all zero where it knows nothing better than the plain blend."""

    logits: Float[Tensor, "V C H W"]
    """Added to the plain blend's."""
    gates: Float[Tensor, "V R H W"]
    """Added to how sure it is that photos and view show the same surface, which speckles."""
    beyond: Float[Tensor, "V 1 H W"]
    """Added to 1, the share of what is continued beyond the photos."""
    residual: Float[Tensor, "V 3 H W"]
    """Added to the blend, as far as there are splats: what fills a hole would be made up."""
    confidence: Float[Tensor, "V H W"]
    """Added to the logit of the blend's confidence."""


class BlendNet(nn.Module):
    """The U-Net: one residual block a level, down and up, the time of the diffusion added to each."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        fold = config.unshuffle**2
        first, *rest = config.channels
        self.enter = nn.Conv2d((config.planes + 3) * fold, first, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(first, 4 * first), nn.SiLU(), nn.Linear(4 * first, 4 * first), nn.SiLU())
        self.down = nn.ModuleList(_Block(c, c, config) for c in config.channels)
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(config.channels, config.channels[1:])
        )
        self.middle = _Block(config.channels[-1], config.channels[-1], config)
        self.up = nn.ModuleList(
            _Block(c + skip, skip, config) for c, skip in zip((*rest, config.channels[-1]), config.channels)
        )
        self.leave_norm = nn.GroupNorm(config.groups, first)
        self.leave = nn.Conv2d(first, (2 * config.references + 1 + 1 + 3 + 1) * fold, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None, "convolutions have biases unless told otherwise"
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, noisy: Float[Tensor, "V 3 H W"], planes: Float[Tensor, "V P H W"], time: Float[Tensor, " V"]
    ) -> Correction:
        """Of views of any size.

        Args:
            noisy: the truth's difference to the rendering, noised, in units of `1 / NOISE_SCALE`.
            planes: `Planes.stacked`.
            time: in [0, 1], 1 for pure noise.
        """
        height, width = planes.shape[-2:]
        step = self.config.unshuffle * 2 ** (len(self.config.channels) - 1)
        x = F.pad(torch.cat([noisy, planes], 1), (0, -width % step, 0, -height % step), mode="replicate")
        x = self.enter(F.pixel_unshuffle(x, self.config.unshuffle))
        when = self.time(_waves(time, self.config.channels[0]))
        kept = []
        for level, block in enumerate(self.down):
            x = block(x, when)
            kept.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, when)
        for level in reversed(range(len(self.up))):
            if x.shape[-2:] != kept[level].shape[-2:]:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([x, kept[level]], 1), when)
        x = F.pixel_shuffle(self.leave(F.silu(self.leave_norm(x))), self.config.unshuffle)
        x = x[..., :height, :width].float()
        references = self.config.references
        logits, gates, beyond, residual, confidence = x.split([references + 1, references, 1, 3, 1], dim=1)
        return Correction(logits, gates, beyond, residual, confidence[:, 0])


class _Block(nn.Module):
    """Two convolutions around a shortcut, shifted by the time."""

    def __init__(self, n_in: int, n_out: int, config: NetworkConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(config.groups, n_in), nn.GroupNorm(config.groups, n_out)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.time = nn.Linear(4 * config.channels[0], n_out)
        self.shortcut = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x))) + self.time(when)[..., None, None]
        return self.conv2(F.silu(self.norm2(y))) + self.shortcut(x)


def _waves(time: Float[Tensor, " V"], count: int) -> Float[Tensor, "V {count}"]:
    """Sines and cosines of the time, from slow to fast."""
    rates = torch.exp(torch.linspace(0, math.log(1000.0), count // 2, device=time.device))
    phase = time[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], dim=1)


def signal_share(time: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
    """Variance of the signal at a time in [0, 1], by the cosine schedule (Nichol and Dhariwal 2021, eq. 17)."""
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return ((time + 0.008) / 1.008 * math.pi / 2).cos().square() / start


def noised(
    clean: Float[Tensor, "V 3 H W"], time: Float[Tensor, " V"], noise: Float[Tensor, "V 3 H W"]
) -> Float[Tensor, "V 3 H W"]:
    """A clean difference to the rendering at a time of the diffusion (Ho et al. 2020, eq. 4)."""
    share = signal_share(time)[:, None, None, None]
    return share.sqrt() * NOISE_SCALE * clean + (1 - share).sqrt() * noise


def compose(planes: Planes, correction: Correction) -> Float[Tensor, "V 3 H W"]:
    """The corrected blend, not clamped, so that training sees beyond the ends."""
    weights = (planes.logits + correction.logits).softmax(dim=1)[:, 1:, None]
    gates = (planes.valid + correction.gates)[:, :, None]
    blended = planes.rgb + (weights * (gates * planes.better)).sum(1) + (1 + correction.beyond) * planes.beyond
    return blended + planes.alpha * correction.residual


def confidence_logits(planes: Planes, correction: Correction) -> Float[Tensor, "V H W"]:
    """Logits of the confidence: the blend's, that some photo shows the place, corrected."""
    seen = 1 - (1 - planes.valid).prod(dim=1)
    return seen.clamp(CONFIDENCE_MARGIN, 1 - CONFIDENCE_MARGIN).logit() + correction.confidence


def predict(network: BlendNet, planes: Planes, generator: torch.Generator) -> Correction:
    """One DDIM step from pure noise: the network's answer at time 1."""
    noise = torch.randn(planes.rgb.shape, generator=generator).to(planes.rgb)
    return network(noise, planes.stacked, torch.ones(len(noise), device=noise.device))
