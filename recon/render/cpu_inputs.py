"""What the CPU rasterizer is given: its settings and tensors, checked once at the door."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from recon import native

TENSORS = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds")
_DEPTH_MODES = {"RGB": 0, "D": 1, "RGB+D": 1, "ED": 2, "RGB+ED": 2}  # DepthMode in recon/native/src/raster.h
_MAX_SIDE = 1 << 15


@dataclass(frozen=True)
class Settings:
    """What one call asks for, apart from its tensors."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    alpha_cap: float
    sh_degree: int | None
    render_mode: str
    antialiased: bool
    absgrad: bool
    weights: bool
    n_threads: int = field(default_factory=native.thread_count)

    @property
    def has_colors(self) -> bool:
        return self.render_mode.startswith("RGB")

    @property
    def depth_mode(self) -> int:
        return _DEPTH_MODES[self.render_mode]


@dataclass
class Inputs:
    """The tensors of one call, contiguous float32 on the CPU, in the order in which autograd is given them."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor | None
    """[N, D], [C, N, D], [N, K, 3] or [C, N, K, 3]; None when only depth is drawn."""
    viewmats: Tensor
    centers: Tensor
    """[C, 3] camera centres in the world."""
    backgrounds: Tensor | None
    """[C, channels], depth included."""
    Ks: Tensor

    def tensors(self) -> tuple[Tensor | None, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    @property
    def color_channels(self) -> int:
        return 0 if self.colors is None else self.colors.shape[-1]


def of_camera(colors: Tensor | None, camera: int, settings: Settings) -> Tensor | None:
    """The camera's part of `colors` (or of their gradient), which all cameras may share."""
    shared_dims = 2 if settings.sh_degree is None else 3
    return colors if colors is None or colors.dim() == shared_dims else colors[camera]


def _check_tensor(name: str, tensor: Tensor, *shapes: tuple[int, ...]) -> Tensor:
    """The tensor, contiguous; raises when it is not float32 on the CPU with one of the shapes (-1: any size)."""
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
        raise TypeError(
            f"The CPU rasterizer needs `{name}` as float32 on the CPU, got {tensor.dtype} on {tensor.device}. "
            "Convert it with .float().cpu()."
        )
    fits = any(
        tensor.dim() == len(shape) and all(want in (-1, size) for want, size in zip(shape, tensor.shape))
        for shape in shapes
    )
    if not fits:
        wanted = " or ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"`{name}` must have the shape {wanted} (-1: any size), got {list(tensor.shape)}.")
    return tensor.contiguous()


def refuse_unsupported(options: dict[str, tuple[Any, Any]]) -> None:
    """Raise NotImplementedError naming the first of `options` (name: (value, the only value covered)) not covered."""
    for name, (value, covered) in options.items():
        if value is not covered and not (isinstance(value, str | bool) and value == covered):
            raise NotImplementedError(f"The CPU rasterizer does not support `{name}={value!r}` (only {covered!r}).")


def _check_settings(settings: Settings) -> None:
    if settings.render_mode not in _DEPTH_MODES:
        raise ValueError(f"`render_mode` must be one of {', '.join(_DEPTH_MODES)}, got {settings.render_mode!r}.")
    if settings.sh_degree is not None and settings.has_colors and not 0 <= settings.sh_degree <= 3:
        raise NotImplementedError(f"The CPU rasterizer supports `sh_degree` 0 to 3, got {settings.sh_degree}.")
    if not (1 <= settings.width <= _MAX_SIDE and 1 <= settings.height <= _MAX_SIDE):
        raise ValueError(f"`width` and `height` must be in 1..{_MAX_SIDE}, got {settings.width} x {settings.height}.")


def _check_cameras(viewmats: Tensor, Ks: Tensor) -> tuple[Tensor, Tensor]:
    viewmats = _check_tensor("viewmats", viewmats, (-1, 4, 4))
    Ks = _check_tensor("Ks", Ks, (viewmats.shape[0], 3, 3))
    if viewmats.shape[0] == 0:
        raise ValueError("`viewmats` must hold at least one camera, got 0.")
    if bool((Ks[:, 0, 1] != 0).any()):
        raise NotImplementedError("The CPU rasterizer does not support a skew in `Ks` (K[0, 1] must be 0).")
    return viewmats, Ks


def _check_colors(colors: Tensor, n_cameras: int, n: int, sh_degree: int | None) -> Tensor:
    if sh_degree is None:
        colors = _check_tensor("colors", colors, (n, -1), (n_cameras, n, -1))
        if colors.shape[-1] == 0:
            raise ValueError("`colors` must have at least one channel, got 0.")
        return colors
    colors = _check_tensor("colors", colors, (n, -1, 3), (n_cameras, n, -1, 3))
    if (sh_degree + 1) ** 2 > colors.shape[-2]:
        raise ValueError(f"`sh_degree={sh_degree}` needs {(sh_degree + 1) ** 2} coefficients, got {colors.shape[-2]}.")
    return colors


def _check_backgrounds(backgrounds: Tensor | None, n_cameras: int, n_colors: int, depth: bool) -> Tensor | None:
    """Backgrounds of all channels drawn: depth has background 0, as in gsplat."""
    if backgrounds is None or n_colors == 0:
        return None
    backgrounds = _check_tensor("backgrounds", backgrounds, (n_cameras, n_colors))
    return torch.nn.functional.pad(backgrounds, (0, 1)) if depth else backgrounds


def _camera_centers(viewmats: Tensor, needed: bool) -> Tensor:
    """[C, 3] centres in the world, differentiable in `viewmats`; zeros when no colour depends on the direction."""
    if not needed:
        return viewmats.new_zeros(viewmats.shape[0], 3)
    return -torch.linalg.solve(viewmats[:, :3, :3], viewmats[:, :3, 3:])[..., 0].contiguous()


def check_inputs(settings: Settings, tensors: dict[str, Any]) -> Inputs:
    """The tensors of a call, by the names in `TENSORS`, checked, contiguous, and without what is not drawn."""
    _check_settings(settings)
    means = tensors["means"]
    if means.dim() != 2:
        raise NotImplementedError(f"The CPU rasterizer does not support batch dimensions, got `means` {means.shape}.")
    n = means.shape[0]
    viewmats, Ks = _check_cameras(tensors["viewmats"], tensors["Ks"])
    colors = _check_colors(tensors["colors"], len(Ks), n, settings.sh_degree) if settings.has_colors else None
    n_colors = 0 if colors is None else colors.shape[-1]
    return Inputs(
        means=_check_tensor("means", means, (n, 3)),
        quats=_check_tensor("quats", tensors["quats"], (n, 4)),
        scales=_check_tensor("scales", tensors["scales"], (n, 3)),
        opacities=_check_tensor("opacities", tensors["opacities"], (n,)),
        colors=colors,
        viewmats=viewmats,
        centers=_camera_centers(viewmats, colors is not None and (settings.sh_degree or 0) > 0),
        backgrounds=_check_backgrounds(tensors["backgrounds"], len(Ks), n_colors, settings.depth_mode > 0),
        Ks=Ks,
    )
