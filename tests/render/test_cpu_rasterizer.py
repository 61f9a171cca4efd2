"""The native rasterizer against the float64 brute force: values and gradients, in every mode."""

from typing import Any

import pytest
import torch
from reference import raster_bruteforce
from reference.raster_scenes import LEAVES, Scene, random_projection, random_scene, relative_error
from torch import Tensor

from recon import native
from recon.benchmark.scenes import room
from recon.native import build
from recon.render import cpu

pytestmark = pytest.mark.skipif(not cpu.available(), reason="no native library and no compiler")

IMAGE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 2e-6  # of the gradient's norm
# A camera's gradient is a sum over all Gaussians, of either sign under a random loss: most of it
# cancels, its error does not.
CANCELLATION = {"viewmats": 3.0}


def single(scene: Scene) -> Scene:
    """The scene with values that float32 can hold: both sides must be given the same numbers."""
    return scene.to(torch.float32).to(torch.float64)


def assert_equals_brute_force(scene: Scene, cancellation: dict[str, float] = CANCELLATION, **options: Any) -> None:
    """Image, alphas and all gradients against the brute force."""
    scene = single(scene)
    true = scene.requiring_grad()
    true_options = {k: v.double() if isinstance(v, Tensor) else v for k, v in options.items()}
    true_outputs = raster_bruteforce.rasterize(*true.args(), **true_options)
    random_projection(*true_outputs).backward()

    ours = scene.to(torch.float32).requiring_grad()
    colors, alphas, _ = cpu.rasterization(*ours.args(), **options)
    random_projection(colors, alphas).backward()

    for got, expected in zip((colors, alphas), true_outputs):
        assert got.shape == expected.shape
        assert float((got - expected).abs().max().detach()) < IMAGE_TOLERANCE
    for name in LEAVES:
        got, expected = getattr(ours, name).grad, getattr(true, name).grad
        if expected is None or float(expected.norm()) == 0.0:
            assert got is None or float(got.norm()) == 0.0, name
        else:
            assert relative_error(got, expected) < GRADIENT_TOLERANCE * cancellation.get(name, 1.0), name


@pytest.mark.parametrize("mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_modes(mode: str, rasterize_mode: str) -> None:
    assert_equals_brute_force(random_scene(sh_degree=None), render_mode=mode, rasterize_mode=rasterize_mode)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics(degree: int) -> None:
    assert_equals_brute_force(random_scene(), sh_degree=degree, render_mode="RGB+D")


def test_spherical_harmonics_per_camera() -> None:
    scene = random_scene()
    g = torch.Generator().manual_seed(3)
    colors = torch.stack([scene.colors, torch.randn(scene.colors.shape, generator=g, dtype=torch.float64) * 0.3])
    assert_equals_brute_force(Scene(**{**scene.__dict__, "colors": colors}), sh_degree=2)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
def test_any_number_of_channels(channels: int) -> None:
    scene = random_scene(sh_degree=None)
    g = torch.Generator().manual_seed(4)
    per_camera = torch.rand(2, len(scene.means), channels, generator=g, dtype=torch.float64)
    assert_equals_brute_force(Scene(**{**scene.__dict__, "colors": per_camera[0]}), render_mode="RGB+ED")
    assert_equals_brute_force(Scene(**{**scene.__dict__, "colors": per_camera}))


@pytest.mark.parametrize("mode", ["RGB", "RGB+D", "RGB+ED"])
def test_backgrounds(mode: str) -> None:
    scene = single(random_scene(sh_degree=None))
    backgrounds = torch.rand(2, 3, generator=torch.Generator().manual_seed(5))
    assert_equals_brute_force(scene, render_mode=mode, backgrounds=backgrounds)

    true_leaf, leaf = backgrounds.double().requires_grad_(), backgrounds.clone().requires_grad_()
    expected = raster_bruteforce.rasterize(*scene.args(), render_mode=mode, backgrounds=true_leaf)[0]
    got = cpu.rasterization(*scene.to(torch.float32).args(), render_mode=mode, backgrounds=leaf)[0]
    random_projection(expected).backward()
    random_projection(got).backward()
    assert leaf.grad is not None
    assert true_leaf.grad is not None
    assert relative_error(leaf.grad, true_leaf.grad) < GRADIENT_TOLERANCE


@pytest.mark.parametrize("options", [{"alpha_cap": 0.7}, {"eps2d": 0.0}, {"near_plane": 2.5, "far_plane": 3.5}])
def test_options(options: dict[str, float]) -> None:
    assert_equals_brute_force(random_scene(sh_degree=None, cameras=1), render_mode="RGB+D", **options)


def test_a_realistic_room() -> None:
    scene = room(3000, 96, 72)
    fields = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")
    assert_equals_brute_force(
        Scene(*(getattr(scene, name).double() for name in fields), 96, 72), {}, render_mode="RGB+D"
    )


def test_gradient_by_finite_differences() -> None:
    """Ours against differences of the brute force, which share no derivative."""
    scene = single(random_scene(n=12, cameras=1, sh_degree=None))
    ours = scene.to(torch.float32).requiring_grad()
    random_projection(*cpu.rasterization(*ours.args(), render_mode="RGB+D")[:2]).backward()
    checked = 0
    for name in LEAVES:
        gradient = getattr(ours, name).grad
        index = int(gradient.abs().argmax())
        losses = []
        for step in (1e-6, -1e-6):
            moved = getattr(scene, name).clone()
            moved.view(-1)[index] += step
            outputs = raster_bruteforce.rasterize(*Scene(**{**scene.__dict__, name: moved}).args(), render_mode="RGB+D")
            losses.append(float(random_projection(*outputs)))
        numeric = (losses[0] - losses[1]) / 2e-6
        assert float(gradient.view(-1)[index]) == pytest.approx(numeric, rel=1e-4), name
        checked += 1
    assert checked == len(LEAVES)


def test_means2d_gradient_and_absgrad() -> None:
    scene = single(random_scene(n=40, cameras=1, sh_degree=None))
    ours = scene.to(torch.float32).requiring_grad()
    colors, _, meta = cpu.rasterization(*ours.args(), absgrad=True)
    meta["means2d"].retain_grad()  # what gsplat's densification calls; must be allowed
    weights = torch.randn(colors.shape, generator=torch.Generator().manual_seed(7))
    (colors * weights).sum().backward()
    grad, absgrad = meta["means2d"].grad, meta["means2d"].absgrad
    assert grad.shape == absgrad.shape == meta["means2d"].shape
    assert bool((absgrad >= grad.abs() - 1e-6 * absgrad.max()).all())

    # One Gaussian moved by one pixel's worth of principal point moves all: the sum of gradients is that of cx.
    true = scene.requiring_grad()
    Ks = true.Ks.clone().requires_grad_()
    outputs = raster_bruteforce.rasterize(*true.args()[:6], Ks, scene.width, scene.height)
    (outputs[0] * weights).sum().backward()
    assert Ks.grad is not None
    assert float(grad[:, 0].sum()) == pytest.approx(float(Ks.grad[0, 0, 2]), rel=1e-4)

    # The sum of absolute values, from one backward pass per pixel.
    expected = torch.zeros_like(absgrad)
    for pixel in weights.flatten(0, 2).abs().sum(1).nonzero().flatten().tolist():
        mask = torch.zeros(weights.shape[:3]).flatten()
        mask[pixel] = 1.0
        part, _, part_meta = cpu.rasterization(*ours.args())
        (part * weights * mask.view(*weights.shape[:3], 1)).sum().backward()
        expected += part_meta["means2d"].grad.abs()
    assert relative_error(absgrad, expected) < 1e-5


def test_meta_packed_and_dense_agree() -> None:
    args = random_scene(sh_degree=None).to(torch.float32).requiring_grad().args()
    results = {packed: cpu.rasterization(*args, packed=packed, accumulate_weights=True) for packed in (True, False)}
    for colors, _, _ in results.values():
        random_projection(colors).backward()
    packed, dense = results[True][2], results[False][2]
    cameras, ids = packed["camera_ids"], packed["gaussian_ids"]
    for key in ("means2d", "radii", "depths", "conics", "opacities", "tiles_per_gauss"):
        assert torch.equal(dense[key][cameras, ids], packed[key]), key
        assert dense[key].shape[:2] == (2, len(args[0]))
    assert torch.equal(dense["means2d"].grad[cameras, ids], packed["means2d"].grad)
    assert packed["n_isects"] == int(packed["tiles_per_gauss"].sum())
    assert (packed["width"], packed["height"], packed["n_cameras"]) == (37, 29, 2)


def test_weights_are_what_a_channel_of_ones_collects() -> None:
    scene = random_scene(sh_degree=None).to(torch.float32)
    ones = torch.ones(len(scene.means), 1, requires_grad=True)
    args = Scene(**{**scene.__dict__, "colors": ones}).args()
    colors, alphas, meta = cpu.rasterization(*args, accumulate_weights=True)
    colors.sum().backward()
    assert ones.grad is not None
    assert relative_error(meta["weights"].sum(0), ones.grad[:, 0]) < 1e-6
    assert float(meta["weights"].sum()) == pytest.approx(float(alphas.sum().detach()), rel=1e-5)
    assert meta["n_blends"] > 0


def outputs_and_gradients(scene: Scene, **options: Any) -> list[Tensor]:
    leaves = scene.to(torch.float32).requiring_grad()
    colors, alphas, _ = cpu.rasterization(*leaves.args(), **options)
    random_projection(colors, alphas).backward()
    return [colors.detach(), alphas.detach(), *(getattr(leaves, name).grad for name in LEAVES)]


def test_the_number_of_threads_changes_nothing() -> None:
    scene = random_scene(n=6000, width=150, height=90)
    results = []
    try:
        for threads in (1, 2, 5):
            native.set_thread_count(threads)
            results.append(outputs_and_gradients(scene, sh_degree=1, render_mode="RGB+ED"))
    finally:
        native.set_thread_count(None)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.skipif("v3" not in build.variants(), reason="one variant only on this processor")
def test_the_variants_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = random_scene()
    default = outputs_and_gradients(scene, sh_degree=3, render_mode="RGB+ED")
    monkeypatch.setenv("RECON_NATIVE", "baseline")
    native._load.cache_clear()
    try:
        assert native.library() is not None, native.describe().reason
        assert native.describe().isa == "baseline"
        baseline = outputs_and_gradients(scene, sh_degree=3, render_mode="RGB+ED")
    finally:
        native._load.cache_clear()
    for a, b in zip(default, baseline):
        assert relative_error(a, b) < 5e-6


def test_backward_twice_and_without_a_loss_on_colors() -> None:
    scene = random_scene(cameras=1, sh_degree=None).to(torch.float32).requiring_grad()
    _, alphas, _ = cpu.rasterization(*scene.args())
    alphas.sum().backward(retain_graph=True)
    first = scene.means.grad.clone()
    assert float(first.norm()) > 0.0
    alphas.sum().backward()
    assert torch.equal(scene.means.grad, 2 * first)
