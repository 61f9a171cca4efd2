"""How far to go: three steps from what nobody sees to what a phone loads at once.

The steps of quantisation were set so that one more bit buys about as much error for every property. Where Gaussians lie
matters most: at 25 times smaller, positions rounded to 0.3 standard deviations were 58% of all that rounding added, and
steps a quarter as large, paid for with fewer Gaussians, halved what held-out views lose. Sizes and losses: `recon bench
compress`.
"""

from dataclasses import dataclass, field

from recon.compress.codes import QuantiseConfig
from recon.compress.compact import Kind
from recon.render.refit import RefitConfig

SETTLE = RefitConfig(
    steps=80, means=1.5e-4, log_scales=0.003, quats=0.001, logit_opacities=0.015, sh0=0.003, shN=0.00015
)


GENTLE = RefitConfig(steps=40, means=1e-5, log_scales=2e-4, quats=6e-5, logit_opacities=0.001, sh0=2e-4, shN=1e-5)
"""Where little is missing, the rates of the others would bring in more than they take out."""


@dataclass(frozen=True)
class CompressConfig:
    """What is left out, how the rest is rounded, and how long it is fitted."""

    keep: float = 0.5
    """Share of the Gaussians that stay."""
    max_gaussians: int | None = None
    """At most so many stay."""
    target_bytes: int | None = None
    """The file is at most this large."""
    times_smaller: float | None = None
    """What it has besides its tables is at least so many times smaller than the PLY file, if photos' cameras say what
    may be left out."""
    rounds: int = 3
    """Leaving out goes in so many steps, with fitting after each."""
    views: int = 24
    """Pictures of the splats as they were that the rest is fitted to, if there are not more photos."""
    max_side: int = 640
    """Longest side of these, in pixels, without their frame."""
    bit: float = 0.0
    """Mean squared error that fitting may add to save one bit a Gaussian."""
    colors: Kind | None = None
    """What knows the colours in the place of stored ones: see `recon.compress.compact`; None: they are stored."""
    quantise: QuantiseConfig = field(default_factory=QuantiseConfig)
    fit: RefitConfig = field(default_factory=RefitConfig)
    """After leaving out."""
    settle: RefitConfig = field(default_factory=lambda: SETTLE)
    """Once values are rounded."""


PRESETS: dict[str, CompressConfig] = {
    "lossless": CompressConfig(
        keep=0.9,
        rounds=1,
        quantise=QuantiseConfig(0.1, 127, 63, scale_step=0.06, color_step=0.03, palette=256),
        fit=GENTLE,
        settle=GENTLE,
    ),
    "web": CompressConfig(
        keep=0.56,
        times_smaller=25.3,
        rounds=1,
        views=48,
        bit=4e-6,
        quantise=QuantiseConfig(0.06, 40, 15, scale_step=0.1, thin=4, smallest=0.02, color_step=0.05, palette=0),
        fit=RefitConfig(steps=420),
    ),
    "tiny": CompressConfig(
        keep=0.28,
        times_smaller=51.0,
        views=64,
        bit=5e-6,
        quantise=QuantiseConfig(0.12, 31, 15, scale_step=0.15, thin=4, smallest=0.05, color_step=0.07, palette=0),
        fit=RefitConfig(steps=300),
    ),
}
