"""Which renderer is chosen, and `render` on top of whichever it is."""

import logging

import pytest
import torch
from reference.raster_scenes import random_scene
from torch import Tensor

from recon import native
from recon.errors import InputError, ResourceError
from recon.render import base, render, select_rasterizer
from recon.render.sh import rgb_to_sh0
from recon.types import Cameras, Splats


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def no_library(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setattr(native, "describe", lambda: native.NativeInfo(None, "none", "found no compiler"))
    base._warn_of_fallback.cache_clear()


def splats_and_cameras(cameras: int = 2) -> tuple[Splats, Cameras]:
    s = random_scene(80, cameras=cameras, sh_degree=None).to(torch.float32)
    splats = Splats(
        means=s.means,
        quats=s.quats,
        log_scales=s.scales.log(),
        logit_opacities=s.opacities.clamp(0.01, 0.99).logit(),
        sh0=rgb_to_sh0(s.colors)[:, None],
        shN=0.1 * torch.randn(80, 3, 3, generator=torch.Generator().manual_seed(2)),
    )
    return splats, Cameras.create(s.viewmats, s.Ks, s.width, s.height)


def test_cuda_without_a_gpu_is_a_plain_error(no_gpu: None) -> None:
    with pytest.raises(ResourceError, match=r"--device cuda needs a CUDA GPU.*Use --device cpu"):
        select_rasterizer("cuda")


def test_unknown_device() -> None:
    with pytest.raises(InputError, match=r"Unknown device 'tpu'\. Use auto, cpu or cuda"):
        select_rasterizer("tpu")


@pytest.mark.skipif(native.library() is None, reason="no native library")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_native_library_is_preferred_on_the_cpu(no_gpu: None, device: str) -> None:
    chosen = select_rasterizer(device)
    assert (chosen.name, chosen.device) == ("cpu", torch.device("cpu"))


def test_falls_back_to_torch_with_one_warning(no_library: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="recon.render.base"):
        names = [select_rasterizer("auto").name, select_rasterizer("cpu").name]
    assert names == ["torch_tiles", "torch_tiles"]
    assert [r.getMessage().split(":")[-1].strip() for r in caplog.records] == ["found no compiler"]


def test_gsplat_is_not_imported_without_a_gpu() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from recon.render import select_rasterizer; select_rasterizer(); sys.exit('gsplat' in sys.modules)"
    )
    environment = {"RECON_NATIVE": "off", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ":".join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_render_splits_color_alpha_and_depth(no_library: None) -> None:
    splats, cameras = splats_and_cameras()
    rasterizer = select_rasterizer("cpu")
    rendering = render(splats, cameras, rasterizer, background=torch.tensor([0.2, 0.5, 0.9]))
    width, height = int(cameras.width[0]), int(cameras.height[0])
    assert rendering.rgb.shape == (2, height, width, 3)
    assert rendering.alpha.shape == rendering.depth.shape == (2, height, width)
    empty = rendering.alpha == 0
    assert bool(empty.any())
    assert torch.allclose(rendering.rgb[empty], torch.tensor([0.2, 0.5, 0.9]))
    assert float(rendering.depth[empty].abs().max()) == 0
    solid = rendering.alpha > 0.5
    z = (splats.means @ cameras.cam_from_world[0, :3, :3].T + cameras.cam_from_world[0, :3, 3])[:, 2]
    assert float(rendering.depth[0][solid[0]].min()) >= 0.01
    assert float(rendering.depth[0].max()) <= float(z.max()) * (1 + 1e-5)
    accumulated = render(splats, cameras, rasterizer, render_mode="RGB+D").depth
    torch.testing.assert_close(accumulated, rendering.depth * rendering.alpha, atol=1e-5, rtol=1e-5)
    assert float(render(splats, cameras, rasterizer, render_mode="RGB").depth.abs().max()) == 0


def test_degree_zero_ignores_higher_bands(no_library: None) -> None:
    splats, cameras = splats_and_cameras()
    rasterizer = select_rasterizer("cpu")
    flat = Splats(**{**splats.tensors(), "shN": torch.zeros(80, 0, 3)})
    expected = render(flat, cameras, rasterizer).rgb
    assert torch.equal(render(splats, cameras, rasterizer, sh_degree=0).rgb, expected)
    assert not torch.equal(render(splats, cameras, rasterizer).rgb, expected)


def test_gradients_reach_splats_and_cameras(no_library: None) -> None:
    splats, cameras = splats_and_cameras()
    leaves = {name: value.clone().requires_grad_() for name, value in splats.tensors().items()}
    pose = cameras.cam_from_world.clone().requires_grad_()
    moved = Cameras.create(pose, cameras.Ks, cameras.width, cameras.height)
    out = render(Splats(**leaves), moved, select_rasterizer("cpu"))
    (out.rgb.sum() + out.depth.sum() + out.alpha.square().sum()).backward()
    for name, leaf in {**leaves, "cam_from_world": pose}.items():
        assert isinstance(leaf.grad, Tensor), name
        assert float(leaf.grad.abs().sum()) > 0, name


def test_alpha_cap_limits_one_gaussian(no_library: None) -> None:
    splats, cameras = splats_and_cameras(1)
    opaque = Splats(**{**splats.tensors(), "logit_opacities": torch.full((80,), 20.0)})[:1]
    alphas = {cap: render(opaque, cameras, select_rasterizer("cpu", cap)).alpha.max() for cap in (0.5, None)}
    assert float(alphas[0.5]) == pytest.approx(0.5)
    assert 0.9 < float(alphas[None]) <= 0.999 + 1e-6


def test_cameras_of_several_sizes_are_refused(no_library: None) -> None:
    splats, cameras = splats_and_cameras()
    width = cameras.width.clone()
    width[1] = 99
    mixed = Cameras.create(cameras.cam_from_world, cameras.Ks, width, cameras.height)
    with pytest.raises(ValueError, match=r"one size, got 37x29, 99x29"):
        render(splats, mixed, select_rasterizer("cpu"))
    with pytest.raises(ValueError, match="must be RGB"):
        render(splats, cameras, select_rasterizer("cpu"), render_mode="ED")
