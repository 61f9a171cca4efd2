"""Every knob of the optimiser, beside a sentence that says what it does and why its default is what it is."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class InitConfig:
    """From points to the first Gaussians."""

    max_gaussians: int = 120_000
    """Points beyond this number are thinned out evenly over their own spacing."""
    opacity: float = 0.6
    """Opacity of a point of full confidence; uncertain points start more transparent."""
    min_opacity: float = 0.1
    scale_factor: float = 0.75
    """Standard deviation along the surface, in units of the point spacing."""
    flatness: float = 0.3
    """Thickness along the normal over the extent along the surface, where a normal is known."""
    fill_below: float = 0.2
    """Pixels whose stereo confidence is below this get a faint Gaussian at their interpolated depth, so that no part of
    a photo starts empty. 0 turns it off."""
    fill_stride: int = 2
    """Every how many pixels, along x and y."""


@dataclass(frozen=True)
class DensifyConfig:
    """Where Gaussians are added and removed while training."""

    start: float = 0.1
    """First refinement, as a fraction of all steps."""
    stop: float = 0.6
    every: int = 100
    max_gaussians: int = 160_000
    """Hard cap."""
    grow_fraction: float = 0.05
    """At most this share of the present Gaussians is split or cloned in one refinement."""
    grow_grad: float = 8e-4
    """Mean absolute screen-space gradient (normalised device units, AbsGS) above which one is split or cloned."""
    split_radius_px: float = 4.0
    """Gaussians with a larger footprint are split, smaller ones cloned."""
    prune_opacity: float = 0.02
    max_angle: float = 0.03
    """Largest standard deviation over the distance to the nearest camera. A handful of Gaussians that reach out of the
    photos, where nothing holds them, is enough to fill every other view with fog."""
    margin: float = 0.02
    """Gaussians whose centres no photo shows, not even this share of its size beyond its rim, are removed."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; 0 turns one off."""

    ssim: float = 0.2
    """Share of 1 - SSIM against L1 (3DGS eq. 7)."""
    depth: float = 0.1
    """Relative distance to the stereo depth, weighted by its confidence."""
    opacity: float = 0.0
    """Mean opacity (3DGS-MCMC eq. 9): lets Gaussians that explain nothing fade away."""
    scale: float = 0.0
    """Mean scale over the median scene depth (3DGS-MCMC eq. 9)."""
    alpha: float = 0.05
    """Photos are opaque: 1 - alpha is penalised. With masks, alpha is pulled to the mask instead."""


@dataclass(frozen=True)
class RateConfig:
    """Learning rates of Adam. Means move in units of the median scene depth."""

    means: float = 1.0e-4
    means_final: float = 1.0e-6
    quats: float = 1e-3
    scales: float = 5e-3
    opacities: float = 3e-2
    sh0: float = 2.5e-3
    shN: float = 1.25e-4
    pose_rotation: float = 2e-4
    """Radians per step; decays to a hundredth."""
    pose_translation: float = 2e-4
    """In units of the median scene depth."""
    focal: float = 0.0
    """Of the logarithm of each lens's focal length, refined with the poses. Off: with 3 photos the splats absorb an
    error of 4% and the focal length stays where it is, at 0.2 dB less on held-out photos."""
    exposure: float = 1e-3


@dataclass(frozen=True)
class TrainConfig:
    """The whole of the optimisation."""

    steps: int = 3000
    max_side: int = 640
    """Longest side, in pixels, of the photos that are optimised against."""
    coarse_scale: float = 0.5
    """Resolution at the first step; it grows to full over `coarse_until` of the steps."""
    coarse_until: float = 0.4
    sh_degree: int = 1
    """Low on purpose: with few photos, high degrees memorise the viewpoint (FSGS, DNGaussian)."""
    sh_from: float = 0.3
    """View-dependent colour is released after this fraction of the steps."""
    dropout: float = 0.1
    """Largest share of Gaussians left out of a step, reached at the last step (DropGaussian, CVPR 2025)."""
    random_background: bool = True
    """A new colour behind the splats at each step, so that no hole can hide behind a matching background."""
    refine_poses: bool = True
    pose_from: float = 0.1
    """Poses stay fixed until the splats carry some structure."""
    refine_exposure: bool = True
    init: InitConfig = field(default_factory=InitConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    rates: RateConfig = field(default_factory=RateConfig)
    seed: int = 0
    publish_every: int = 100
    """Steps between two updates of the live viewer."""
    checkpoint_seconds: float = 20.0
