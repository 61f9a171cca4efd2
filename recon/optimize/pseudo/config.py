"""When pseudo-views are used, where they are and how much they count; and how their prior is put to the test."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GateConfig:
    """The test on left-out photos that decides a prior's weight."""

    enabled: bool = True
    """Off: the prior counts fully, whatever it does to the photos."""
    photos: int = 4
    """At most so many are left out, each in a fit of its own: those that lie most between others, these first."""
    scale: float = 0.25
    """Size of these fits in units of the training size."""
    min_side: int = 96
    """Longest side of these fits in pixels, where the photos have as much: on smaller pictures a prior sees nothing."""
    steps: int = 300
    """Fewer praise a prior for what some more steps would do by themselves."""
    full_gain_db: float = 0.3
    """Gain from which the prior counts fully; it counts in proportion below, and not at all from 0 down."""


@dataclass(frozen=True)
class PseudoConfig:
    """Views that no photo shows, as a prior for pictures would have them."""

    prior: str = "none"
    """`none`, or a name that `--prior` takes."""
    checkpoints: tuple[str, ...] = ()
    """Ids on the Hugging Face hub, or folders, in the place of a large prior's own weights."""
    seconds: float = 60.0
    """What the gate and the repairs may take together, by the clock; after that, the views made so far stay in use."""
    weight: float = 1.0
    """Of a pseudo-view's loss against a photo's, before the gate, the confidence and the schedule lower it. With 0.2 on
    0.3 of the steps, views that were given in truth took over 0.7 dB of it, with 1 on all steps 3.8."""
    share: float = 0.5
    """Share of the steps that a pseudo-view is added to. No step on a photo is given up for it."""
    start: float = 0.5
    """Share of the training after which pseudo-views are used: earlier renderings say little."""
    fade: float = 0.1
    """Share of the training, at its end, over which they fade out: the photos have the last word."""
    per_photo: int = 4
    """Pseudo-views per photo."""
    most: int = 16
    """Pseudo-views at the same time, at most."""
    every: int = 150
    """Steps between two rounds of placing and repairing them."""
    references: int = 2
    """Photos that are carried into each view."""
    outward: float = 0.5
    """How far beyond the photos' cameras the views have grown at the end, in units of the distance between
    neighbours; at first they lie between them (Difix3D+, Wu et al. 2025, sec. 4.2)."""
    jitter: float = 0.1
    """Standard deviation of their displacement from the line between neighbours, in the same units."""
    adapt: int = 0
    """Steps in which a prior that learns is taught the left-out photos of the gate, before it is used; kept where it
    pays on photos that it was not taught."""
    gate: GateConfig = field(default_factory=GateConfig)
