"""Residual vector quantisation: each codebook describes what those before it left over."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon.sparse.quantise.kmeans import kmeans


@dataclass(frozen=True)
class ResidualCodebook:
    """Codebooks whose entries add up."""

    centers: tuple[Float[Tensor, "_ D"], ...]
    labels: Int64[Tensor, "N S"]
    """Entry of each codebook."""

    def decode(self) -> Float[Tensor, "N D"]:
        """The points as the codebooks describe them."""
        return torch.stack([book[self.labels[:, s]] for s, book in enumerate(self.centers)]).sum(0)


def residual_quantise(
    points: Float[Tensor, "N D"],
    counts: Sequence[int],
    *,
    weights: Float[Tensor, " N"] | None = None,
    rounds: int = 10,
    seed: int = 0,
) -> ResidualCodebook:
    """One codebook of each of `counts` entries, after another (Juang and Gray 1982, "Multiple stage vector quantization
    for speech coding").

    Raises:
        ValueError: no counts, no points, a count below 1, or negative weights.
    """
    if not counts:
        raise ValueError("Residual quantisation needs at least one codebook.")
    books, labels, left = [], [], points.detach()
    for stage, count in enumerate(counts):
        book = kmeans(left, count, weights=weights, rounds=rounds, seed=seed + stage)
        books.append(book.centers)
        labels.append(book.labels)
        left = left - book.centers[book.labels]
    return ResidualCodebook(tuple(books), torch.stack(labels, dim=1))
