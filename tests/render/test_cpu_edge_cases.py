"""The native rasterizer where things are empty, broken, huge or not covered."""

import gc
import math
import threading
from typing import Any

import pytest
import torch
from reference import raster_bruteforce
from reference.raster_scenes import LEAVES, Scene, random_projection, random_scene
from torch import Tensor

from recon.native import raster
from recon.render import cpu

pytestmark = pytest.mark.skipif(not cpu.available(), reason="no native library and no compiler")


def plain(**changes: Any) -> Scene:
    """A float32 scene of one camera with some fields replaced."""
    scene = random_scene(sh_degree=None, cameras=1).to(torch.float32)
    return Scene(**{**scene.__dict__, **changes})


def draw(scene: Scene, **options: Any) -> tuple[Tensor, Tensor, dict[str, Any], Scene]:
    """Forward and backward; everything must come out finite."""
    scene = scene.requiring_grad()
    colors, alphas, meta = cpu.rasterization(*scene.args(), **options)
    random_projection(colors, alphas).backward()
    assert bool(colors.isfinite().all())
    assert bool(alphas.isfinite().all())
    for name in LEAVES:
        assert bool(getattr(scene, name).grad.isfinite().all()), name
    return colors.detach(), alphas.detach(), meta, scene


def test_no_gaussians() -> None:
    empty = {name: getattr(plain(), name)[:0] for name in ("means", "quats", "scales", "opacities", "colors")}
    colors, alphas, meta, _ = draw(plain(**empty), backgrounds=torch.tensor([[0.1, 0.2, 0.3]]), accumulate_weights=True)
    assert torch.equal(colors, torch.tensor([0.1, 0.2, 0.3]).expand_as(colors))
    assert float(alphas.abs().max()) == 0.0
    assert meta["means2d"].shape == (0, 2)
    assert meta["weights"].shape == (1, 0)


def test_nothing_visible() -> None:
    behind = plain().means * torch.tensor([1.0, 1.0, 0.0]) - torch.tensor([0.0, 0.0, 5.0])
    colors, alphas, meta, scene = draw(plain(means=behind), render_mode="RGB+ED", absgrad=True)
    assert float(colors.abs().max()) == 0.0
    assert float(alphas.max()) == 0.0
    assert len(meta["gaussian_ids"]) == 0
    assert float(scene.means.grad.abs().max()) == 0.0


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_left_out(name: str, value: float) -> None:
    scene = plain()
    broken = getattr(scene, name).clone()
    broken[::5] = value
    keep = torch.ones(len(broken), dtype=torch.bool)
    keep[::5] = False
    got = draw(Scene(**{**scene.__dict__, name: broken}), render_mode="RGB+D")
    rest = {n: getattr(scene, n)[keep] for n in ("means", "quats", "scales", "opacities", "colors")}
    expected = draw(Scene(**{**scene.__dict__, **rest}), render_mode="RGB+D")
    assert torch.equal(got[0], expected[0])
    assert float(getattr(got[3], name).grad[::5].abs().max()) == 0.0


@pytest.mark.parametrize("what", ["viewmats", "Ks"])
def test_a_broken_camera_sees_nothing(what: str) -> None:
    scene = plain(**{what: torch.full_like(getattr(plain(), what), math.nan).tril()}) if what == "viewmats" else plain()
    if what == "Ks":
        Ks = scene.Ks.clone()
        Ks[:, 0, 0] = math.nan
        scene = plain(Ks=Ks)
    colors, _, _ = cpu.rasterization(*scene.args())
    assert float(colors.abs().max()) == 0.0


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (33, 1), (31, 17), (64, 32), (65, 33)])
def test_sizes_that_are_no_multiple_of_a_tile(width: int, height: int) -> None:
    scene = random_scene(width=width, height=height, cameras=1, sh_degree=None)
    expected = raster_bruteforce.rasterize(*scene.args())
    colors, alphas, _, _ = draw(scene.to(torch.float32))
    assert float((colors - expected[0]).abs().max()) < 1e-5
    assert float((alphas - expected[1]).abs().max()) < 1e-5


def test_a_very_wide_image() -> None:
    scene = plain(width=8192, height=3, Ks=torch.tensor([[[6000.0, 0, 4096], [0, 6000.0, 1.5], [0, 0, 1]]]))
    colors, alphas, _, _ = draw(scene, render_mode="RGB+D")
    assert colors.shape == (1, 3, 8192, 4)
    assert float(alphas.max()) > 0.5


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e3, 1e6, 1e15])
def test_scales_from_nothing_to_filling_everything(scale: float) -> None:
    scene = plain(scales=torch.full_like(plain().scales, scale))
    _, alphas, meta, _ = draw(scene, render_mode="RGB+ED", accumulate_weights=True)
    assert float(alphas.max()) > 0.0 or scale > 1e12
    assert len(meta["gaussian_ids"]) <= len(scene.means)


def test_needles_agree_with_the_brute_force() -> None:
    scene = random_scene(n=60, cameras=1, sh_degree=None)
    scales = torch.tensor([3.0, 0.002, 0.001], dtype=torch.float64) * scene.scales / scene.scales
    needles = Scene(**{**scene.__dict__, "scales": scales}).to(torch.float32)
    expected = raster_bruteforce.rasterize(*needles.to(torch.float64).args())
    colors, _, _, _ = draw(needles)
    assert float((colors - expected[0]).abs().max()) < 2e-5


@pytest.mark.parametrize("opacity", [0.0, 0.5 / 255, 1.0])
def test_extreme_opacities(opacity: float) -> None:
    scene = plain(opacities=torch.full_like(plain().opacities, opacity))
    _, alphas, _, _ = draw(scene)
    assert (float(alphas.max()) > 0.99) == (opacity == 1.0)


def test_zero_quaternions_count_as_no_rotation() -> None:
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(plain().means), 4)
    zero = cpu.rasterization(*plain(quats=torch.zeros_like(identity)).args())[0]
    assert torch.equal(zero, cpu.rasterization(*plain(quats=identity).args())[0])


def test_radius_clip_drops_the_small() -> None:
    _, _, everything, _ = draw(plain())
    _, _, large, _ = draw(plain(), radius_clip=6.0)
    kept = (everything["radii"] > 6).any(dim=1)
    assert 0 < int(kept.sum()) < len(kept)
    assert torch.equal(large["gaussian_ids"], everything["gaussian_ids"][kept])


def test_a_gaussian_outside_the_image_changes_nothing() -> None:
    scene = plain()
    far = scene.means[:1] * 0 + torch.tensor([[80.0, 0.0, 3.0]])
    more = {
        n: torch.cat([getattr(scene, n), getattr(scene, n)[:1]]) for n in ("quats", "scales", "opacities", "colors")
    }
    more["means"] = torch.cat([scene.means, far])
    assert torch.equal(draw(scene)[0], draw(Scene(**{**scene.__dict__, **more}))[0])


def test_strided_inputs() -> None:
    scene = plain()
    wide = {n: torch.stack([getattr(scene, n)] * 2, dim=-1)[..., 0] for n in (*LEAVES, "Ks")}
    assert not wide["means"].is_contiguous()
    assert torch.equal(cpu.rasterization(*Scene(**{**scene.__dict__, **wide}).args())[0], draw(scene)[0])


def test_float64_is_refused() -> None:
    with pytest.raises(TypeError, match=r"means.*float32"):
        cpu.rasterization(*plain(means=plain().means.double()).args())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sparse_grad": True}, NotImplementedError, "sparse_grad"),
        ({"camera_model": "fisheye"}, NotImplementedError, "camera_model"),
        ({"covars": torch.eye(3)}, NotImplementedError, "covars"),
        ({"rasterize_mode": "smooth"}, NotImplementedError, "rasterize_mode"),
        ({"radial_coeffs": torch.zeros(1, 6)}, NotImplementedError, "radial_coeffs"),
        ({"with_ut": True}, NotImplementedError, "with_ut"),
        ({"render_mode": "XYZ"}, ValueError, "render_mode"),
        ({"backgrounds": torch.zeros(1, 5)}, ValueError, "backgrounds"),
    ],
)
def test_what_is_not_covered_says_so(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        cpu.rasterization(*plain().args(), **options)


@pytest.mark.parametrize(("degree", "coefficients", "error"), [(4, 25, NotImplementedError), (2, 4, ValueError)])
def test_sh_degrees_that_do_not_fit(degree: int, coefficients: int, error: type[Exception]) -> None:
    colors = torch.zeros(len(plain().means), coefficients, 3)
    with pytest.raises(error, match="sh_degree"):
        cpu.rasterization(*plain(colors=colors).args(), sh_degree=degree)


def test_skewed_cameras_are_refused() -> None:
    Ks = plain().Ks.clone()
    Ks[:, 0, 1] = 0.1
    with pytest.raises(NotImplementedError, match="skew"):
        cpu.rasterization(*plain(Ks=Ks).args())


def test_two_python_threads_at_once() -> None:
    expected = draw(plain())
    failures: list[str] = []

    def work() -> None:
        for _ in range(10):
            got = draw(plain())
            if not (torch.equal(got[0], expected[0]) and torch.equal(got[3].means.grad, expected[3].means.grad)):
                failures.append("differs")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = []

    class Counting(raster.RasterState):
        def __del__(self) -> None:
            freed.append(self.address)
            super().__del__()

    monkeypatch.setattr(raster, "RasterState", Counting)
    for mode in ("RGB", "RGB+ED"):
        result = cpu.rasterization(*plain().requiring_grad().args(), render_mode=mode, absgrad=True)
        result[0].sum().backward()
    assert len(freed) == 1
    del result
    gc.collect()
    assert len(freed) == 2
    raster.trim()
