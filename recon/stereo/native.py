"""The C++ side of the stereo, as functions of tensors. Structures mirror recon/native/src/stereo_cost.h."""

import ctypes
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from recon import native

MAX_VIEWS = 8
_F9, _F3 = ctypes.c_float * 9, ctypes.c_float * 3


class _View(ctypes.Structure):
    _fields_ = (
        ("quads", ctypes.c_void_p),
        ("planes", ctypes.c_void_p),
        ("M", _F9),
        ("m", _F3),
        ("back_M", _F9),
        ("back_m", _F3),
        ("weight", ctypes.c_float),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
    )


class _Job(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("quads", "views", "prior", "planes", "cost", "texture")),
        *(
            (name, ctypes.c_float)
            for name in ("w_min", "w_max", "focal", "noise", "geometric_weight", "geometric_px", "prior_weight")
        ),
        *(
            (name, ctypes.c_int32)
            for name in ("width", "height", "n_views", "iterations", "seed", "random_start", "n_threads")
        ),
    )


@dataclass(frozen=True)
class NeighbourView:
    """Another photo as seen from the reference: `x' ~ M (x, y, 1) + m w` for a pixel with inverse depth w."""

    quads: Int32[Tensor, "h w"]
    M: Float[Tensor, "3 3"]
    m: Float[Tensor, "3"]
    back_M: Float[Tensor, "3 3"]
    back_m: Float[Tensor, "3"]
    weight: float
    planes: Float[Tensor, "h w 3"] | None = None


@dataclass(frozen=True)
class MatchSettings:
    """What one call of the kernel needs besides pictures."""

    w_min: float
    w_max: float
    focal_px: float
    noise: float
    seed: int
    iterations: int = 0
    random_start: int = 0
    """Rounds in which a random depth from the whole range is tried as well."""
    geometric_weight: float = 0.2
    geometric_px: float = 2.0
    prior_weight: float = 0.15


@dataclass(frozen=True)
class Matched:
    """Per pixel: the plane (inverse depth and its slope per pixel in x and y), its cost and the window's variance."""

    planes: Float[Tensor, "H W 3"]
    cost: Float[Tensor, "H W"]
    texture: Float[Tensor, "H W"]


def available() -> bool:
    """Whether the compiled library is there."""
    return native.library() is not None


def _library() -> ctypes.CDLL:
    library = native.library()
    assert library is not None, "check available() first"
    return library


def pack_quads(grey: UInt8[Tensor, "H W"]) -> Int32[Tensor, "H W"]:
    """Each pixel with its right, lower and lower-right neighbour in one word."""
    grey = grey.contiguous()
    height, width = grey.shape
    quads = torch.empty(height, width, dtype=torch.int32)
    _library().recon_stereo_quads(_pointer(grey), width, height, _pointer(quads))
    return quads


def sweep(
    quads: Int32[Tensor, "H W"],
    views: list[NeighbourView],
    settings: MatchSettings,
    inverse_depths: Float[Tensor, " D"],
    jumps: tuple[float, float],
) -> Matched:
    """Plane sweep and semi-global matching with penalties `jumps` for small and large steps between neighbours."""
    result = _empty(quads)
    job, keep = _job(quads, views, settings, result, None)
    depths = inverse_depths.float().contiguous()
    small, large = (ctypes.c_float(value) for value in jumps)
    code = _library().recon_stereo_sweep(ctypes.byref(job), _pointer(depths), len(depths), small, large)
    del keep
    if code:
        raise MemoryError(f"Not enough memory for a sweep of {len(depths)} planes at {tuple(quads.shape)} pixels.")
    return result


def patchmatch(
    quads: Int32[Tensor, "H W"],
    views: list[NeighbourView],
    settings: MatchSettings,
    planes: Float[Tensor, "H W 3"],
    prior: Float[Tensor, "H W"] | None = None,
) -> Matched:
    """Planes improved by propagation and random refinement. `prior`: inverse depth where the photo is flat, or 0."""
    result = _empty(quads)
    result.planes.copy_(planes)
    job, keep = _job(quads, views, settings, result, prior)
    code = _library().recon_stereo_patchmatch(ctypes.byref(job))
    del keep
    if code:
        raise RuntimeError(f"recon_stereo_patchmatch failed with code {code} for {len(views)} views.")
    return result


def plane_costs(
    quads: Int32[Tensor, "H W"],
    views: list[NeighbourView],
    settings: MatchSettings,
    planes: Float[Tensor, "H W 3"],
) -> Float[Tensor, "H W V"]:
    """1 - NCC of given planes in each view, in [0, 2]."""
    result = _empty(quads)
    result.planes.copy_(planes)
    job, keep = _job(quads, views, settings, result, None)
    costs = torch.empty(*quads.shape, len(views))
    code = _library().recon_stereo_costs(ctypes.byref(job), _pointer(costs))
    del keep
    assert code == 0, f"at most {MAX_VIEWS} views, got {len(views)}"
    return costs


def _empty(quads: Tensor) -> Matched:
    height, width = quads.shape
    return Matched(torch.zeros(height, width, 3), torch.zeros(height, width), torch.zeros(height, width))


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    assert tensor.is_contiguous(), "kernels read contiguous memory"
    return ctypes.c_void_p(tensor.data_ptr())


def _floats(kind: type, tensor: Tensor) -> ctypes.Array:
    return kind(*tensor.flatten().tolist())


def _view(view: NeighbourView) -> _View:
    height, width = view.quads.shape
    return _View(
        quads=view.quads.data_ptr(),
        planes=view.planes.data_ptr() if view.planes is not None else None,
        M=_floats(_F9, view.M),
        m=_floats(_F3, view.m),
        back_M=_floats(_F9, view.back_M),
        back_m=_floats(_F3, view.back_m),
        weight=view.weight,
        width=width,
        height=height,
    )


def _job(
    quads: Tensor, views: list[NeighbourView], settings: MatchSettings, result: Matched, prior: Tensor | None
) -> tuple[_Job, list[object]]:
    """The kernel's argument, and what must stay alive while it runs."""
    height, width = quads.shape
    array = (_View * len(views))(*(_view(view) for view in views))
    prior = prior.float().contiguous() if prior is not None else None
    job = _Job(
        quads=quads.data_ptr(),
        views=ctypes.cast(array, ctypes.c_void_p).value,
        prior=prior.data_ptr() if prior is not None else None,
        planes=result.planes.data_ptr(),
        cost=result.cost.data_ptr(),
        texture=result.texture.data_ptr(),
        w_min=settings.w_min,
        w_max=settings.w_max,
        focal=settings.focal_px,
        noise=settings.noise,
        geometric_weight=settings.geometric_weight,
        geometric_px=settings.geometric_px,
        prior_weight=settings.prior_weight,
        width=width,
        height=height,
        n_views=len(views),
        iterations=settings.iterations,
        seed=settings.seed & 0x7FFFFFFF,
        random_start=settings.random_start,
        n_threads=native.thread_count(),
    )
    return job, [array, prior, quads, views]
