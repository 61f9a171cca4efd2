"""The optimiser on a scene with known truth: it must gain on views it never saw, respect its cap, and resume."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import arc_cameras, rasterizer, scene

from recon.errors import InputError
from recon.geometry.se3 import exp_se3
from recon.metrics import psnr
from recon.optimize import AlignConfig, DensifyConfig, InitConfig, TrainConfig, Trainer, align_camera, train
from recon.optimize.init import splats_from_points
from recon.optimize.resolution import level_at
from recon.render import render
from recon.types import Cameras, PointCloud, Splats

SMALL = TrainConfig(
    steps=120,
    sh_degree=0,
    init=InitConfig(max_gaussians=1500),
    densify=DensifyConfig(every=30, max_gaussians=1700, grow_grad=1e-4, start=0.1, stop=0.9),
    publish_every=40,
)


def novel_psnr(splats: Splats, truth: Splats, cameras: Cameras | None = None) -> float:
    between = arc_cameras(4, spread=0.45)
    expected = render(truth, between, rasterizer()).rgb.clamp(0, 1)
    shown = render(splats, cameras or between, rasterizer()).rgb.clamp(0, 1)
    return float(psnr(shown, expected).mean())


def test_training_improves_views_that_no_photo_shows() -> None:
    posed, depths, truth = scene()
    start = Trainer(posed, depths, SMALL, rasterizer()).result()
    trained = train(posed, depths, SMALL, rasterizer())
    before, after = novel_psnr(start.splats, truth), novel_psnr(trained.splats, truth)
    assert after > before + 3, (before, after)
    assert after > 24


def test_gaussians_stay_under_the_cap_and_are_accounted_for() -> None:
    posed, depths, _ = scene()
    start = Trainer(posed, depths, SMALL, rasterizer())
    n = len(start.parameters)
    result = train(posed, depths, SMALL, rasterizer())
    born = sum(result.account["born"].values())
    assert born > 0
    assert len(result.splats) == n + born - sum(result.account["pruned"].values())
    assert max(row["gaussians"] for row in result.history) <= SMALL.densify.max_gaussians


def test_wrong_poses_are_pulled_towards_the_truth() -> None:
    true = arc_cameras(3)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(3, 6, generator=generator) * torch.tensor([0.02] * 3 + [0.006] * 3)
    wrong = replace(true, cam_from_world=exp_se3(noise) @ true.cam_from_world, confidence=torch.zeros(3))
    posed, _, _ = scene(poses=wrong)
    config = replace(SMALL, steps=240, refine_exposure=False, loss=replace(SMALL.loss, depth=0.0))
    config = replace(config, rates=replace(config.rates, pose_rotation=1e-3, pose_translation=1e-3))
    refined = train(posed, None, config, rasterizer()).cameras
    error = lambda c: relative_rotation_error(c, true)  # noqa: E731
    assert error(refined) < 0.7 * error(wrong), (error(refined), error(wrong))


def relative_rotation_error(cameras: Cameras, true: Cameras) -> float:
    """Mean angle in radians between relative rotations: free of the common drift that no photo can fix."""
    R, T = cameras.cam_from_world[:, :3, :3], true.cam_from_world[:, :3, :3]
    angles = []
    for i in range(len(true)):
        for j in range(i):
            delta = (R[i] @ R[j].T) @ (T[i] @ T[j].T).T
            angles.append(((delta.diagonal().sum() - 1) / 2).clamp(-1, 1).arccos())
    return float(torch.stack(angles).mean())


def test_a_held_out_camera_finds_its_place() -> None:
    _, _, truth = scene()
    true = arc_cameras(5)[[1]]
    photo = render(truth, true, rasterizer()).rgb[0].clamp(0, 1)
    off = exp_se3(torch.tensor([[0.05, -0.04, 0.03, 0.01, -0.015, 0.01]]))
    start = replace(true, cam_from_world=off @ true.cam_from_world)
    found = align_camera(truth, photo, start, rasterizer())
    assert float((found.centers - true.centers).norm()) < 0.6 * float((start.centers - true.centers).norm())
    difference = lambda c: float(psnr(render(truth, c, rasterizer()).rgb[0], photo).mean())  # noqa: E731
    assert difference(found) > difference(start) + 15
    kept = align_camera(truth, photo, true, rasterizer(), AlignConfig(iterations=2))
    assert torch.allclose(kept.cam_from_world, true.cam_from_world, atol=2e-3)


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path) -> None:
    posed, depths, _ = scene()
    whole = Trainer(posed, depths, SMALL, rasterizer())
    for _ in range(70):
        whole.step()
    whole.save(tmp_path / "c.pt")
    resumed = Trainer(posed, depths, SMALL, rasterizer())
    resumed.resume(tmp_path / "c.pt")
    assert resumed.step_index == 70
    for trainer in (whole, resumed):
        for _ in range(15):
            trainer.step()
    a, b = whole.result().splats, resumed.result().splats
    assert len(a) == len(b)
    assert torch.allclose(a.means, b.means, atol=1e-4)


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_continued(tmp_path) -> None:
    posed, depths, _ = scene()
    path = tmp_path / "c.pt"
    first = Trainer(posed, depths, SMALL, rasterizer())
    first.step()
    first.save(path)
    other = Trainer(posed, depths, replace(SMALL, steps=99), rasterizer())
    other.resume(path)
    assert other.step_index == 0
    path.write_bytes(path.read_bytes()[:500])
    other = Trainer(posed, depths, SMALL, rasterizer())
    other.resume(path)
    assert other.step_index == 0


@pytest.mark.parametrize("changed", ["nothing", "photos", "cameras", "points", "depth", "prior"])
def test_a_checkpoint_is_continued_only_with_what_it_was_made_from(tmp_path, changed: str) -> None:
    posed, depths, _ = scene()
    first = Trainer(posed, depths, SMALL, rasterizer())
    first.step()
    first.save(tmp_path / "c.pt")
    moved = posed.cameras.cam_from_world.clone()
    moved[0, 0, 3] += 0.01
    others = {
        "nothing": (posed, depths, None),
        "photos": (replace(posed, images=(1 - posed.images[0], *posed.images[1:])), depths, None),
        "cameras": (replace(posed, cameras=replace(posed.cameras, cam_from_world=moved)), depths, None),
        "points": (replace(posed, points=replace(posed.points, xyz=posed.points.xyz + 0.01)), depths, None),
        "depth": (posed, None, None),
        "prior": (posed, depths, depths),
    }
    given, stereo, prior = others[changed]
    other = Trainer(given, stereo, SMALL, rasterizer(), prior)
    other.resume(tmp_path / "c.pt")
    assert other.step_index == (1 if changed == "nothing" else 0)


def test_the_reading_of_a_masked_photo_is_of_the_object() -> None:
    posed, _, _ = scene()
    left = posed.points[posed.points.xyz[:, 0] < -0.5]
    alpha = render(splats_from_points(left, SMALL.init, 0, 0), posed.cameras, rasterizer()).alpha
    masks = tuple((one > 0.5).float() for one in alpha)
    photos = tuple(torch.where(m[..., None] > 0, p, 1.0) for m, p in zip(masks, posed.images))  # white behind it
    trainer = Trainer(replace(posed, images=photos, masks=masks, points=left), None, SMALL, rasterizer())
    for _ in range(30):
        trainer.step()
    assert trainer.readings.psnr > 18, trainer.readings.psnr


def test_the_same_seed_gives_the_same_splats() -> None:
    posed, depths, _ = scene()
    config = replace(SMALL, steps=25)
    a, b = (train(posed, depths, config, rasterizer()).splats for _ in range(2))
    assert torch.allclose(a.means, b.means, atol=1e-5)


def test_resolution_grows_to_full() -> None:
    config = replace(SMALL, coarse_scale=0.35, coarse_until=0.5)
    levels = [level_at(f / 20, config) for f in range(21)]
    assert levels == sorted(levels)
    assert levels[0] == 0.35
    assert levels[10] == 1.0


def test_nothing_to_start_from_is_a_plain_error() -> None:
    posed, _, _ = scene()
    empty = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    with pytest.raises(InputError, match="points"):
        train(replace(posed, points=empty), None, SMALL, rasterizer())
