"""The PyTorch tile renderer against the brute force, and the brute force against gsplat and a loop over pixels."""

import math

import pytest
import torch
from reference.raster_bruteforce import project, rasterize
from reference.raster_scenes import LEAVES, Scene, random_projection, random_scene
from torch import Tensor

from recon.render.torch_tiles import count_blends, rasterization

MODES = ["RGB", "D", "ED", "RGB+D", "RGB+ED"]


def gradients(scene: Scene, outputs: tuple[Tensor, Tensor]) -> list[Tensor]:
    grads = torch.autograd.grad(random_projection(*outputs), scene.leaves(), allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(grads, scene.leaves())]


def assert_equals_brute_force(scene: Scene, image_tolerance: float, tolerance: float, **options: object) -> None:
    """Images and every gradient of the tile renderer, in the scene's dtype, against float64 brute force."""
    mine, true = scene.requiring_grad(), scene.to(torch.float64).requiring_grad()
    image, alpha, _ = rasterization(*mine.args(), **options)
    options.pop("packed", None)
    if isinstance(options.get("backgrounds"), Tensor):
        options["backgrounds"] = options["backgrounds"].double()
    true_image, true_alpha = rasterize(*true.args(), **options)
    assert image.shape == true_image.shape
    assert alpha.shape == true_alpha.shape
    assert float((image - true_image).detach().abs().max()) <= image_tolerance
    assert float((alpha - true_alpha).detach().abs().max()) <= image_tolerance
    for name, got, expected in zip(LEAVES, gradients(mine, (image, alpha)), gradients(true, (true_image, true_alpha))):
        error = float((got - expected).norm())
        assert error <= tolerance * float(expected.norm()), f"gradient of {name}"


@pytest.mark.parametrize("render_mode", MODES)
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_equals_brute_force_in_float64(render_mode: str, rasterize_mode: str) -> None:
    assert_equals_brute_force(
        random_scene(), 1e-13, 1e-12, sh_degree=3, render_mode=render_mode, rasterize_mode=rasterize_mode
    )


def test_equals_brute_force_in_float32() -> None:
    backgrounds = torch.rand(2, 3)
    options = {"sh_degree": 2, "render_mode": "RGB+ED", "backgrounds": backgrounds}
    assert_equals_brute_force(random_scene().to(torch.float32), 2e-5, 1e-5, **options)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("width", "height"), [(16, 16), (1, 1), (33, 7)])
def test_any_image_size(packed: bool, width: int, height: int) -> None:
    assert_equals_brute_force(random_scene(60, width, height, sh_degree=None), 1e-13, 1e-12, packed=packed)


def test_many_gaussians_per_tile_and_ended_pixels() -> None:
    """More than one chunk per tile, and more Gaussians behind than a pixel lets through."""
    scene = random_scene(900, 20, 18, cameras=1, sh_degree=None)
    assert_equals_brute_force(scene, 1e-13, 1e-11, render_mode="RGB+D")
    alpha = rasterize(*scene.args())[1]
    assert float(alpha.max()) > 1 - 2e-3, "the scene should end pixels"


def test_colors_per_camera_and_alpha_cap() -> None:
    scene = random_scene(100, sh_degree=None)
    colors = torch.rand(2, 100, 5, dtype=torch.float64)
    assert_equals_brute_force(Scene(*scene.args()[:4], colors, *scene.args()[5:]), 1e-13, 1e-12, alpha_cap=0.7)


def test_clipping_planes() -> None:
    assert_equals_brute_force(random_scene(sh_degree=None), 1e-13, 1e-12, near_plane=2.0, far_plane=3.5)


def test_gradients_equal_finite_differences() -> None:
    scene = random_scene(3, 9, 7, cameras=1, sh_degree=None).requiring_grad()

    def image(*leaves: Tensor) -> Tensor:
        colors, alphas, _ = rasterization(*leaves, scene.Ks, scene.width, scene.height, render_mode="RGB+D")
        return random_projection(colors, alphas)

    # The rim where alpha crosses 1/255 is a step: small differences miss it almost surely.
    assert torch.autograd.gradcheck(image, scene.leaves(), eps=1e-7, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("packed", [True, False])
def test_meta_has_the_gradient_of_projected_means(packed: bool) -> None:
    scene = random_scene(sh_degree=None).requiring_grad()
    image, alpha, meta = rasterization(*scene.args(), packed=packed, absgrad=True)
    meta["means2d"].retain_grad()
    random_projection(image, alpha).backward()
    grad, absgrad = meta["means2d"].grad, meta["means2d"].absgrad
    assert grad.shape == absgrad.shape == meta["means2d"].shape
    assert bool((absgrad >= grad.abs() - 1e-12).all())
    assert float(absgrad.sum()) > 1.01 * float(grad.abs().sum()), "signs should cancel somewhere"
    visible = meta["radii"].amin(-1) > 0
    assert bool((grad[~visible] == 0).all())
    if packed:
        assert meta["gaussian_ids"].shape == meta["camera_ids"].shape == meta["depths"].shape == visible.shape
        assert bool(visible.all())
    else:
        assert meta["means2d"].shape == (2, 120, 2)


def test_absolute_gradient_of_one_pixel_is_the_gradients_magnitude() -> None:
    scene = random_scene(30, 1, 1, cameras=1, sh_degree=None).requiring_grad()
    image, _, meta = rasterization(*scene.args(), absgrad=True)
    meta["means2d"].retain_grad()
    image.sum().backward()
    torch.testing.assert_close(meta["means2d"].absgrad, meta["means2d"].grad.abs())


def test_nothing_in_view() -> None:
    scene = random_scene(5, sh_degree=None).requiring_grad()
    behind = Scene(scene.means - 100.0, *scene.args()[1:])
    image, alpha, meta = rasterization(*behind.args(), render_mode="RGB+ED", backgrounds=torch.ones(2, 3).double())
    assert bool((image[..., :3] == 1).all())
    assert bool((image[..., 3] == 0).all())
    assert len(meta["gaussian_ids"]) == 0
    (image.sum() + alpha.sum()).backward()
    assert scene.means.grad is not None
    assert float(scene.means.grad.abs().sum()) == 0


def test_refuses_by_name_what_it_does_not_cover() -> None:
    args = random_scene(5, sh_degree=None).args()
    with pytest.raises(NotImplementedError, match="camera_model='fisheye'"):
        rasterization(*args, camera_model="fisheye")
    with pytest.raises(NotImplementedError, match="covars"):
        rasterization(*args, covars=torch.zeros(5, 3, 3))
    with pytest.raises(TypeError, match="colour"):
        rasterization(*args, colour=1)
    with pytest.raises(ValueError, match="render_mode 'rgb'"):
        rasterization(*args, render_mode="rgb")
    rasterization(*args, camera_model="pinhole", distributed=False, sparse_grad=False)


def test_count_blends_equals_a_count_over_pixels() -> None:
    scene = random_scene(40, 10, 8, cameras=1, sh_degree=None)
    assert count_blends(*scene.args()[:4], *scene.args()[5:]) == loop_over_pixels(scene)[1]


def test_brute_force_projects_like_gsplat() -> None:
    """gsplat's own PyTorch projection runs without a GPU."""
    from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

    s = random_scene(sh_degree=None)
    covars, _ = _quat_scale_to_covar_preci(s.quats, s.scales)
    _, means2d, depths, conics, ratios = _fully_fused_projection(
        s.means, covars, s.viewmats, s.Ks, s.width, s.height, calc_compensations=True
    )
    for c in range(2):
        R, t = s.viewmats[c, :3, :3], s.viewmats[c, :3, 3]
        front = depths[c] > 0.01
        mine = project((s.means @ R.T + t)[front], s.quats[front], s.scales[front], R, s.Ks[c], s.width, s.height, 0.3)
        inverse = torch.linalg.inv(mine[1])
        torch.testing.assert_close(mine[0], means2d[c, front])
        torch.testing.assert_close(
            torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], 1), conics[c, front]
        )
        torch.testing.assert_close(mine[2], ratios[c, front])


def test_brute_force_blends_like_a_loop_over_pixels() -> None:
    scene = random_scene(60, 12, 9, cameras=1, sh_degree=None)
    image, alpha = rasterize(*scene.args(), render_mode="RGB+D")
    expected, _ = loop_over_pixels(scene)
    torch.testing.assert_close(torch.cat([image, alpha], dim=-1)[0], expected, atol=1e-12, rtol=0)


def loop_over_pixels(scene: Scene) -> tuple[Tensor, int]:
    """Colour, depth and alpha [H,W,5] of a one-camera scene and the number of blends, a number at a time."""
    R, t = scene.viewmats[0, :3, :3], scene.viewmats[0, :3, 3]
    points = scene.means @ R.T + t
    order = [int(i) for i in torch.argsort(points[:, 2]) if float(points[i, 2]) >= 0.01]
    means2d, covs, _ = project(
        points[order], scene.quats[order], scene.scales[order], R, scene.Ks[0], scene.width, scene.height, 0.3
    )
    image, blends = torch.zeros(scene.height, scene.width, 5, dtype=torch.float64), 0
    for y in range(scene.height):
        for x in range(scene.width):
            through = 1.0
            for k, i in enumerate(order):
                d = torch.tensor([x + 0.5, y + 0.5], dtype=torch.float64) - means2d[k]
                sigma = 0.5 * float(d @ torch.linalg.inv(covs[k]) @ d)
                a = min(0.999, float(scene.opacities[i]) * math.exp(-sigma))
                if a < 1 / 255:
                    continue
                if through * (1 - a) <= 1e-4:
                    break
                image[y, x, :3] += through * a * scene.colors[i]
                image[y, x, 3] += through * a * points[i, 2]
                through *= 1 - a
                blends += 1
            image[y, x, 4] = 1 - through
    return image, blends
