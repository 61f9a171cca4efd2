"""gsplat's CUDA kernels behind the same interface. Import this module only where `torch.cuda.is_available()`.

gsplat compiles its kernels on first use if its wheel came without them, which takes minutes and needs nvcc.
"""

from typing import Any

import torch

from recon.errors import InputError, MissingDependencyError
from recon.render.base import Backend, RasterizeResult


def rasterizer(alpha_cap: float | None = None) -> Backend:
    """gsplat's `rasterization` on the current CUDA device.

    Raises:
        MissingDependencyError: gsplat, or its compiled kernels, are not there and cannot be made.
        InputError: `alpha_cap` differs from the one the kernels were compiled with.
    """
    device = torch.device("cuda", torch.cuda.current_device())
    _require_kernels()
    built_in = kernel_alpha_cap()
    if alpha_cap is not None and alpha_cap != built_in:
        import gsplat

        raise InputError(
            f"alpha_cap={alpha_cap} asked for, but gsplat {gsplat.__version__} has {built_in} compiled into its "
            "kernels. Leave alpha_cap unset, render with --device cpu, or install the gsplat release that fits "
            "(0.999: 1.5, 0.99: 1.6)."
        )
    return Backend("cuda", device, _rasterization, {"alpha_cap": built_in})


def kernel_alpha_cap() -> float:
    """The bound on one Gaussian's alpha in the installed gsplat: 1.6 names its constant, 1.5 wrote 0.999 inline."""
    try:
        from gsplat.cuda._constants import MAX_ALPHA
    except ImportError:
        return 0.999
    return float(MAX_ALPHA)


def _require_kernels() -> None:
    try:
        from gsplat.cuda._backend import _C
    except ImportError as error:
        raise MissingDependencyError(
            f"A GPU was found, but gsplat cannot be imported ({error}). Install it with `pip install gsplat`, "
            "or use --device cpu."
        ) from error
    except Exception as error:  # the compiler's own failure, of whatever class
        raise MissingDependencyError(
            f"gsplat could not compile its CUDA kernels: {error}. Install a CUDA toolkit that matches PyTorch's "
            f"({torch.version.cuda}), a gsplat wheel with compiled kernels, or use --device cpu."
        ) from error
    if _C is None:
        raise MissingDependencyError(
            "gsplat was installed without compiled kernels and finds no CUDA toolkit (nvcc) to make them. Install "
            f"CUDA {torch.version.cuda}, a gsplat wheel with compiled kernels, or use --device cpu."
        )


def _rasterization(*args: Any, alpha_cap: float, **options: Any) -> RasterizeResult:
    """gsplat's own call, minus the argument it does not have."""
    import gsplat

    if alpha_cap != kernel_alpha_cap():
        raise InputError(f"alpha_cap={alpha_cap} is not the {kernel_alpha_cap()} of the installed gsplat's kernels.")
    colors, alphas, meta = gsplat.rasterization(*args, **options)
    return colors, alphas, meta
