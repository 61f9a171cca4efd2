"""One interface over the renderers, and the choice between them.

Every rasterizer takes gsplat's `rasterization` arguments and returns its `(colors, alphas, meta)`:

| name          | code                   | used for                                           |
|---------------|------------------------|----------------------------------------------------|
| `cuda`        | gsplat's kernels       | `device="cuda"`, or `auto` where a GPU is found    |
| `cpu`         | our C++ library        | everything else                                    |
| `torch_tiles` | PyTorch                | a CPU without the library or a compiler to make it |
"""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from recon import native
from recon.errors import InputError, ResourceError
from recon.types import Cameras, Rendering, Splats

logger = logging.getLogger(__name__)

ALPHA_CAP = 0.999  # gsplat 1.5's; its release 1.6 changed to 0.99
RasterizeResult = tuple[Tensor, Tensor, dict[str, Any]]


@runtime_checkable
class Rasterizer(Protocol):
    """A renderer: gsplat's `rasterization` under a name, for tensors on one device."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> torch.device: ...

    def __call__(
        self,
        means: Float[Tensor, "N 3"],
        quats: Float[Tensor, "N 4"],
        scales: Float[Tensor, "N 3"],
        opacities: Float[Tensor, " N"],
        colors: Float[Tensor, "..."],
        viewmats: Float[Tensor, "C 4 4"],
        Ks: Float[Tensor, "C 3 3"],
        width: int,
        height: int,
        **options: Any,
    ) -> RasterizeResult:
        """Images [C,H,W,D], alphas [C,H,W,1] and intermediate results; `options` are gsplat's keyword arguments."""
        ...


@dataclass(frozen=True)
class Backend:
    """A `Rasterizer` made of a function with gsplat's signature."""

    name: str
    device: torch.device
    function: Callable[..., RasterizeResult]
    defaults: dict[str, Any]
    """Keyword arguments that a call may override."""

    def __call__(self, *args: Any, **options: Any) -> RasterizeResult:
        return self.function(*args, **{**self.defaults, **options})


def select_rasterizer(device: str = "auto", alpha_cap: float | None = None) -> Rasterizer:
    """The fastest rasterizer for `device`: `auto` (a GPU when there is one), `cpu` or `cuda`.

    `alpha_cap` bounds the alpha of one Gaussian. None takes what the renderer has: 0.999 on the CPU, and on a GPU
    whatever the installed gsplat was compiled with.

    Raises:
        InputError: an unknown device, or an `alpha_cap` that gsplat's kernels were not compiled with.
        ResourceError: `cuda` on a machine without a usable GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"Unknown device {device!r}. Use auto, cpu or cuda.")
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
        raise ResourceError(
            f"--device cuda needs a CUDA GPU, but PyTorch {torch.__version__} (built for {build}) finds none. "
            "Use --device cpu, or check the driver with nvidia-smi and install a CUDA build of PyTorch."
        )
    if has_gpu and device != "cpu":
        from recon.render import cuda  # gsplat must not be imported without a GPU: it would try to compile

        return cuda.rasterizer(alpha_cap)
    options = {"alpha_cap": ALPHA_CAP if alpha_cap is None else alpha_cap}
    if native.library() is None:
        _warn_of_fallback(native.describe().reason)
        from recon.render import torch_tiles

        return Backend("torch_tiles", torch.device("cpu"), torch_tiles.rasterization, options)
    from recon.render import cpu

    return Backend("cpu", torch.device("cpu"), cpu.rasterization, options)


@functools.cache
def _warn_of_fallback(reason: str) -> None:
    logger.warning(
        "Rendering in plain PyTorch, 20 to 40 times slower than the native library, which is missing: %s", reason
    )


def render(
    splats: Splats,
    cameras: Cameras,
    rasterizer: Rasterizer,
    *,
    background: Float[Tensor, " 3"] | None = None,
    sh_degree: int | None = None,
    render_mode: str = "RGB+ED",
    rasterize_mode: str = "classic",
    **options: Any,
) -> Rendering:
    """Images of `splats` from V `cameras` of one size, with gradients to both.

    Args:
        background: colour behind what the splats leave uncovered; black by default.
        sh_degree: bands in use; by default all that the splats have.
        render_mode: `RGB+ED` (depth is the expected z-depth), `RGB+D` (accumulated, not divided by alpha) or `RGB`
            (`depth` is then 0 everywhere).
        options: further arguments of gsplat's `rasterization`.

    Raises:
        ValueError: cameras of several sizes, or a mode without colour.
    """
    if render_mode not in ("RGB", "RGB+D", "RGB+ED"):
        raise ValueError(f"render() makes images; render_mode must be RGB, RGB+D or RGB+ED, got {render_mode!r}.")
    width, height = common_size(cameras)
    colors, alphas, meta = rasterizer(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.colors,
        cameras.cam_from_world,
        cameras.Ks,
        width,
        height,
        sh_degree=splats.sh_degree if sh_degree is None else sh_degree,
        backgrounds=None if background is None else background.expand(len(cameras), 3),
        render_mode=render_mode,
        rasterize_mode=rasterize_mode,
        **options,
    )
    alpha = alphas[..., 0]
    depth = torch.zeros_like(alpha) if render_mode == "RGB" else colors[..., 3]
    return Rendering(colors[..., :3], alpha, depth, meta)


def common_size(cameras: Cameras) -> tuple[int, int]:
    """Width and height in pixels that all `cameras` share.

    Raises:
        ValueError: they do not share one.
    """
    sizes = sorted(set(zip(cameras.width.tolist(), cameras.height.tolist())))
    if len(sizes) != 1:
        found = ", ".join(f"{w}x{h}" for w, h in sizes) or "no camera"
        raise ValueError(f"Cameras rendered together must share one size, got {found}. Render each size by itself.")
    return sizes[0]
