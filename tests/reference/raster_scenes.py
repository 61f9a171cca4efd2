"""Small random scenes for rasterizer tests, and the one loss whose gradients the tests compare."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

LEAVES = ("means", "quats", "scales", "opacities", "colors", "viewmats")


@dataclass(frozen=True)
class Scene:
    """gsplat's arguments; activated values, float64."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def args(self) -> tuple:
        return tuple(getattr(self, f.name) for f in fields(self))

    def to(self, where: torch.dtype | torch.device) -> "Scene":
        return replace(self, **{name: getattr(self, name).to(where) for name in (*LEAVES, "Ks")})

    def leaves(self) -> list[Tensor]:
        return [getattr(self, name) for name in LEAVES]

    def requiring_grad(self) -> "Scene":
        return replace(self, **{name: getattr(self, name).detach().clone().requires_grad_() for name in LEAVES})


def random_scene(n: int = 120, width: int = 37, height: int = 29, cameras: int = 2, sh_degree: int | None = 3) -> Scene:
    """Overlapping Gaussians in front of, around and behind `cameras` cameras; many opaque enough to end pixels.

    `colors` are SH coefficients [N,16,3], or with `sh_degree` None plain colours [N,3].
    """
    g = torch.Generator().manual_seed(1)
    f64 = torch.float64
    angles = 0.2 * torch.arange(cameras, dtype=f64)
    viewmats = torch.eye(4, dtype=f64).repeat(cameras, 1, 1)
    viewmats[:, 0, 0] = viewmats[:, 2, 2] = angles.cos()
    viewmats[:, 0, 2], viewmats[:, 2, 0] = angles.sin(), -angles.sin()
    viewmats[:, :3, 3] = angles[:, None] * torch.tensor([1.5, 0.5, 1.0], dtype=f64)
    K = torch.tensor([[0.8 * width, 0, 0.5 * width - 0.2], [0, 0.83 * width, 0.5 * height + 0.3], [0, 0, 1]], dtype=f64)
    spread, shift = torch.tensor([1.5, 1.2, 1.0], dtype=f64), torch.tensor([0.0, 0.0, 3.0], dtype=f64)
    plain = torch.rand(n, 3, generator=g, dtype=f64)
    return Scene(
        means=torch.randn(n, 3, generator=g, dtype=f64) * spread + shift,
        quats=torch.randn(n, 4, generator=g, dtype=f64),
        scales=torch.rand(n, 3, generator=g, dtype=f64) * 0.3 + 0.02,
        opacities=torch.rand(n, generator=g, dtype=f64) ** 0.3,
        colors=plain if sh_degree is None else 0.4 * torch.randn(n, 16, 3, generator=g, dtype=f64),
        viewmats=viewmats,
        Ks=K.repeat(cameras, 1, 1),
        width=width,
        height=height,
    )


def random_projection(*outputs: Tensor) -> Tensor:
    """Sum of the outputs times fixed random numbers: its gradient exercises every output value."""
    g = torch.Generator().manual_seed(7)
    total = outputs[0].new_zeros(())
    for out in outputs:
        total = total + (out * torch.randn(out.shape, generator=g, dtype=torch.float64).to(out)).sum()
    return total


def relative_error(got: Tensor, true: Tensor) -> float:
    """|got - true| / |true| in float64."""
    got, true = got.detach().double().cpu(), true.detach().double().cpu()
    return float((got - true).norm() / true.norm().clamp_min(1e-30))
