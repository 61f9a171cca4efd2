"""Beyond the photos' rims the picture goes on; within them nothing changes. Synthetic, because truth is needed."""

from dataclasses import replace

import pytest
import torch
from optimize_scenes import arc_cameras, rasterizer, scene

from recon.geometry.projection import pixel_grid, project
from recon.metrics import psnr
from recon.optimize.finished import FinishedScene
from recon.optimize.undercoat import (
    CONFLICT_AREA,
    UndercoatConfig,
    continue_planes,
    pull_push,
    undercoat,
)
from recon.render import render
from recon.types import Cameras, PosedScene, Splats

CONFIG = UndercoatConfig(side=64)


@pytest.fixture(scope="module")
def seen() -> tuple[PosedScene, Splats, Splats]:
    """Photos of a wall, the part of the wall that they show, and the whole wall."""
    posed, _, truth = scene(3)
    uv, _ = project(truth.means, posed.cameras.cam_from_world, posed.cameras.Ks)
    inside = ((uv >= 0) & (uv <= torch.tensor([64.0, 48.0]))).all(-1).any(0)
    return posed, truth[inside], truth


def wide(cameras: Cameras) -> Cameras:
    """The middle camera with a third more to see on each side."""
    Ks = cameras.Ks[[1]].clone()
    Ks[:, 0, 2] += 21
    Ks[:, 1, 2] += 16
    return Cameras.create(cameras.cam_from_world[[1]], Ks, 64 + 42, 48 + 32)


def test_a_wider_view_gains_and_the_photos_stay(seen: tuple[PosedScene, Splats, Splats]) -> None:
    posed, shown, truth = seen
    coat = undercoat(shown, posed, CONFIG, rasterizer())
    both = Splats.cat([shown, coat])
    assert len(coat) > 100

    def view(splats: Splats, cameras: Cameras) -> torch.Tensor:
        return render(splats, cameras, rasterizer()).rgb.clamp(0, 1)

    wanted = view(truth, wide(posed.cameras))
    before = float(psnr(view(shown, wide(posed.cameras)), wanted))
    after = float(psnr(view(both, wide(posed.cameras)), wanted))
    assert after > before + 3
    change = view(both, posed.cameras) - view(shown, posed.cameras)
    assert float(change.abs().mean()) < 2e-3


def test_the_share_taken_from_covered_pixels_is_what_rendering_says(seen: tuple[PosedScene, Splats, Splats]) -> None:
    posed, shown, _ = seen
    coat = shown[:3]
    coat = replace(coat, means=coat.means + torch.tensor([0.0, 0.0, -1.0]))  # in front of the wall
    views = FinishedScene(shown, posed.cameras, rasterizer())
    found = views.taken_from_covered(coat)
    everything = Splats.cat([shown, coat])
    cameras = [views.camera(i, 200)[0] for i in range(3)]
    for k in range(3):
        colors = torch.zeros(len(everything), 3)
        colors[len(shown) + k] = 1.0
        total = 0.0
        for camera in cameras:
            covered = render(shown, camera, rasterizer()).alpha[0] > 0.9
            image, _, _ = rasterizer()(
                everything.means, everything.quats, everything.scales, everything.opacities, colors,
                camera.cam_from_world, camera.Ks, int(camera.width[0]), int(camera.height[0]), render_mode="RGB",
            )  # fmt: skip
            total += float(image[0, ..., 0][covered].sum()) / covered.numel()
        assert float(found[k]) == pytest.approx(total, rel=1e-4)
        assert total > CONFLICT_AREA


def test_what_was_offered_in_front_is_dropped(seen: tuple[PosedScene, Splats, Splats]) -> None:
    posed, shown, _ = seen
    coat = undercoat(shown, posed, CONFIG, rasterizer())
    taken = FinishedScene(shown, posed.cameras, rasterizer()).taken_from_covered(coat)
    assert float((taken <= CONFLICT_AREA).float().mean()) > 0.95  # each drop uncovers a little of what was behind it
    assert float(taken.sum()) < 1e-3


def test_it_can_be_turned_off_and_objects_get_none(seen: tuple[PosedScene, Splats, Splats]) -> None:
    posed, shown, _ = seen
    assert len(undercoat(shown, posed, replace(CONFIG, margin=0.0), rasterizer())) == 0
    masked = replace(posed, masks=tuple(torch.ones(48, 64) for _ in range(3)))
    assert len(undercoat(shown, masked, CONFIG, rasterizer())) == 0


def test_a_plane_goes_on_as_a_plane_whatever_stands_before_it() -> None:
    uv = pixel_grid(40, 60)
    plane = 0.5 + 0.002 * uv[..., 0] - 0.001 * uv[..., 1]
    known = torch.zeros(40, 60, dtype=torch.bool)
    known[10:30, 15:45] = True
    seen = plane.clone()
    seen[15:20, 20:28] = 0.9  # something near, away from the rim
    found = continue_planes(seen, known)
    assert torch.equal(found[known], seen[known])
    rim = ~known
    assert float((found - plane)[rim].abs().max()) < 0.02


def test_pull_push_keeps_what_is_known_and_fills_with_averages() -> None:
    generator = torch.Generator().manual_seed(0)
    values, known = torch.rand(2, 13, 21, generator=generator), torch.rand(13, 21, generator=generator) < 0.3
    filled = pull_push(values, known)
    assert torch.equal(filled[:, known], values[:, known])
    assert filled.min() >= values[:, known].min() - 1e-6
    assert filled.max() <= values[:, known].max() + 1e-6
    one = torch.zeros(13, 21, dtype=torch.bool)
    one[4, 5] = True
    assert torch.allclose(pull_push(values, one), values[:, 4:5, 5:6].expand_as(values))


def test_arc_cameras_get_a_frame_around_their_picture() -> None:
    cameras = arc_cameras(2)
    _, _, shown = scene(2)
    camera, frame = FinishedScene(shown, cameras, rasterizer()).camera(1, 32, margin=0.25)
    assert frame == 8
    assert (int(camera.width[0]), int(camera.height[0])) == (32 + 16, 24 + 16)
    assert torch.allclose(camera.Ks[0, :2, 2], torch.tensor([24.0, 20.0]))
    assert torch.allclose(camera.Ks[0, 0, 0], torch.tensor(35.0))
