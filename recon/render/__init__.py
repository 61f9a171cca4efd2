"""Splats to images: one `Rasterizer` interface over the native CPU library, gsplat's CUDA kernels and plain PyTorch."""

from recon.render.base import Rasterizer, render, select_rasterizer
from recon.render.share import shares

__all__ = ["Rasterizer", "render", "select_rasterizer", "shares"]
