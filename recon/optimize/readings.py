"""What is said of a training while it runs."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Readings:
    """Running means of what the progress line shows."""

    loss: float = 0.0
    psnr: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    """What each term contributes to the loss."""
    count: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def add(self, loss: float, psnr: float, terms: dict[str, Tensor]) -> None:
        self.count += 1
        self.loss += (loss - self.loss) / self.count
        self.psnr += (psnr - self.psnr) / self.count
        for name, value in terms.items():
            before = self.terms.get(name, 0.0)
            self.terms[name] = before + (float(value) - before) / self.count
