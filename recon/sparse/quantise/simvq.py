"""A learned codebook that does not collapse: fixed entries seen through one learned linear layer."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon.sparse.quantise.nearest import nearest
from recon.sparse.quantise.usage import Usage, codebook_usage


@dataclass(frozen=True)
class Quantised:
    """What SimVQ makes of a batch."""

    points: Float[Tensor, "N D"]
    """The entries; gradients pass straight through to the input."""
    labels: Int64[Tensor, " N"]
    loss: Float[Tensor, ""]
    """To be added to the loss: moves entries to points and, more weakly, points to entries."""
    usage: Usage


class SimVQ(nn.Module):
    """Zhu et al. 2024, "Addressing representation collapse in vector quantized models with one linear layer".

    A plain learned codebook moves only the entries that are chosen, and those that are not die. Here the entries stay
    as they are and a D x D layer, through which every one of them passes, is learned: all of them move together.
    """

    entries: Float[Tensor, "K D"]

    def __init__(self, codebook: Float[Tensor, "K D"], commitment: float = 0.25) -> None:
        """
        Args:
            codebook: the fixed entries: normal noise, or points drawn from the data; the layer starts as the identity.
            commitment: weight of moving points to entries (van den Oord et al. 2017, "Neural discrete representation
                learning", eq. 3).
        """
        super().__init__()
        self.register_buffer("entries", codebook.detach().clone())
        self.layer = nn.Parameter(torch.eye(codebook.shape[1], dtype=codebook.dtype, device=codebook.device))
        self.commitment = commitment

    def codebook(self) -> Float[Tensor, "K D"]:
        """The entries as they are used: these are what a file stores."""
        return self.entries @ self.layer

    def forward(self, points: Float[Tensor, "N D"]) -> Quantised:
        """The nearest entry of each point."""
        book = self.codebook()
        labels = nearest(points, book)
        chosen = book[labels]
        loss = (chosen - points.detach()).square().mean() + self.commitment * (chosen.detach() - points).square().mean()
        straight = points + (chosen - points).detach()
        return Quantised(straight, labels, loss, codebook_usage(labels, len(book)))
