"""What `recon bench views` compares: the table of arms. To add one: a line in `ARMS`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recon.errors import InputError

NEVER, ADAPT_STEPS = "1000000000", "60"


@dataclass(frozen=True)
class Arm:
    """A method with options."""

    label: str
    """Also a folder's name."""
    group: str
    """`methods`; `off`: recon without one of its parts; `on`: recon with one more; `priors`: with one for pictures;
    `repair`: its pictures, not its splats, repaired by one; `ungated`: one that is not tested; `object`: with masks of
    the object, what lies behind it left black, so that only the masked figures can be compared."""
    about: str
    options: Mapping[str, str] = field(default_factory=dict)
    """As `recon bench run --option` takes them."""
    method: str = "recon"
    against: tuple[str, ...] = ("recon",)
    """Labels of the arms that it is compared with."""
    only: str | None = None
    """The kind of poses where it makes a difference; None: both."""


ARMS: tuple[Arm, ...] = (
    Arm("recon", "methods", "all that is on by default", against=("plain", "plain-dense")),
    Arm("plain", "methods", "3DGS from sparse points", method="plain", against=()),
    Arm(
        "plain-dense", "methods", "3DGS from our dense points", {"init": "dense"}, method="plain", against=("plain",)
    ),
    Arm("no-dropout", "off", "Gaussians are never left out", {"train.dropout": "0"}),
    Arm("no-depth", "off", "no stereo depth term", {"train.loss.depth": "0"}),
    Arm("no-alpha", "off", "photos need not be opaque", {"train.loss.alpha": "0"}),
    Arm("no-ssim", "off", "L1 alone", {"train.loss.ssim": "0"}),
    Arm("no-random-background", "off", "black background", {"train.random_background": "false"}),
    Arm("no-coarse-to-fine", "off", "full size from the first step", {"train.coarse_scale": "1"}),
    Arm("no-gap-filling", "off", "start empty where stereo is unsure", {"train.init.fill_below": "0"}),
    Arm("no-flats", "off", "guesses are not put on planes", {"train.flats.planes": "0"}),
    Arm("no-undercoat", "off", "nothing beyond the photos' rims", {"train.undercoat.margin": "0"}),
    Arm("no-horizon", "off", "black where nothing is", {"train.horizon.distance": "0"}),
    Arm("no-backdrop", "off", "a flat backdrop stays where it was guessed", {"train.backdrop.distance": "0"}),
    Arm("no-densification", "off", "no Gaussians are added", {"train.densify.grow_fraction": "0"}),
    Arm(
        "no-size-limit", "off", "large and outlying Gaussians stay",
        {"train.densify.max_angle": NEVER, "train.densify.margin": NEVER},
    ),
    Arm("no-exposure", "off", "one exposure for all photos", {"train.refine_exposure": "false"}),
    Arm("no-pose-refinement", "off", "cameras stay", {"train.refine_poses": "false"}, only="estimated"),
    Arm("no-placing", "off", "no second look at doubtful photos", {"placing.enabled": "false"}, only="estimated"),
    Arm("no-shine", "off", "harmonics as everywhere where colours differ", {"train.shine.above": NEVER}),
    Arm("sh-3", "off", "spherical harmonics of degree 3, not 1", {"train.sh_degree": "3"}),
    Arm("sh-0", "off", "no view-dependent colour", {"train.sh_degree": "0"}),
    Arm("round-start", "off", "balls, not discs along the surface", {"train.init.flatness": "1"}),
    Arm("faint-start", "off", "opacity 0.1 everywhere", {"train.init.opacity": "0.1", "train.init.min_opacity": "0.1"}),
    Arm("strong-dropout", "on", "twice as many left out", {"train.dropout": "0.2"}),
    Arm("dropout-uncompensated", "on", "the others are not strengthened", {"train.dropout_kind": "plain"}),
    Arm(
        "opacity-noise", "on", "opacities shaken, none left out",
        {"train.dropout_kind": "noise", "train.dropout": "0.5"},
    ),
    Arm("opacity-decay", "on", "opacities fade a little at each step", {"train.decay.factor": "0.995"}),
    Arm("exposure-always", "on", "each photo an exposure of its own", {"train.exposure.above": "0"}),
    Arm("robust", "on", "pixels that contradict the other photos count less", {"train.loss.robust": "1"}),
    Arm("ranking", "on", "order and continuity of depth", {"train.loss.ranking": "0.05"}),
    Arm("correlation", "on", "correlation of inverse depth", {"train.loss.correlation": "0.05"}),
    Arm("patch-correlation", "on", "the same, patch by patch", {"train.loss.patch_correlation": "0.02"}),
    Arm("scale-shift", "on", "inverse depth up to scale and shift", {"train.loss.scale_shift": "0.05"}),
    Arm("normals", "on", "normals against stereo's", {"train.loss.normals": "0.02"}),
    Arm("smoothness", "on", "smooth normals where the photo is plain", {"train.loss.smoothness": "0.005"}),
    Arm("binocular", "on", "a view from a little aside, carried back", {"train.loss.binocular": "0.1"}),
    Arm("photos", "on", "another photo, carried over by depth", {"train.loss.photos": "0.1"}),
    Arm(
        "mcmc", "on", "3DGS-MCMC instead of splitting",
        {"train.densify.strategy": "mcmc", "train.loss.opacity": "0.01", "train.loss.scale": "0.01"},
    ),
    Arm("candidates", "on", "growth first where Gaussians were pruned", {"train.densify.strategy": "candidates"}),
    Arm("floaters", "on", "floaters are removed twice", {"train.densify.floaters.at": "[0.667, 0.833]"}),
    Arm("coherent", "on", "common changes of depth on a grid", {"train.coherent.cell_px": "16"}),
    Arm("early-stopping", "on", "as many steps as suit a photo left out", {"train.stopping.every": "50"}),
    Arm("structure", "on", "displacements smoothed over neighbours", {"train.structure.every": "10"}),
    Arm("opacity-term", "on", "opacity penalty of 3DGS-MCMC", {"train.loss.opacity": "0.01"}),
    Arm("scale-term", "on", "scale penalty of 3DGS-MCMC", {"train.loss.scale": "0.01"}),
    Arm("focal", "on", "focal length is refined", {"train.rates.focal": "0.0002"}, only="estimated"),
    Arm("prior-blend", "priors", "views that no photo shows: photos blended in", {"train.pseudo.prior": "blend"}),
    Arm(
        "prior-embedded", "priors", "the same by the network that ships", {"train.pseudo.prior": "embedded"},
        against=("recon", "prior-blend"),
    ),
    Arm(
        "prior-embedded-adapted", "priors", "the network taught the scene where that pays",
        {"train.pseudo.prior": "embedded", "train.pseudo.adapt": ADAPT_STEPS}, against=("recon", "prior-blend"),
    ),
    Arm("repair-blend", "repair", "pictures, not splats: photos blended in", {"repair": "blend"}),
    Arm(
        "repair-embedded", "repair", "pictures, not splats: by the network that ships", {"repair": "embedded"},
        against=("recon", "repair-blend"),
    ),
    Arm(
        "repair-embedded-adapted", "repair", "pictures, not splats: by the network taught the scene where that pays",
        {"repair": "embedded", "train.pseudo.adapt": ADAPT_STEPS}, against=("recon", "repair-blend"),
    ),
    Arm(
        "prior-blend-ungated", "ungated", "not tested on left-out photos",
        {"train.pseudo.prior": "blend", "train.pseudo.gate.enabled": "false"},
    ),
    Arm(
        "prior-embedded-ungated", "ungated", "not tested on left-out photos",
        {"train.pseudo.prior": "embedded", "train.pseudo.gate.enabled": "false"},
    ),
    Arm("masks", "object", "masks from transparency or the small network", {"images.masks": "auto"}),
    Arm(
        "masks-hull", "object", "and points from the visual hull",
        {"images.masks": "auto", "train.hull.points": "20000"}, against=("masks",),
    ),
)  # fmt: skip
GROUPS = ("methods", "off", "on", "priors", "repair", "ungated", "object")


def choose_arms(names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms called `names`, or in the groups called so, with those that they are compared with.

    Parts are compared with `recon`, which so comes along; methods come alone.

    Raises:
        InputError: there is none of a name.
    """
    known = {arm.label for arm in ARMS} | set(GROUPS)
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"No arm {unknown[0]!r}. There are: {', '.join((*GROUPS, *(arm.label for arm in ARMS)))}.")
    wanted = {arm.label for arm in ARMS if arm.label in names or arm.group in names}
    wanted |= {other for arm in ARMS if arm.label in wanted and arm.group != "methods" for other in arm.against}
    return tuple(arm for arm in ARMS if arm.label in wanted)
