import json

import numpy as np
import pytest
import torch
from PIL import Image

from recon.benchmark.evaluate import EvalReport, SceneReport, evaluate_folders, evaluate_images, evaluate_set
from recon.errors import InputError
from recon.metrics import lpips, psnr, score_image, ssim
from recon.types import ImageSet


def images(names: tuple[str, ...], pictures: list[torch.Tensor], masks: list[torch.Tensor] | None = None) -> ImageSet:
    n = len(names)
    ids = torch.zeros(n, dtype=torch.int64)
    return ImageSet(names, tuple(pictures), torch.full((n,), torch.nan), ids, None if masks is None else tuple(masks))


def save(path, picture: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture.numpy() * 255).round().astype(np.uint8)).save(path)


def stored(picture: torch.Tensor) -> torch.Tensor:
    """As it comes back from an 8-bit file."""
    return (picture * 255).round() / 255


def test_one_view_is_scored_by_the_metrics():
    a, b = torch.rand(2, 40, 50, 3)
    scores = score_image("x.png", a, b)
    assert scores.psnr == pytest.approx(psnr(a, b).item())
    assert scores.ssim == pytest.approx(ssim(a, b).item())
    assert scores.lpips == pytest.approx(lpips(a, b).item())
    assert (scores.width, scores.height) == (50, 40)
    assert scores.psnr_masked is None


def test_masked_figures_look_only_at_the_object():
    a, b = torch.rand(2, 60, 70, 3)
    mask = torch.zeros(60, 70)
    mask[10:50, 20:60] = 1
    mask[10, 20] = 0  # a missing corner changes the pixels counted, not the box
    scores = score_image("x", a, b, mask)
    box = (slice(10, 50), slice(20, 60))
    assert scores.ssim_masked == pytest.approx(ssim(a[box], b[box]).item())
    assert scores.lpips_masked == pytest.approx(lpips(a[box], b[box]).item())
    keep = mask > 0.5
    assert scores.psnr_masked == pytest.approx(-10 * float((a[keep] - b[keep]).square().mean().log10()), rel=1e-5)
    outside = torch.where(keep[..., None], a, 1 - a)
    assert score_image("x", outside, b, mask).psnr_masked == scores.psnr_masked


def test_small_objects_have_no_lpips_and_empty_masks_no_figures():
    a, b = torch.rand(2, 40, 40, 3)
    mask = torch.zeros(40, 40)
    assert score_image("x", a, b, mask).psnr_masked is None
    mask[5:15, 5:15] = 1
    scores = score_image("x", a, b, mask)
    assert scores.lpips_masked is None
    assert scores.ssim_masked is not None


def test_equal_images_stay_finite_and_predictions_are_clamped():
    a = torch.rand(40, 40, 3)
    assert score_image("x", a, a).psnr == 100.0
    white = torch.ones(40, 40, 3)
    assert score_image("x", white * 3, white).psnr == 100.0


def test_sizes_must_agree():
    with pytest.raises(InputError, match=r"rendering is 50x40 .* photo 40x50"):
        score_image("x", torch.rand(40, 50, 3), torch.rand(50, 40, 3))
    with pytest.raises(InputError, match="mask 4x4"):
        score_image("x", torch.rand(40, 40, 3), torch.rand(40, 40, 3), torch.ones(4, 4))


def test_folders_agree_with_memory(tmp_path):
    true, predicted = [list(torch.rand(2, 40, 50, 3)) for _ in range(2)]
    masks = [torch.zeros(40, 50), torch.ones(40, 50)]
    masks[0][2:37, 3:48] = 1
    for i in range(2):
        save(tmp_path / "true" / f"v{i}.png", true[i])
        save(tmp_path / "pred" / f"v{i}.png", predicted[i])
        save(tmp_path / "pred" / f"v{i}.depth.png", predicted[i])  # depth maps beside renderings are no renderings
        save(tmp_path / "true" / "masks" / f"v{i}.png", masks[i])
    from_disk = evaluate_folders("room", tmp_path / "pred", tmp_path / "true", tmp_path / "true" / "masks")
    names = ("v0.png", "v1.png")
    expected = evaluate_images(
        "room",
        images(names, [stored(x) for x in predicted]),
        images(names, [stored(x) for x in true], masks),
    )
    for found, wanted in zip(from_disk.images, expected.images):
        assert found.name == wanted.name
        assert found.psnr == pytest.approx(wanted.psnr, rel=1e-5)
        assert found.lpips_masked == pytest.approx(wanted.lpips_masked, rel=1e-4)


def test_sets_are_means_of_scene_means(tmp_path):
    sizes = {"one": 1, "three": 3}
    for scene, n in sizes.items():
        for i in range(n):
            save(tmp_path / "true" / scene / f"v{i}.png", torch.rand(32, 32, 3))
            save(tmp_path / "pred" / scene / f"v{i}.png", torch.rand(32, 32, 3) * (0.2 if scene == "one" else 1))
    report = evaluate_set(tmp_path / "pred", tmp_path / "true", list(sizes))
    one, three = (scene.mean()["psnr"] for scene in report.scenes)
    assert len(report.scenes[1].images) == 3
    assert report.mean()["psnr"] == pytest.approx((one + three) / 2)
    assert three == pytest.approx(sum(image.psnr for image in report.scenes[1].images) / 3)


def test_missing_and_broken_renderings_are_named(tmp_path):
    save(tmp_path / "true" / "v0.png", torch.rand(32, 32, 3))
    save(tmp_path / "true" / "v1.png", torch.rand(32, 32, 3))
    save(tmp_path / "pred" / "v0.png", torch.rand(32, 32, 3))
    with pytest.raises(InputError, match=r"v1\.png"):
        evaluate_folders("room", tmp_path / "pred", tmp_path / "true")
    (tmp_path / "pred" / "v1.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"Rendering .*v1\.png"):
        evaluate_folders("room", tmp_path / "pred", tmp_path / "true")


def test_renderings_in_memory_are_matched_by_name():
    a, b = torch.rand(2, 32, 32, 3)
    report = evaluate_images("room", images(("b.png", "a.png"), [b, a]), images(("a.jpg", "b.jpg"), [a, b]))
    assert [image.psnr for image in report.images] == [100.0, 100.0]
    with pytest.raises(InputError, match=r"a\.jpg"):
        evaluate_images("room", images(("b.png",), [b]), images(("a.jpg", "b.jpg"), [a, b]))
    with pytest.raises(InputError, match="called a"):
        evaluate_images("room", images(("a.png", "a.jpg"), [a, b]), images(("a.jpg",), [a]))


def test_report_is_json_with_poses_and_costs():
    a, b = torch.rand(2, 40, 40, 3)
    image = score_image("x", a, b)
    report = EvalReport(
        (
            SceneReport("one", (image,), {"ate": 0.5, "auc@5": None}, seconds=10.0, size_bytes=1000),
            SceneReport("two", (image, image), {"ate": 1.5, "auc@5": 0.25}, seconds=30.0, size_bytes=3000),
        )
    )
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["mean"]["ate"] == 1.0
    assert values["mean"]["auc@5"] == 0.25
    assert values["mean"]["seconds"] == 20.0
    assert values["mean"]["size_bytes"] == 2000
    assert values["mean"]["psnr_masked"] is None
    assert values["scenes"][1]["images"][0]["psnr"] == image.psnr
