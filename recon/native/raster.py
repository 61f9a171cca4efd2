"""The C interface of the rasterizer: structures, calls, and the ownership of what a forward pass leaves behind."""

import ctypes
import functools

import torch
from torch import Tensor

from recon import native

_PTR, _I32, _I64, _F32 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_float


class RasterArgs(ctypes.Structure):
    """`recon::Args` of src/raster.h, in its order: what to draw, for one camera."""

    _fields_ = [
        *((name, _PTR) for name in ("means", "quats", "scales", "opacities", "colors")),
        *((name, _PTR) for name in ("viewmat", "K", "camera_center", "background")),
        *((name, _PTR) for name in ("out_colors", "out_alphas", "out_weights")),
        ("n", _I64),
        *((name, _I32) for name in ("width", "height", "color_channels", "sh_degree", "sh_stride")),
        *((name, _I32) for name in ("depth_mode", "antialiased", "n_threads")),
        *((name, _F32) for name in ("near_plane", "far_plane", "radius_clip", "eps2d", "alpha_cap")),
    ]


class RasterGrads(ctypes.Structure):
    """`recon::Grads` of src/raster.h, in its order: gradients in and out, for one camera."""

    _fields_ = [
        *((name, _PTR) for name in ("colors", "alphas", "v_colors", "v_alphas")),
        *((name, _PTR) for name in ("v_means", "v_quats", "v_scales", "v_opacities", "v_colors_in")),
        *((name, _PTR) for name in ("v_viewmat", "v_camera_center", "v_means2d", "v_absgrad")),
        ("accumulate", _I32),
    ]


class _Exported(ctypes.Structure):
    """`Exported` of src/raster_api.cpp, in its order."""

    _fields_ = [
        (name, _PTR)
        for name in ("gaussian_ids", "means2d", "radii", "depths", "conics", "opacities", "tiles_per_gauss")
    ]


class RasterState:
    """Owner of what a forward pass left behind in the library, for its backward pass."""

    def __init__(self, lib: ctypes.CDLL, address: int) -> None:
        self._lib = lib
        self.address = address

    def __del__(self) -> None:
        self._lib.recon_raster_free(self.address)

    @property
    def n_visible(self) -> int:
        return int(self._lib.recon_raster_visible(self.address))

    @property
    def n_entries(self) -> int:
        """Pairs of a Gaussian and a tile it touches."""
        return int(self._lib.recon_raster_entries(self.address))

    @property
    def n_blends(self) -> int:
        """Pixels blended, over all Gaussians; counted only when weights were asked for."""
        return int(self._lib.recon_raster_blends(self.address))

    def export(self) -> dict[str, Tensor]:
        """The visible Gaussians as packed tensors, ascending by index."""
        n = self.n_visible
        out = {
            "gaussian_ids": torch.empty(n, dtype=torch.int64),
            "means2d": torch.empty(n, 2),
            "radii": torch.empty(n, 2, dtype=torch.int32),
            "depths": torch.empty(n),
            "conics": torch.empty(n, 3),
            "opacities": torch.empty(n),
            "tiles_per_gauss": torch.empty(n, dtype=torch.int32),
        }
        pointers = _Exported(**{name: tensor.data_ptr() for name, tensor in out.items()})
        self._lib.recon_raster_export(self.address, ctypes.byref(pointers), native.thread_count())
        return out


def forward(args: RasterArgs) -> RasterState:
    """Draw one camera. Raises RuntimeError when there is no library, or memory ran out."""
    lib = _declared(_library())
    address = lib.recon_raster_forward(ctypes.byref(args))
    if address is None:
        raise RuntimeError(f"The CPU rasterizer failed: {lib.recon_raster_error().decode()}")
    return RasterState(lib, address)


def backward(state: RasterState, args: RasterArgs, grads: RasterGrads) -> None:
    """Gradients of one camera. Raises RuntimeError when memory ran out."""
    lib = _declared(_library())
    if lib.recon_raster_backward(state.address, ctypes.byref(args), ctypes.byref(grads)) != 0:
        raise RuntimeError(f"The CPU rasterizer's backward pass failed: {lib.recon_raster_error().decode()}")


def trim() -> None:
    """Give the working memory kept between renders back to the system."""
    _library().recon_raster_trim()


def pointer(tensor: Tensor | None) -> int | None:
    """Address of a tensor's data; the caller keeps the tensor alive, contiguous and of the right type."""
    return None if tensor is None else tensor.data_ptr()


def _library() -> ctypes.CDLL:
    lib = native.library()
    if lib is None:
        raise RuntimeError(
            f"The CPU kernels are not available ({native.describe().reason}). "
            "Install a C++ compiler, or render with the torch rasterizer."
        )
    return lib


@functools.cache
def _declared(lib: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the signatures of the functions used here."""
    lib.recon_raster_forward.restype = _PTR
    lib.recon_raster_forward.argtypes = [_PTR]
    lib.recon_raster_backward.restype = ctypes.c_int
    lib.recon_raster_backward.argtypes = [_PTR, _PTR, _PTR]
    lib.recon_raster_error.restype = ctypes.c_char_p
    lib.recon_raster_free.argtypes = [_PTR]
    lib.recon_raster_free.restype = None
    lib.recon_raster_export.argtypes = [_PTR, _PTR, ctypes.c_int]
    lib.recon_raster_export.restype = None
    for name in ("recon_raster_visible", "recon_raster_entries", "recon_raster_blends"):
        getattr(lib, name).argtypes = [_PTR]
        getattr(lib, name).restype = _I64
    return lib
