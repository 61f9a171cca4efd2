"""Focal lengths refined with the splats, through the matrix that has a gradient. Synthetic, since truth is needed."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import SIZE, arc_cameras, rasterizer, scene, wall
from torch import Tensor

from recon.optimize import DensifyConfig, InitConfig, LossConfig, RateConfig, TrainConfig, train
from recon.optimize.cameras import CameraParameters, lens_groups
from recon.types import Cameras


def draw(viewmat: Tensor, K: Tensor) -> Tensor:
    """The wall with colours that depend on the direction, so that the camera's centre matters too."""
    splats = wall(800)
    shN = 0.3 * torch.randn(len(splats), 3, 3, generator=torch.Generator().manual_seed(1))
    colors = torch.cat([splats.sh0, shN], dim=1)
    image, _, _ = rasterizer()(
        splats.means, splats.quats, splats.scales, splats.opacities, colors, viewmat[None], K[None], *SIZE,
        sh_degree=1, render_mode="RGB+ED",
    )  # fmt: skip
    return image[0]


def uncertain(n: int, focal_factor: float = 1.0) -> Cameras:
    """Cameras that may move as far as training likes."""
    cameras = arc_cameras(n)
    Ks = cameras.Ks.clone()
    Ks[:, :2, :2] *= focal_factor
    return replace(cameras, Ks=Ks, confidence=torch.zeros(n))


def test_a_focal_factor_in_the_view_matrix_is_a_focal_length() -> None:
    cameras = uncertain(3)
    parameters = CameraParameters(cameras, RateConfig(), 4.0)
    with torch.no_grad():
        parameters.log_focals.fill_(0.08)
    refined = parameters.cameras()
    assert torch.allclose(refined.Ks[:, 0, 0], cameras.Ks[:, 0, 0] * torch.tensor(0.08).exp())
    assert torch.equal(refined.Ks[:, :2, 2], cameras.Ks[:, :2, 2])
    folded = draw(parameters.viewmat(1).detach(), cameras.Ks[1])
    assert torch.allclose(folded, draw(refined.cam_from_world[1], refined.Ks[1]), atol=1e-4)
    assert not torch.allclose(folded, draw(cameras.cam_from_world[1], cameras.Ks[1]), atol=1e-2)


def test_the_focal_gradient_is_that_of_finite_differences() -> None:
    parameters = CameraParameters(uncertain(2), RateConfig(), 4.0)
    weight = torch.rand(SIZE[1], SIZE[0], 4, generator=torch.Generator().manual_seed(2))

    def value() -> Tensor:
        return (draw(parameters.viewmat(0), parameters.base.Ks[0]) * weight).double().sum()

    value().backward()
    assert parameters.log_focals.grad is not None
    step, values = 2e-3, []
    with torch.no_grad():
        for sign in (1, -1):
            parameters.log_focals.fill_(sign * step)
            values.append(float(value()))
    expected = (values[0] - values[1]) / (2 * step)
    assert float(parameters.log_focals.grad[0]) == pytest.approx(expected, rel=0.05)


def test_photos_of_one_lens_share_its_focal_length() -> None:
    cameras = uncertain(4)
    Ks = cameras.Ks.clone()
    Ks[1, 0, 0] = Ks[1, 1, 1] = 90.0
    width = cameras.width.clone()
    width[3] = 50
    cameras = replace(cameras, Ks=Ks, width=width)
    assert lens_groups(cameras).tolist() == [0, 1, 0, 2]
    parameters = CameraParameters(cameras, RateConfig(focal=1e-2), 4.0)
    (parameters.viewmat(2)[0, 3] ** 2).backward()
    parameters.step(0.0, poses=True, exposure=False)
    moved = parameters.cameras().Ks[:, 0, 0] / cameras.Ks[:, 0, 0]
    assert float(moved[0]) == float(moved[2]) != 1.0
    assert float(moved[1]) == float(moved[3]) == 1.0


def test_training_pulls_a_wrong_focal_length_towards_the_truth_and_leaves_it_at_rate_zero() -> None:
    wrong = uncertain(3, 1.04)
    posed, _, _ = scene(poses=wrong)
    config = TrainConfig(
        steps=150,
        sh_degree=0,
        refine_exposure=False,
        init=InitConfig(max_gaussians=1500),
        densify=DensifyConfig(stop=0.0),
        loss=LossConfig(depth=0.0),
        rates=RateConfig(focal=1e-3, pose_rotation=0.0, pose_translation=0.0),
    )
    refined = train(posed, None, config, rasterizer()).cameras
    error = float(refined.Ks[0, 0, 0] / arc_cameras(1).Ks[0, 0, 0] - 1)
    assert abs(error) < 0.03, error
    kept = train(posed, None, replace(config, steps=5, rates=replace(config.rates, focal=0.0)), rasterizer()).cameras
    assert torch.equal(kept.Ks, wrong.Ks)


def test_given_cameras_stay_and_estimated_ones_move() -> None:
    cameras = replace(uncertain(3), confidence=torch.tensor([1.0, 0.99, 0.0]))
    parameters = CameraParameters(cameras, RateConfig(), 1.0)
    with torch.no_grad():
        parameters.translations.fill_(0.4)
        parameters.log_focals.fill_(0.12)
    moved = parameters.cameras()
    shift = (moved.cam_from_world - cameras.cam_from_world)[:, 0, 3]
    assert torch.allclose(shift, torch.tensor([0.0, 0.4, 0.4]), atol=1e-6)
    assert torch.equal(moved.Ks, cameras.Ks), "the lens of a given camera is given"
    given = CameraParameters(arc_cameras(2), RateConfig(), 1.0)
    with torch.no_grad():
        given.rotations.fill_(0.3)
    assert torch.equal(given.cameras().cam_from_world, arc_cameras(2).cam_from_world)
