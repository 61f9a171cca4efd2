"""How far to go: three steps from what nobody sees to what a phone loads at once.

The steps of quantisation were set so that each property costs about as much as the others, and all of them together
about as much as leaving Gaussians out: coarser steps with more Gaussians, and finer with fewer, were both worse at the
same size (measured on trained few-view scenes). Sizes and losses: `recon bench compress`.
"""

from dataclasses import dataclass, field

from recon.compress.codes import QuantiseConfig
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
    rounds: int = 3
    """Leaving out goes in so many steps, with fitting after each."""
    views: int = 24
    """Pictures of the splats as they were that the rest is fitted to, if there are not more photos."""
    max_side: int = 640
    """Longest side of these, in pixels, without their frame."""
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
        rounds=2,
        quantise=QuantiseConfig(0.3, 31, 15, scale_step=0.12, thin=4, smallest=0.02, color_step=0.06, palette=0),
        fit=RefitConfig(steps=180),
    ),
    "tiny": CompressConfig(
        keep=0.28,
        quantise=QuantiseConfig(0.4, 31, 15, scale_step=0.15, thin=4, smallest=0.05, color_step=0.07, palette=0),
        fit=RefitConfig(steps=300),
    ),
}
