"""The CPU rasterizer: gsplat's `rasterization` on our own C++ kernels.

Takes gsplat's arguments, returns its `(colors, alphas, meta)`, and follows the image model of gsplat 1.5.3 (Ye et al.
2024; Kerbl et al. 2023, section 4). What is not covered raises NotImplementedError with the argument's name.

All gradients are exact derivatives of the image drawn, except that skipping (alpha below 1/255), the stop at a
transmittance of 1e-4 and the order by depth are taken as constant, as everywhere.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon import native
from recon.native.raster import RasterArgs, RasterGrads, RasterState, backward, forward, pointer
from recon.render.cpu_inputs import TENSORS, Inputs, Settings, check_inputs, of_camera, refuse_unsupported

TILE_WIDTH, TILE_HEIGHT = 32, 16  # of the kernels; only shown in `meta`


def available() -> bool:
    """Whether the kernels can be loaded (or compiled) on this machine."""
    return native.library() is not None


def _camera_args(inputs: Inputs, settings: Settings, camera: int) -> RasterArgs:
    """The C arguments of one camera, without outputs. Pointers stay valid as long as `inputs` lives."""
    colors = of_camera(inputs.colors, camera, settings)
    sh = settings.sh_degree is not None and colors is not None
    return RasterArgs(
        means=pointer(inputs.means),
        quats=pointer(inputs.quats),
        scales=pointer(inputs.scales),
        opacities=pointer(inputs.opacities),
        colors=pointer(colors),
        viewmat=pointer(inputs.viewmats[camera]),
        K=pointer(inputs.Ks[camera]),
        camera_center=pointer(inputs.centers[camera]),
        background=None if inputs.backgrounds is None else pointer(inputs.backgrounds[camera]),
        n=inputs.means.shape[0],
        width=settings.width,
        height=settings.height,
        color_channels=inputs.color_channels,
        sh_degree=settings.sh_degree if sh else -1,
        sh_stride=colors.shape[-2] if sh and colors is not None else 0,
        depth_mode=settings.depth_mode,
        antialiased=settings.antialiased,
        n_threads=settings.n_threads,
        near_plane=settings.near_plane,
        far_plane=settings.far_plane,
        radius_clip=settings.radius_clip,
        eps2d=settings.eps2d,
        alpha_cap=settings.alpha_cap,
    )


@dataclass
class _Trace:
    """What a call leaves for its backward pass and for `meta`.

    Holds neither of the two outputs: autograd's node holds the trace, the outputs hold the node, and a circle through
    autograd is never collected.
    """

    states: list[RasterState]
    weights: Tensor | None
    means2d: Tensor = field(default_factory=lambda: torch.empty(0, 2))
    """The leaf handed out as meta["means2d"]; the backward pass fills its `grad` and `absgrad`."""


def _draw(inputs: Inputs, settings: Settings) -> tuple[Tensor, Tensor, _Trace]:
    """Colors [C, H, W, channels], alphas [C, H, W, 1] and the trace of all cameras."""
    n_cameras = inputs.viewmats.shape[0]
    channels = inputs.color_channels + (settings.depth_mode > 0)
    colors = torch.empty(n_cameras, settings.height, settings.width, channels)
    alphas = torch.empty(n_cameras, settings.height, settings.width, 1)
    trace = _Trace([], torch.empty(n_cameras, inputs.means.shape[0]) if settings.weights else None)
    for camera in range(n_cameras):
        args = _camera_args(inputs, settings, camera)
        args.out_colors, args.out_alphas = pointer(colors[camera]), pointer(alphas[camera])
        args.out_weights = None if trace.weights is None else pointer(trace.weights[camera])
        trace.states.append(forward(args))
    return colors, alphas, trace


class _Rasterize(torch.autograd.Function):
    """`_draw` with its gradient. Takes the differentiable tensors one by one, as autograd wants them."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, settings: Settings, traces: list[_Trace], *tensors: Any
    ) -> tuple[Tensor, Tensor]:
        colors, alphas, trace = _draw(Inputs(*tensors), settings)
        traces.append(trace)
        ctx.settings, ctx.trace = settings, trace
        ctx.save_for_backward(*tensors, colors, alphas)
        ctx.set_materialize_grads(False)
        return colors, alphas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, v_colors: Tensor | None, v_alphas: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        *tensors, colors, alphas = ctx.saved_tensors
        if v_colors is None:
            v_colors = torch.zeros_like(colors)
        wanted = ctx.needs_input_grad[2:]
        job = _Backward(Inputs(*tensors), ctx.settings, ctx.trace, wanted)
        grads = job.run(colors, alphas, v_colors.contiguous(), None if v_alphas is None else v_alphas.contiguous())
        return (None, None, *(grad if want else None for grad, want in zip(grads, wanted)))


class _Backward:
    """One backward pass over all cameras."""

    def __init__(self, inputs: Inputs, settings: Settings, trace: _Trace, wanted: tuple[bool, ...]) -> None:
        self.inputs, self.settings, self.trace = inputs, settings, trace
        # Written by the first camera, added to by the others; colours of their own start from zero.
        self.per_gaussian = [
            torch.empty_like(tensor) if want and tensor is not None else None
            for tensor, want in zip(inputs.tensors()[:5], wanted)
        ]
        v_colors = self.per_gaussian[4]
        if v_colors is not None and of_camera(v_colors, 0, settings) is not v_colors:
            v_colors.zero_()
        self.v_viewmats = torch.zeros_like(inputs.viewmats)
        self.v_centers = torch.zeros_like(inputs.centers)
        self.want_background = wanted[7]

    def run(self, colors: Tensor, alphas: Tensor, v_colors: Tensor, v_alphas: Tensor | None) -> list[Tensor | None]:
        n_visible = [state.n_visible for state in self.trace.states]
        v_means2d = torch.empty(sum(n_visible), 2)
        absgrad = torch.empty(sum(n_visible), 2) if self.settings.absgrad else None
        row = 0
        for camera, count in enumerate(n_visible):
            grads = self._camera_grads(camera)
            grads.colors, grads.alphas = pointer(colors[camera]), pointer(alphas[camera])
            grads.v_colors = pointer(v_colors[camera])
            grads.v_alphas = None if v_alphas is None else pointer(v_alphas[camera])
            grads.v_means2d = pointer(v_means2d[row:])
            grads.v_absgrad = None if absgrad is None else pointer(absgrad[row:])
            backward(self.trace.states[camera], _camera_args(self.inputs, self.settings, camera), grads)
            row += count
        _fill_means2d(self.trace.means2d, self.trace.states, v_means2d, absgrad)
        v_backgrounds = ((1.0 - alphas) * v_colors).sum(dim=(1, 2)) if self.want_background else None
        return [*self.per_gaussian, self.v_viewmats, self.v_centers, v_backgrounds, None]

    def _camera_grads(self, camera: int) -> RasterGrads:
        names = ("v_means", "v_quats", "v_scales", "v_opacities")
        return RasterGrads(
            **{name: pointer(tensor) for name, tensor in zip(names, self.per_gaussian)},
            v_colors_in=pointer(of_camera(self.per_gaussian[4], camera, self.settings)),
            v_viewmat=pointer(self.v_viewmats[camera]),
            v_camera_center=pointer(self.v_centers[camera]),
            accumulate=camera > 0,
        )


def _fill_means2d(means2d: Tensor, states: list[RasterState], v_means2d: Tensor, absgrad: Tensor | None) -> None:
    """Hand the gradients in the image to whoever densifies, in the layout of `means2d` (packed or [C, N, 2])."""
    if means2d.dim() == 3:
        v_means2d = _unpack(v_means2d, states, means2d.shape[1])
        absgrad = None if absgrad is None else _unpack(absgrad, states, means2d.shape[1])
    means2d.grad = v_means2d if means2d.grad is None else means2d.grad + v_means2d
    if absgrad is not None:
        means2d.absgrad = absgrad  # type: ignore[attr-defined]


def _unpack(packed: Tensor, states: list[RasterState], n: int) -> Tensor:
    """Packed rows of all cameras to [C, n, ...], zero where not visible."""
    out = packed.new_zeros((len(states), n, *packed.shape[1:]))
    row = 0
    for camera, state in enumerate(states):
        ids = state.export()["gaussian_ids"]
        out[camera, ids] = packed[row : row + len(ids)]
        row += len(ids)
    return out


def _make_meta(trace: _Trace, settings: Settings, n: int, packed: bool) -> dict[str, Any]:
    exported = [state.export() for state in trace.states]
    for camera, of_one in enumerate(exported):
        of_one["camera_ids"] = torch.full_like(of_one["gaussian_ids"], camera)
    meta: dict[str, Any] = exported[0]
    if len(exported) > 1:
        meta = {key: torch.cat([of_one[key] for of_one in exported]) for key in exported[0]}
    if not packed:
        for key in ("means2d", "radii", "depths", "conics", "opacities", "tiles_per_gauss"):
            meta[key] = _unpack(meta[key], trace.states, n)
        meta["camera_ids"] = meta["gaussian_ids"] = None
    meta["batch_ids"] = None
    # A leaf, so that gsplat's densification can call retain_grad() on it; it is not in the graph.
    meta["means2d"].requires_grad_()
    trace.means2d = meta["means2d"]
    meta["weights"] = trace.weights
    meta["n_blends"] = sum(state.n_blends for state in trace.states) if settings.weights else None
    meta["n_isects"] = sum(state.n_entries for state in trace.states)
    meta["width"], meta["height"] = settings.width, settings.height
    meta["n_cameras"], meta["n_batches"] = len(exported), 1
    meta["tile_size"] = TILE_HEIGHT
    meta["tile_width"] = -(-settings.width // TILE_WIDTH)
    meta["tile_height"] = -(-settings.height // TILE_HEIGHT)
    return meta


def rasterization(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, " N"],
    colors: Float[Tensor, "..."],
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Float[Tensor, "C D"] | None = None,
    render_mode: str = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: str = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: str = "pinhole",
    segmented: bool = False,
    covars: Tensor | None = None,
    with_ut: bool = False,
    with_eval3d: bool = False,
    *,
    alpha_cap: float = 0.999,
    accumulate_weights: bool = False,
    **others: Any,
) -> tuple[Float[Tensor, "C H W X"], Float[Tensor, "C H W 1"], dict[str, Any]]:
    """Draw N Gaussians into C cameras of one size. Arguments, results and defaults are gsplat's, except as said here.

    Args:
        quats: (w, x, y, z), normalised here.
        render_mode: RGB, D, ED, RGB+D or RGB+ED. rasterize_mode: classic or antialiased.
        colors: [N, D] or [C, N, D] any number of channels; with `sh_degree`, coefficients [N, K, 3] or [C, N, K, 3].
        viewmats: world to camera, OpenCV axes.
        tile_size, channel_chunk: accepted and without effect; the kernels have their own.
        alpha_cap: largest alpha of one Gaussian: 0.999 as in gsplat 1.5.3 (0.99 in later ones).
        accumulate_weights: also sum what every Gaussian contributed: meta["weights"], [C, N], is the sum of
            T * alpha over all pixels, and meta["n_blends"] counts the pixels blended. A few per cent slower.

    Returns:
        colors [C, H, W, X] (X: D channels and, in the depth modes, z-depth last), alphas [C, H, W, 1], and meta.
        meta["means2d"] is a leaf outside the graph: the backward pass puts d(loss)/d(means2d), in pixels, into its
        `grad`, and with `absgrad` the sums of absolute values per pixel into its `absgrad`.

    Gaussians with a value that is not finite are not drawn and get a zero gradient.

    Raises:
        NotImplementedError: an argument of gsplat that is not covered here.
        ValueError, TypeError: shapes, types or devices that do not fit.
        RuntimeError: there are no kernels (see `recon.native`) or memory ran out.
    """
    settings = Settings(
        width, height, near_plane, far_plane, radius_clip, eps2d, alpha_cap, sh_degree, render_mode,
        rasterize_mode == "antialiased", absgrad, accumulate_weights,
    )  # fmt: skip
    options = {
        "sparse_grad": (sparse_grad, False),
        "distributed": (distributed, False),
        "camera_model": (camera_model, "pinhole"),
        "segmented": (segmented, False),
        "covars": (covars, None),
        "with_ut": (with_ut, False),
        "with_eval3d": (with_eval3d, False),
        "rasterize_mode": (rasterize_mode, "antialiased" if settings.antialiased else "classic"),
    }
    refuse_unsupported({**options, **{name: (value, None) for name, value in others.items()}})
    tensors = (means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
    inputs = check_inputs(settings, dict(zip(TENSORS, tensors)))
    traces: list[_Trace] = []
    rendered, alphas = _Rasterize.apply(settings, traces, *inputs.tensors())
    return rendered, alphas, _make_meta(traces[0], settings, means.shape[0], packed)
