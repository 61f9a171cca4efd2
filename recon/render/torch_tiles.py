"""The renderer without compiled code: gsplat's image model in PyTorch, tile by tile, on any device and dtype.

It serves where no C++ compiler is found, and as the peer that `recon bench raster` measures the native renderer
against. Projection is differentiated by autograd; compositing has a backward pass of its own that replays each tile
front to back, so that memory stays that of one tile: with S the colour behind a Gaussian dotted with the incoming
gradient, dL/dalpha_k = T_k <f_k, g> - S_k / (1 - alpha_k) (3DGS, Kerbl et al. 2023, appendix; Zwicker et al. 2001).

Arrays of a tile are laid out [pixels, Gaussians]: torch's cumprod is five times faster along the contiguous dimension.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.render.sh import sh_to_color
from recon.render.torch_projection import ALPHA_THRESHOLD, Projected, Tiles, View, bin_tiles, project

TRANSMITTANCE_STOP = 1e-4
CHUNK = 256  # Gaussians of a tile blended at a time: 256 x 256 floats stay in a core's second-level cache

# gsplat's arguments that change nothing here at these values, and are refused at any other.
_INERT: dict[str, Any] = {
    "sparse_grad": False,
    "distributed": False,
    "camera_model": "pinhole",
    "segmented": False,
    "covars": None,
    "with_ut": False,
    "with_eval3d": False,
    "radial_coeffs": None,
    "tangential_coeffs": None,
    "thin_prism_coeffs": None,
    "ftheta_coeffs": None,
    "viewmats_rs": None,
}


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
    backgrounds: Float[Tensor, "C _"] | None = None,
    render_mode: str = "RGB",
    absgrad: bool = False,
    rasterize_mode: str = "classic",
    channel_chunk: int = 32,
    alpha_cap: float = 0.999,
    **other: Any,
) -> tuple[Float[Tensor, "C {height} {width} _"], Float[Tensor, "C {height} {width} 1"], dict[str, Any]]:
    """Render N Gaussians into C cameras; arguments and results as gsplat 1.5's `rasterization`.

    `colors` is [N,D] or [C,N,D], or [N,K,3] or [C,N,K,3] with `sh_degree`. `channel_chunk` changes nothing.
    `meta["means2d"]` may be told to `retain_grad()`; with `absgrad` it has an attribute `absgrad` after the backward
    pass. Differentiable with respect to means, quats, scales, opacities, colors, viewmats and backgrounds, not Ks.

    Raises:
        NotImplementedError: an argument of gsplat's that this renderer does not cover, by name.
        ValueError: an unknown render or rasterize mode.
    """
    _reject(other)
    _check_modes(render_mode, rasterize_mode)
    view = View(width, height, near_plane, far_plane, radius_clip, eps2d, rasterize_mode == "antialiased")
    parts = [project(means, quats, scales, opacities, viewmats[c], Ks[c], view, camera=c) for c in range(len(viewmats))]
    seen = Projected.cat(parts)
    features = _features(colors, means, viewmats, seen, sh_degree, render_mode)

    means2d_meta = seen.means2d if packed else _scatter(seen.means2d, seen, len(viewmats), len(means))
    means2d = means2d_meta if packed else means2d_meta[seen.camera_ids, seen.gaussian_ids]
    tiles = bin_tiles(seen, view, tile_size, len(viewmats))
    plan = _Plan(tiles, width, height, tile_size, len(viewmats), alpha_cap, seen, means2d_meta if absgrad else None)
    ones = torch.ones_like(features[:, :1])
    blended = _Composite.apply(means2d, seen.conics, seen.opacities, torch.cat([features, ones], dim=1), plan)
    assert isinstance(blended, Tensor), "a Function with one output returns a tensor"
    image, alpha = _finish(blended, backgrounds, render_mode)
    return image, alpha, _meta(seen, means2d_meta, plan, packed, len(means))


@torch.no_grad()
def count_blends(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, " N"],
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
) -> int:
    """How many (pixel, Gaussian) pairs contribute to the images of C cameras: the work any renderer must do."""
    view = View(width, height, near_plane=0.01, far_plane=1e10, radius_clip=0.0, eps2d=0.3, antialiased=False)
    seen = Projected.cat(
        [project(means, quats, scales, opacities, v, K, view, c) for c, (v, K) in enumerate(zip(viewmats, Ks))]
    )
    plan = _Plan(bin_tiles(seen, view, 16, len(viewmats)), width, height, 16, len(viewmats), 0.999, seen, None)
    table = torch.cat([seen.means2d, seen.conics, seen.opacities[:, None]], dim=1)
    total = 0
    for pairs, *at in plan.jobs():
        _, rows, columns = window = plan.window(*at)
        carried = table.new_ones((rows.stop - rows.start) * (columns.stop - columns.start))
        for part in pairs.split(CHUNK):
            chunk = _evaluate(table, part, window, carried, plan.alpha_cap)
            total += int(torch.count_nonzero(chunk.weight))
            carried = chunk.after
    return total


def _reject(other: dict[str, Any]) -> None:
    for name, value in other.items():
        if name == "rolling_shutter" and getattr(value, "name", None) == "GLOBAL":
            continue
        if name not in _INERT and name != "rolling_shutter":
            raise TypeError(f"rasterization() got an unexpected keyword argument {name!r}")
        if name == "rolling_shutter" or value != _INERT[name]:
            raise NotImplementedError(f"{name}={value!r} is not covered by the PyTorch renderer.")


def _check_modes(render_mode: str, rasterize_mode: str) -> None:
    if render_mode not in ("RGB", "D", "ED", "RGB+D", "RGB+ED"):
        raise ValueError(f"Unknown render_mode {render_mode!r}; use RGB, D, ED, RGB+D or RGB+ED.")
    if rasterize_mode not in ("classic", "antialiased"):
        raise ValueError(f"Unknown rasterize_mode {rasterize_mode!r}; use classic or antialiased.")


def _features(
    colors: Tensor, means: Tensor, viewmats: Tensor, seen: Projected, sh_degree: int | None, render_mode: str
) -> Tensor:
    """What is blended per pair: colour, then depth."""
    depth = seen.depths[:, None]
    if render_mode in ("D", "ED"):
        return depth
    per_camera = colors.dim() == (3 if sh_degree is None else 4)
    color = colors[seen.camera_ids, seen.gaussian_ids] if per_camera else colors[seen.gaussian_ids]
    if sh_degree is not None:
        centers = -torch.linalg.solve(viewmats[:, :3, :3], viewmats[:, :3, 3])
        color = sh_to_color(color, means[seen.gaussian_ids] - centers[seen.camera_ids], sh_degree)
    return color if render_mode == "RGB" else torch.cat([color, depth], dim=1)


def _scatter(values: Tensor, seen: Projected, n_cameras: int, n: int) -> Tensor:
    """Packed [M,...] values as [C,N,...], 0 where nothing is seen."""
    full = values.new_zeros((n_cameras, n, *values.shape[1:]))
    return full.index_put((seen.camera_ids, seen.gaussian_ids), values)


@dataclass(frozen=True)
class _Plan:
    """Everything about a render that is not differentiated."""

    tiles: Tiles
    width: int
    height: int
    tile_size: int
    n_cameras: int
    alpha_cap: float
    seen: Projected
    absgrad_target: Tensor | None

    def jobs(self) -> Iterator[tuple[Tensor, int, int, int]]:
        """(pairs front to back, camera, first row, first column) of every tile that holds something."""
        tiles = self.tiles
        for i, (start, end) in enumerate(zip(tiles.offsets[:-1], tiles.offsets[1:])):
            if end > start:
                camera, at = divmod(i, tiles.rows * tiles.columns)
                row, column = divmod(at, tiles.columns)
                yield tiles.flatten_ids[start:end], camera, row * self.tile_size, column * self.tile_size

    def window(self, camera: int, y0: int, x0: int) -> tuple[int, slice, slice]:
        return camera, slice(y0, min(y0 + self.tile_size, self.height)), slice(x0, min(x0 + self.tile_size, self.width))


@dataclass(frozen=True)
class _Chunk:
    """Consecutive Gaussians of one tile evaluated at its pixels: [h*w, K] arrays."""

    dx: Tensor  # [w,K] pixel minus mean
    dy: Tensor  # [h,K]
    conic: Tensor  # [3,K]
    alpha: Tensor  # 0 where skipped and behind the pixel's end
    weight: Tensor  # alpha times the transmittance in front
    after: Tensor  # [h*w] transmittance behind the chunk, were the pixel not ended


def _evaluate(table: Tensor, pairs: Tensor, window: tuple[int, slice, slice], carried: Tensor, cap: float) -> _Chunk:
    """Alphas, transmittances and weights of `pairs` in a tile; `table` is [M,6]: mean, conic, opacity."""
    mx, my, a, b, c, opacity = table[pairs].T.contiguous()
    _, rows, columns = window
    dx = torch.arange(columns.start, columns.stop, dtype=mx.dtype, device=mx.device)[:, None] + 0.5 - mx
    dy = torch.arange(rows.start, rows.stop, dtype=mx.dtype, device=mx.device)[:, None] + 0.5 - my
    # -sigma = -(a dx^2 + c dy^2) / 2 - b dx dy, built from per-row and per-column terms.
    power = torch.addcmul((-0.5 * a * dx * dx)[None], (-b * dy)[:, None], dx[None])
    power += (-0.5 * c * dy * dy)[:, None]
    alpha = power.reshape(-1, len(pairs)).exp_().mul_(opacity).clamp_max_(cap)
    torch.threshold_(alpha, _just_below(ALPHA_THRESHOLD, alpha.dtype), 0.0)

    through = torch.cumprod(1 - alpha, dim=1).mul_(carried[:, None])
    before = torch.cat([carried[:, None], through[:, :-1]], dim=1)
    if float(through[:, -1].min()) <= TRANSMITTANCE_STOP:  # `through` only falls, so this mask ends a pixel for good
        alpha *= through > TRANSMITTANCE_STOP
    return _Chunk(dx, dy, torch.stack([a, b, c]), alpha, alpha * before, through[:, -1])


def _just_below(value: float, dtype: torch.dtype) -> float:
    """The next smaller number, because torch.threshold keeps x > value and the image model keeps x >= value."""
    at = torch.tensor(value, dtype=dtype)
    return float(torch.nextafter(at, torch.zeros_like(at)))


class _Composite(torch.autograd.Function):
    """Blend features front to back. means2d [M,2], conics [M,3], opacities [M], features [M,F] -> [C,H,W,F]."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor, plan: _Plan
    ) -> Tensor:
        table = torch.cat([means2d, conics, opacities[:, None]], dim=1)
        image = features.new_zeros(plan.n_cameras, plan.height, plan.width, features.shape[1])
        for pairs, *at in plan.jobs():
            window = plan.window(*at)
            out = image[window]
            blended = torch.zeros_like(out).reshape(-1, out.shape[-1])
            carried = blended.new_ones(len(blended))
            for part in pairs.split(CHUNK):
                chunk = _evaluate(table, part, window, carried, plan.alpha_cap)
                blended.addmm_(chunk.weight, features[part])
                carried = chunk.after
                if float(carried.max()) <= TRANSMITTANCE_STOP:
                    break
            out.copy_(blended.reshape(out.shape))
        ctx.plan = plan
        ctx.save_for_backward(table, features, image)
        return image

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        table, features, image = ctx.saved_tensors
        plan: _Plan = ctx.plan
        want_abs = plan.absgrad_target is not None
        v_table, v_features = torch.zeros_like(table), torch.zeros_like(features)
        v_abs = torch.zeros_like(table[:, :2])
        for pairs, *at in plan.jobs():
            window = plan.window(*at)
            g = grad[window].reshape(-1, grad.shape[-1])
            behind = (image[window].reshape(g.shape) * g).sum(dim=1, keepdim=True)
            carried = g.new_ones(len(g))
            for part in pairs.split(CHUNK):
                chunk = _evaluate(table, part, window, carried, plan.alpha_cap)
                v_sigma, behind = _sigma_gradient(chunk, g @ features[part].T, behind, plan.alpha_cap)
                v_features.index_add_(0, part, chunk.weight.T @ g)
                v_table.index_add_(0, part, _table_gradient(chunk, v_sigma, table[part, 5]))
                if want_abs:
                    v_abs.index_add_(0, part, _absolute_gradient(chunk, v_sigma))
                carried = chunk.after
                if float(carried.max()) <= TRANSMITTANCE_STOP:
                    break
        if plan.absgrad_target is not None:
            packed = plan.absgrad_target.dim() == 2
            full = v_abs if packed else _scatter(v_abs, plan.seen, *plan.absgrad_target.shape[:2])
            plan.absgrad_target.absgrad = full  # type: ignore[attr-defined]
        return v_table[:, :2], v_table[:, 2:5], v_table[:, 5], v_features, None


def _sigma_gradient(chunk: _Chunk, dot: Tensor, behind: Tensor, cap: float) -> tuple[Tensor, Tensor]:
    """dL/dsigma [P,K], and what is left behind the chunk.

    `dot` [P,K] is <feature, incoming gradient>, `behind` [P,1] the gradient-weighted sum of all weights from here on.
    """
    own = chunk.weight * dot
    suffix = behind - own.cumsum(dim=1)
    v_sigma = suffix * (chunk.alpha / (1 - chunk.alpha)) - own  # -alpha dL/dalpha
    if float(chunk.alpha.max()) >= cap:
        v_sigma *= chunk.alpha < cap
    return v_sigma, suffix[:, -1:]


def _table_gradient(chunk: _Chunk, v_sigma: Tensor, opacity: Tensor) -> Tensor:
    """Sum dL/dsigma over the pixels into gradients of mean, conic and opacity: [K,6]."""
    s = v_sigma.reshape(len(chunk.dy), len(chunk.dx), -1)
    by_row, by_column = s.sum(dim=1), s.sum(dim=0)
    by_row_x = (s * chunk.dx).sum(dim=1)
    sx, sy = by_row_x.sum(0), (by_row * chunk.dy).sum(0)
    sxx = (by_column * chunk.dx.square()).sum(0)
    sxy = (by_row_x * chunk.dy).sum(0)
    syy = (by_row * chunk.dy.square()).sum(0)
    a, b, c = chunk.conic
    v_opacity = -by_row.sum(0) / opacity
    return torch.stack([-(a * sx + b * sy), -(b * sx + c * sy), 0.5 * sxx, sxy, 0.5 * syy, v_opacity], dim=1)


def _absolute_gradient(chunk: _Chunk, v_sigma: Tensor) -> Tensor:
    """Sum over pixels of |dL/dmean2d| (AbsGS, Ye et al. 2024, eq. 7): [K,2]."""
    s = v_sigma.reshape(len(chunk.dy), len(chunk.dx), -1)
    a, b, c = chunk.conic
    dx, dy = chunk.dx[None], chunk.dy[:, None]
    return torch.stack([(s * (a * dx + b * dy)).abs().sum((0, 1)), (s * (b * dx + c * dy)).abs().sum((0, 1))], dim=1)


def _finish(blended: Tensor, backgrounds: Tensor | None, render_mode: str) -> tuple[Tensor, Tensor]:
    """Split off alpha, add the background behind colours, normalise expected depth."""
    image, alpha = blended[..., :-1], blended[..., -1:]
    if render_mode in ("D", "ED"):
        color, depth = image[..., :0], image
    elif render_mode == "RGB":
        color, depth = image, image[..., :0]
    else:
        color, depth = image[..., :-1], image[..., -1:]
    if backgrounds is not None and color.shape[-1]:
        color = color + (1 - alpha) * backgrounds[:, None, None, :]
    if render_mode.endswith("ED"):
        depth = depth / alpha.clamp_min(1e-10)
    return torch.cat([color, depth], dim=-1), alpha


def _meta(seen: Projected, means2d: Tensor, plan: _Plan, packed: bool, n: int) -> dict[str, Any]:
    """gsplat's intermediate results: [M,...] of what is seen when packed, else [C,N,...]."""

    def layout(values: Tensor) -> Tensor:
        return values if packed else _scatter(values, seen, plan.n_cameras, n)

    tiles = plan.tiles
    flatten_ids = tiles.flatten_ids
    if not packed:
        flatten_ids = (seen.camera_ids * n + seen.gaussian_ids)[flatten_ids]
    offsets = torch.tensor(tiles.offsets[:-1], dtype=torch.int32, device=means2d.device)
    return {
        "batch_ids": torch.zeros_like(seen.camera_ids) if packed else None,
        "camera_ids": seen.camera_ids if packed else None,
        "gaussian_ids": seen.gaussian_ids if packed else None,
        "radii": layout(seen.extents.ceil().to(torch.int32)),
        "means2d": means2d,
        "depths": layout(seen.depths),
        "conics": layout(seen.conics),
        "opacities": layout(seen.opacities),
        "tile_width": tiles.columns,
        "tile_height": tiles.rows,
        "tiles_per_gauss": layout(tiles.per_pair.to(torch.int32)),
        "flatten_ids": flatten_ids.to(torch.int32),
        "isect_offsets": offsets.reshape(plan.n_cameras, tiles.rows, tiles.columns),
        "width": plan.width,
        "height": plan.height,
        "tile_size": plan.tile_size,
        "n_batches": 1,
        "n_cameras": plan.n_cameras,
    }
