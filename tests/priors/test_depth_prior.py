"""A network's depth is brought to the scene's scale, whatever a part of the scene says; on made-up depth."""

import pytest
import torch

from recon.priors.depth import align_scale_shift, monocular_depths
from recon.priors.diffusion.base import Licence
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene


def planes(count: int = 5000) -> tuple[torch.Tensor, torch.Tensor]:
    """A network's inverse depth, and the depth it stands for: scale 0.3, shift 0.05."""
    inverse = torch.rand(count, generator=torch.Generator().manual_seed(0)) * 4
    return inverse, 1 / (0.3 * inverse + 0.05)


@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.45])
def test_scale_and_shift_are_found_among_wrong_depths(wrong):
    inverse, depth = planes()
    generator = torch.Generator().manual_seed(1)
    bad = torch.rand(len(depth), generator=generator) < wrong
    depth = torch.where(bad, 0.3 + 5 * torch.rand(len(depth), generator=generator), depth)
    depth = depth * (1 + 0.01 * torch.randn(len(depth), generator=generator))
    found = align_scale_shift(inverse, depth, torch.ones_like(depth))
    assert found is not None
    assert found.scale == pytest.approx(0.3, rel=0.02)
    assert found.shift == pytest.approx(0.05, abs=0.01)
    assert found.agree > 0.9 * (1 - wrong)
    assert found == align_scale_shift(inverse, depth, torch.ones_like(depth))


def test_only_known_and_trusted_depth_counts():
    inverse, depth = planes()
    depth[::2] = 0
    depth[1::4] *= 7
    weight = torch.ones_like(depth)
    weight[1::4] = 0
    found = align_scale_shift(inverse, depth, weight)
    assert found is not None
    assert found.scale == pytest.approx(0.3, rel=1e-3)
    assert found.agree == pytest.approx(1.0)


def test_depth_that_fits_nothing_is_refused():
    inverse, depth = planes()
    assert align_scale_shift(inverse[:10], depth[:10], torch.ones(10)) is None
    assert align_scale_shift(-inverse, depth, torch.ones_like(depth)) is None
    assert align_scale_shift(torch.ones_like(inverse), depth, torch.ones_like(depth)) is None
    random = 0.3 + 5 * torch.rand(5000, generator=torch.Generator().manual_seed(2))
    found = align_scale_shift(inverse, random, torch.ones_like(depth))
    assert found is None or found.agree < 0.9


class Slope:
    """Says that inverse depth rises from left to right."""

    name = "slope"
    licence = Licence("")

    def available(self) -> tuple[bool, str]:
        return True, ""

    def estimate(self, photo: torch.Tensor) -> torch.Tensor:
        return torch.linspace(1, 2, photo.shape[1]).expand(photo.shape[:2])


def slope_scene(flip: bool = False) -> tuple[PosedScene, torch.Tensor]:
    """One photo of a surface that is as `Slope` says, or the other way round, with 300 points on it."""
    height, width = 40, 60
    depth = 1 / (0.5 * torch.linspace(1, 2, width).expand(height, width) + 0.1)
    depth = depth.flip(1) if flip else depth
    K = torch.tensor([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]])
    generator = torch.Generator().manual_seed(0)
    column, row = (torch.randint(n, (300,), generator=generator) for n in (width, height))
    z = depth[row, column]
    xyz = torch.stack([(column + 0.5 - 30) / 50 * z, (row + 0.5 - 20) / 50 * z, z], dim=1)
    hidden = xyz * 3  # behind the surface: the nearer point must win
    points = PointCloud(torch.cat([hidden, xyz]), torch.zeros(600, 3), torch.ones(600))
    cameras = Cameras.create(torch.eye(4)[None], K[None], width, height)
    return PosedScene(("a",), (torch.zeros(height, width, 3),), cameras, points), depth


def test_photos_get_depth_in_the_scenes_units_from_points_or_from_stereo():
    scene, depth = slope_scene()
    found = monocular_depths(scene, Slope())
    assert torch.allclose(found.depth[0], depth, rtol=1e-3)
    assert float(found.confidence[0].min()) > 0.9
    stereo = DepthMaps((2 * depth,), (torch.ones_like(depth),))
    assert torch.allclose(monocular_depths(scene, Slope(), stereo).depth[0], 2 * depth, rtol=1e-3)


def test_a_photo_whose_depth_contradicts_the_scene_gets_none():
    found = monocular_depths(slope_scene(flip=True)[0], Slope())
    assert float(found.confidence[0].max()) == 0
    assert float(found.depth[0].max()) == 0
