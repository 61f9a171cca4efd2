"""Photos are opaque: where they look, there must be something."""

from jaxtyping import Float
from torch import Tensor

from recon.optimize.terms.base import Step


def coverage(alpha: Float[Tensor, "H W"], mask: Float[Tensor, "H W"] | None) -> Float[Tensor, ""]:
    """How far alpha is from the mask, or from one where photos have no mask."""
    return (1 - alpha).mean() if mask is None else (alpha - mask).abs().mean()


def term(step: Step) -> Float[Tensor, ""]:
    return coverage(step.view.alpha, step.target.mask)
