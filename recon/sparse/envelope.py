"""The weighted group sparse envelope: a convex stand-in for "at most so much budget spent on groups".

Refael, Arbel and Huleihel 2022, "Learning k-level structured sparse neural networks using group envelope
regularization", after Beck and Refael's sparse envelope: the largest convex function below half the squared norm where
the groups that are not zero cost at most `budget`, infinity elsewhere. With shares u_g in [0, 1] of the groups kept,

    envelope(x) = min_u  sum_g |x_g|^2 / (2 u_g)     subject to  sum_g w_g u_g <= budget.

In the proximal step, min_x |x - t|^2 / 2 + s envelope(x), each group is x_g = t_g u_g / (u_g + s). Setting the
derivative by u_g of what is left, s |t_g|^2 / (2 (u_g + s)), against the price of the budget gives

    u_g = clip(h |t_g| / sqrt(w_g) - s, 0, 1),

with the one h that spends the budget; spending is piecewise linear in h, so h is found exactly by sorting its bends.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from recon.sparse.criteria import group_norms


def group_envelope(
    values: Float[Tensor, "G ..."], budget: float, weights: Float[Tensor, " G"] | None = None
) -> Float[Tensor, ""]:
    """Value of the envelope, differentiable; the groups are the rows.

    Args:
        budget: what the groups that remain may cost together; without weights, their number.
        weights: what each group costs, for example its size in bytes; ones by default.

    Raises:
        ValueError: a budget or weight that is not positive.
    """
    shares = group_shares(group_norms([values]), budget, 0.0, weights).to(values.dtype)
    squares = values.reshape(len(values), -1).square().sum(1)
    return (squares / (2 * shares.clamp_min(1e-30))).where(shares > 0, 0.0).sum()


def prox_group_envelope(
    values: Float[Tensor, "G *rest"], budget: float, strength: float, weights: Float[Tensor, " G"] | None = None
) -> Float[Tensor, "G *rest"]:
    """The proximal step of `strength` times the envelope: weak groups become exactly zero.

    Take it after each gradient step, with strength = learning rate x regularisation. Groups kept whole shrink by
    1 / (1 + strength).
    """
    shares = group_shares(group_norms([values]), budget, strength, weights).to(values.dtype)
    factors = torch.where(shares > 0, shares / (shares + strength), 0.0)
    return values.detach() * factors.view(-1, *[1] * (values.ndim - 1))


def group_shares(
    norms: Float[Tensor, " G"], budget: float, strength: float, weights: Float[Tensor, " G"] | None = None
) -> Float[Tensor, " G"]:
    """The shares u_g above, in float64; they cost exactly `budget` unless all groups that are not zero cost less."""
    norms = norms.detach().double()
    weights = torch.ones_like(norms) if weights is None else weights.double()
    if budget <= 0 or bool((weights <= 0).any()):
        raise ValueError(f"The budget and all weights must be positive, got a budget of {budget:g}.")
    alive = norms > 0
    if float(weights[alive].sum()) <= budget:
        return alive.double()
    slopes = norms / weights.sqrt()  # of u_g in h
    price = _price(slopes[alive], weights[alive], budget, strength)
    return (price * slopes - strength).clamp(0.0, 1.0)


def _price(slopes: Tensor, weights: Tensor, budget: float, strength: float) -> Tensor:
    """The h at which sum w clip(h slope - strength, 0, 1) = budget."""
    bends = torch.cat([strength / slopes, (1 + strength) / slopes])
    order = bends.argsort()
    bends = bends[order]
    rises = torch.cat([weights * slopes, -weights * slopes])[order].cumsum(0)
    spent = torch.cat([bends.new_zeros(1), (rises[:-1] * bends.diff()).cumsum(0)])
    i = min(int((spent < budget).sum()), len(spent) - 1)  # at the last bend, more than the budget is spent
    return bends[i] - (spent[i] - budget) / rises[i - 1]
