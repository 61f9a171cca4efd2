"""Rendered views as files: colour as 8-bit PNG, depth as 16-bit PNG with its scale."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from recon.errors import ResourceError
from recon.fields import FieldSplats, render_field
from recon.files import atomic_path
from recon.render import Rasterizer, render
from recon.types import Cameras, Rendering, Splats

MAX_DEPTH_CODE = 65535


def render_view(splats: Splats, camera: Cameras, rasterizer: Rasterizer) -> Rendering:
    """One camera's picture on the CPU, without gradients and without the leading dimension."""
    if isinstance(splats, FieldSplats):
        return render_field(splats.field, splats.occupancy, camera.to("cpu"))
    device = rasterizer.device
    with torch.inference_mode():
        rendering = render(splats.to(device), camera.to(device), rasterizer)
    return Rendering(rendering.rgb[0].cpu(), rendering.alpha[0].cpu(), rendering.depth[0].cpu())


def save_rgb(path: Path, rgb: Float[Tensor, "H W 3"]) -> None:
    """Write a picture in [0, 1] as 8-bit PNG, atomically."""
    _save(path, Image.fromarray((rgb.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()))


def save_rgba(path: Path, premultiplied: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W"]) -> None:
    """Write a picture over nothing as 8-bit PNG with transparency, atomically. PNG wants colours that alpha has not
    been multiplied into yet (its specification, section 6.2)."""
    straight = premultiplied / alpha.clamp_min(1 / 255)[..., None]
    codes = torch.cat([straight, alpha[..., None]], -1).detach().clamp(0, 1)
    _save(path, Image.fromarray((codes * 255).round().to(torch.uint8).cpu().numpy(), mode="RGBA"))


def save_depth(path: Path, depth: Float[Tensor, "H W"]) -> float:
    """Write depth as 16-bit PNG, atomically; returns the world units per grey level. 0 stays 0, unknown."""
    unit = max(float(depth.max()), 1e-9) / MAX_DEPTH_CODE
    codes = (depth.detach().cpu() / unit).round().clamp(0, MAX_DEPTH_CODE).numpy().astype(np.uint16)
    _save(path, Image.fromarray(codes))
    return unit


def load_depth(path: Path, unit: float) -> Float[Tensor, "H W"]:
    """Depth in world units from a file of `save_depth`."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture).astype(np.float32)) * unit


def _save(path: Path, picture: Image.Image) -> None:
    with atomic_path(path) as temporary:
        try:
            picture.save(temporary, compress_level=1)
        except OSError as error:
            raise ResourceError(f"Could not write {path}: {error}. Free some disk space.") from error
