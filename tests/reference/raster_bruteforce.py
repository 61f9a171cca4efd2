"""The truth the rasterizers are tested against: every pixel asks every Gaussian, nothing is binned, culled or tiled.

Plain PyTorch, meant for float64 and small scenes (memory grows with H * W * N); gradients come from autograd. The image
model is gsplat 1.5.3's, whose arguments these are:

- perspective EWA splatting (Zwicker et al. 2001), the Jacobian's x/z and y/z clamped to 15 % of the image beyond its
  borders (the mean itself is not clamped), `eps2d` added to the diagonal of the 2D covariance;
- `antialiased` multiplies the opacity by sqrt(det(cov) / det(cov + eps2d I)) (Mip-Splatting, eq. 9);
- alpha = min(alpha_cap, opacity * exp(-sigma)), skipped when below 1/255, no gradient through a capped alpha;
- front to back by z-depth (ties: lower index first); a pixel ends *before* the Gaussian that would bring its
  transmittance to 1e-4 or less;
- Gaussians with z outside [near_plane, far_plane] are invisible;
- depth modes composite z like a colour; `ED` divides it by max(alpha, 1e-10); the background adds nothing to depth;
- SH colours see the direction from the camera centre to the mean, add 0.5 and are clamped to be non-negative.

A note for who compares gradients of `viewmats`: all twelve upper entries are free here (R need not stay a rotation), as
in gsplat: the camera centre is -inv(R) t, not -R^T t, which differ in their derivatives.
"""

import torch
from torch import Tensor

ALPHA_THRESHOLD = 1.0 / 255.0
TRANSMITTANCE_STOP = 1e-4


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    alpha_cap: float = 0.999,
) -> tuple[Tensor, Tensor]:
    """Render N Gaussians into C cameras.

    means [N,3], quats [N,4] wxyz, scales [N,3], opacities [N], viewmats [C,4,4], Ks [C,3,3], backgrounds [C,D];
    colors [N,D] or [C,N,D], or with `sh_degree` coefficients [N,K,3] or [C,N,K,3].
    Returns colours [C,H,W,D (+1)] and alphas [C,H,W,1].
    """
    images, alphas = [], []
    for c in range(viewmats.shape[0]):
        R, t = viewmats[c, :3, :3], viewmats[c, :3, 3]
        means_cam = means @ R.T + t
        depths = means_cam[:, 2]
        visible = (depths >= near_plane) & (depths <= far_plane)
        order = torch.argsort(depths, stable=True)
        order = order[visible[order]]

        per_camera = colors.dim() == (3 if sh_degree is None else 4)
        features = colors[c] if per_camera else colors
        if sh_degree is not None:
            features = sh_colors(features, means + torch.linalg.solve(R, t), sh_degree)
        if render_mode in ("D", "ED"):
            features = depths[:, None]
        elif render_mode in ("RGB+D", "RGB+ED"):
            features = torch.cat([features, depths[:, None]], dim=1)
        elif render_mode != "RGB":
            raise ValueError(f"unknown render_mode {render_mode!r}")

        means2d, covs2d, ratio = project(means_cam[order], quats[order], scales[order], R, Ks[c], width, height, eps2d)
        opacity = opacities[order]
        if rasterize_mode == "antialiased":
            opacity = opacity * ratio
        image, alpha = composite(means2d, covs2d, opacity, features[order], width, height, alpha_cap)

        if backgrounds is not None and render_mode not in ("D", "ED"):
            n = backgrounds.shape[1]
            image = torch.cat([image[..., :n] + (1 - alpha) * backgrounds[c], image[..., n:]], dim=-1)
        if render_mode in ("ED", "RGB+ED"):
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
        images.append(image)
        alphas.append(alpha)
    return torch.stack(images), torch.stack(alphas)


def project(
    means_cam: Tensor, quats: Tensor, scales: Tensor, R: Tensor, K: Tensor, width: int, height: int, eps2d: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel means [N,2], blurred 2D covariances [N,2,2] and the antialiasing ratio [N] of Gaussians in front."""
    x, y, z = means_cam.unbind(dim=1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1)

    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    u = (x / z).clamp(min=-(cx / fx + margin_x), max=(width - cx) / fx + margin_x)
    v = (y / z).clamp(min=-(cy / fy + margin_y), max=(height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    J = torch.stack(
        [torch.stack([fx / z, zero, -fx * u / z], dim=1), torch.stack([zero, fy / z, -fy * v / z], dim=1)], dim=1
    )

    half = J @ R @ rotation_matrices(quats) * scales[:, None, :]  # cov2d = half half^T
    cov = half @ half.transpose(1, 2)
    blurred = cov + eps2d * torch.eye(2, dtype=cov.dtype, device=cov.device)
    det, det_blurred = torch.linalg.det(cov), torch.linalg.det(blurred)
    return means2d, blurred, (det / det_blurred).clamp(min=1e-30).sqrt()


def rotation_matrices(quats: Tensor) -> Tensor:
    """[N,4] wxyz of any length -> [N,3,3]."""
    w, x, y, z = (quats / quats.norm(dim=1, keepdim=True)).unbind(dim=1)
    zero = torch.zeros_like(w)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    eye = torch.eye(3, dtype=quats.dtype, device=quats.device)
    # Rodrigues with cos/sin of the half angle: R = I + 2 w [v]x + 2 [v]x^2.
    return eye + 2 * w[:, None, None] * cross + 2 * cross @ cross


def composite(
    means2d: Tensor, covs2d: Tensor, opacities: Tensor, features: Tensor, width: int, height: int, alpha_cap: float
) -> tuple[Tensor, Tensor]:
    """Blend depth-sorted Gaussians at every pixel centre: image [H,W,D] and alpha [H,W,1]."""
    dtype, device = means2d.dtype, means2d.device
    ys, xs = torch.meshgrid(
        torch.arange(height, dtype=dtype, device=device) + 0.5,
        torch.arange(width, dtype=dtype, device=device) + 0.5,
        indexing="ij",
    )
    d = torch.stack([xs, ys], dim=-1)[:, :, None, :] - means2d  # [H,W,N,2]
    sigma = 0.5 * torch.einsum("hwni,nij,hwnj->hwn", d, torch.linalg.inv(covs2d), d)
    alpha = (opacities * torch.exp(-sigma)).clamp(max=alpha_cap)
    alpha = torch.where((alpha >= ALPHA_THRESHOLD) & (sigma >= 0), alpha, torch.zeros_like(alpha))

    after = torch.cumprod(1 - alpha, dim=2)  # transmittance behind each Gaussian
    alpha = torch.where(after > TRANSMITTANCE_STOP, alpha, torch.zeros_like(alpha))  # `after` only falls
    after = torch.cumprod(1 - alpha, dim=2)
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], dim=2)
    weights = alpha * before
    return weights @ features, weights.sum(dim=2, keepdim=True)


def sh_colors(coefficients: Tensor, offsets: Tensor, degree: int) -> Tensor:
    """[N,K,3] coefficients seen along the (unnormalised) camera-to-Gaussian `offsets` [N,3] -> colours [N,3]."""
    basis = sh_basis(offsets / offsets.norm(dim=1, keepdim=True), degree)
    used = coefficients[:, : basis.shape[1]]
    return ((basis[:, :, None] * used).sum(dim=1) + 0.5).clamp(min=0)


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics of unit directions [N,3], degrees 0 to 3 -> [N,(degree+1)^2].

    Written from the closed forms (m from -l to l; signs as in the 3DGS layout, with Condon-Shortley phase).
    """
    x, y, z = directions.unbind(dim=1)
    pi = torch.pi
    basis = [torch.full_like(x, (1 / (4 * pi)) ** 0.5)]
    if degree >= 1:
        c = (3 / (4 * pi)) ** 0.5
        basis += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = (15 / (4 * pi)) ** 0.5
        c20 = (5 / (16 * pi)) ** 0.5
        basis += [c * x * y, -c * y * z, c20 * (3 * z * z - 1), -c * x * z, 0.5 * c * (x * x - y * y)]
    if degree >= 3:
        c33, c32, c31, c30 = (
            (35 / (32 * pi)) ** 0.5,
            (105 / (4 * pi)) ** 0.5,
            (21 / (32 * pi)) ** 0.5,
            (7 / (16 * pi)) ** 0.5,
        )
        basis += [
            -c33 * y * (3 * x * x - y * y),
            c32 * x * y * z,
            -c31 * y * (5 * z * z - 1),
            c30 * z * (5 * z * z - 3),
            -c31 * x * (5 * z * z - 1),
            0.5 * c32 * z * (x * x - y * y),
            -c33 * x * (x * x - 3 * y * y),
        ]
    if degree >= 4:
        raise NotImplementedError(f"spherical harmonics of degree {degree}; 0 to 3 are covered")
    return torch.stack(basis, dim=1)
