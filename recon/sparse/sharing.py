"""Random parameter sharing: the same small pool of numbers behind all weights; what pruning must beat."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class RandomSharing(nn.Module):
    """Weights drawn from a pool that is smaller than they are: STABLE-RPS.

    Desai and Shrivastava 2023, "In defense of parameter sharing for model-compression". All weights are laid end to end
    and cut into pieces as long as the pool; each piece is a random permutation of it with random signs (their
    RandomFold), so that no entry serves two more weights than another and a pool of full size gives back a full model.
    A pool entry's gradient is divided by the sum of its users' squared scales: whatever the scales, a step of gradient
    descent moves the weights as far as it would without sharing, on average over the users.

    Only the pool is stored; the rest follows from the seed.
    """

    _slots: Tensor
    _factors: Tensor
    _load: Tensor

    def __init__(self, scales: Mapping[str, float], shapes: Mapping[str, tuple[int, ...]], pool: int, seed: int = 0):
        """
        Args:
            scales: standard deviation each tensor starts with, by name.
            shapes: the tensors to be given, by name, in this order.
            pool: how many numbers there are.

        Raises:
            ValueError: a pool of less than one number, or larger than all tensors together.
        """
        super().__init__()
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        sizes = [shape.numel() for shape in self.shapes.values()]
        if not 1 <= pool <= sum(sizes):
            raise ValueError(f"A pool must hold 1 to {sum(sizes)} numbers (as many as there are weights), got {pool}.")
        generator = torch.Generator().manual_seed(seed)
        pieces = [torch.randperm(pool, generator=generator) for _ in range(-(-sum(sizes) // pool))]
        slots = torch.cat(pieces)[: sum(sizes)]
        signs = torch.randint(2, slots.shape, generator=generator) * 2.0 - 1.0
        factors = torch.cat([signs.new_full((n,), scales[name]) for name, n in zip(self.shapes, sizes)])
        self.register_buffer("_slots", slots, persistent=False)
        self.register_buffer("_factors", signs * factors, persistent=False)
        self.register_buffer("_load", torch.zeros(pool).index_add_(0, slots, factors.square()), persistent=False)
        self.pool = nn.Parameter(torch.randn(pool, generator=generator))
        self.pool.register_hook(lambda gradient: gradient / self._load)

    def forward(self) -> dict[str, Tensor]:
        """The tensors by name."""
        flat = self.pool[self._slots] * self._factors
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for part, (name, shape) in zip(parts, self.shapes.items())}
