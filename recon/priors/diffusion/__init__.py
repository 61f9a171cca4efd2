"""Priors that know what pictures look like, one file each behind the interface of `base.py`.

`PRIORS` names them all; a prior's module is imported when it is made, as most want packages that need not be here.
"""

from collections.abc import Callable, Sequence
from importlib import import_module

from recon.assets import downloads_allowed
from recon.errors import InputError, MissingDependencyError
from recon.priors.diffusion.base import Licence, NullPrior, Prior, Repaired, ScorePrior, Views
from recon.priors.diffusion.blend import BlendPrior
from recon.priors.diffusion.warps import make_views

__all__ = [
    "PRIORS",
    "BlendPrior",
    "Licence",
    "NullPrior",
    "Prior",
    "Repaired",
    "ScorePrior",
    "Views",
    "make_prior",
    "make_views",
    "require_prior",
]


def _later(module: str, name: str) -> Callable[..., Prior]:
    """A factory that imports its class when it is called."""

    def make(*checkpoints: str) -> Prior:
        prior: Prior = getattr(import_module(f"recon.priors.diffusion.{module}"), name)(*checkpoints)
        return prior

    return make


PRIORS: dict[str, Callable[..., Prior]] = {
    "none": NullPrior,
    "blend": BlendPrior,
    "embedded": _later("embedded", "EmbeddedPrior"),
    "difix": _later("hub.difix", "DifixPrior"),
    "sd-turbo": _later("hub.turbo", "SdTurboPrior"),
    "sdxl-turbo": _later("hub.turbo", "SdxlTurboPrior"),
    "controlnet-tile": _later("hub.controlnet", "ControlNetTilePrior"),
    "zero123": _later("hub.zero123", "Zero123Prior"),
}
"""How each is made, by the name that `--prior` takes. Making one loads no weights and never touches the network."""


WITHOUT_CHECKPOINTS = ("none", "blend", "embedded")


def make_prior(name: str, checkpoints: Sequence[str] = ()) -> Prior:
    """The prior called `name`.

    Args:
        checkpoints: ids on the Hugging Face hub, or folders, in the place of a large prior's own weights.

    Raises:
        InputError: there is none of that name, or it takes no checkpoints.
    """
    if name not in PRIORS:
        raise InputError(f"There is no prior called {name!r}. Choose one of: {', '.join(PRIORS)}.")
    if checkpoints and name in WITHOUT_CHECKPOINTS:
        raise InputError(f"The prior {name} takes no checkpoints, got {', '.join(checkpoints)}. Leave them out.")
    return PRIORS[name](*checkpoints)


def require_prior(name: str, checkpoints: Sequence[str] = ()) -> None:
    """See that a prior can run, or that the user has allowed to download what it lacks.

    Raises:
        InputError: as `make_prior`.
        MissingDependencyError: it cannot run here; says what is missing, with licence and size.
    """
    ready, why = make_prior(name, checkpoints).available()
    if not ready and not downloads_allowed():
        raise MissingDependencyError(f"The prior {name} cannot run here. {why}")
