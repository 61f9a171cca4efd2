"""Editing without a browser: what is selected, what is called a floater, moving with harmonics, and going back."""

import math

import numpy as np
import pytest
import torch
from blob_scene import BLUE, CENTERS, GREEN, RED, SCALE, blob_cameras, blob_splats

from recon.geometry import Sim3, exp_so3, project
from recon.render import render, select_rasterizer
from recon.types import Splats
from viewer.edit import (
    Box,
    Delete,
    Duplicate,
    FloaterFilter,
    Hide,
    History,
    Move,
    Show,
    Window,
    camera_count,
    combine,
    floaters,
    in_box,
    in_outline,
    in_sphere,
    in_window,
    object_share,
    seen_fraction,
    similar,
    transform_splats,
)
from viewer.lasso import parse_outline

PER_BALL = 80  # of `blob_splats`, in the order of CENTERS


def ball_mask(rgb: tuple[int, int, int]) -> torch.Tensor:
    mask = torch.zeros(3 * PER_BALL, dtype=torch.bool)
    first = list(CENTERS).index(rgb) * PER_BALL
    mask[first : first + PER_BALL] = True
    return mask


def motion(scale: float = 1.0, turn: tuple[float, float, float] = (0, 0, 0), shift=(0.0, 0.0, 0.0)) -> Sim3:
    R = exp_so3(torch.tensor(turn, dtype=torch.float64))
    return Sim3(torch.tensor(scale, dtype=torch.float64), R, torch.tensor(shift, dtype=torch.float64))


def colorful(count: int = 60, degree: int = 3) -> Splats:
    g = torch.Generator().manual_seed(1)
    return Splats(
        torch.randn(count, 3, generator=g),
        torch.randn(count, 4, generator=g),
        0.4 * torch.randn(count, 3, generator=g) - 1.6,
        torch.randn(count, generator=g) + 1.0,
        0.5 * torch.randn(count, 1, 3, generator=g),
        0.15 * torch.randn(count, (degree + 1) ** 2 - 1, 3, generator=g),
    )


def test_volumes_select_the_centres_inside() -> None:
    means = blob_splats().means
    center = torch.tensor(CENTERS[RED]) * SCALE
    assert torch.equal(in_sphere(means, center, 0.5 * SCALE), ball_mask(RED))
    R = exp_so3(torch.tensor([0.3, -0.4, 0.5]))
    box = Box(center, R, torch.tensor([1.0, 0.8, 0.9]) * SCALE)
    assert torch.equal(in_box(means, box), ball_mask(RED))
    points = torch.tensor([[0.49, 0.0, 0.0], [0.51, 0.0, 0.0], [0.0, 0.0, -0.44], [0.0, 0.41, 0.0]]) * SCALE
    inside = in_box(points @ R.T + center, box)
    assert inside.tolist() == [True, False, True, False]


def test_a_rectangle_of_the_window_selects_what_is_drawn_there() -> None:
    means, camera = blob_splats().means, blob_cameras()[1]
    uv = project(means, camera.cam_from_world[0], camera.Ks[0])[0] / torch.tensor([320.0, 240.0])
    low, high = uv[ball_mask(GREEN)].amin(0) - 0.01, uv[ball_mask(GREEN)].amax(0) + 0.01
    assert torch.equal(in_window(means, camera, Window(*low.tolist(), *high.tolist())), ball_mask(GREEN))
    behind = camera.centers - camera.cam_from_world[:, 2, :3] * SCALE
    assert not in_window(behind, camera, Window(0, 0, 1, 1)).any()


def test_an_outline_selects_what_lies_inside_by_parity() -> None:
    """Against the textbook count of crossings, for a line that crosses itself and leaves the picture."""
    camera = blob_cameras()[1]
    means = (torch.rand(2000, 3, generator=torch.Generator().manual_seed(3)) - 0.5) * 6.0 * SCALE
    outline = np.array([[0.1, 0.2], [0.9, 0.8], [0.9, 0.1], [0.15, 0.9], [0.5, 0.0], [1.0, 1.0]])
    found = in_outline(means, camera, outline)
    size = np.array([320.0, 240.0])
    uv = project(means, camera.cam_from_world[0], camera.Ks[0])[0].double().numpy()
    edges = list(zip(outline * size, np.roll(outline * size, -1, axis=0)))
    near = 0
    for (u, v), inside in zip(uv, found.tolist()):
        crossings = sum(
            (a[1] > v) != (b[1] > v) and u < a[0] + (v - a[1]) / (b[1] - a[1]) * (b[0] - a[0]) for a, b in edges
        )
        if inside != (crossings % 2 == 1):  # only on the line itself: an outline is a matter of pixels
            near += 1
            assert min(distance_to(a, b, np.array([u, v])) for a, b in edges) < 1.5
    assert near < 60
    assert 300 < int(found.sum()) < 1700
    behind = camera.centers - camera.cam_from_world[:, 2, :3] * SCALE
    assert not in_outline(behind, camera, np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])).any()


def distance_to(a: np.ndarray, b: np.ndarray, p: np.ndarray) -> float:
    """From a point to a segment."""
    along = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    return float(np.linalg.norm(p - a - along * (b - a)))


def test_an_outline_from_the_page_is_points_or_nothing() -> None:
    outline = parse_outline("0.1,0.2 0.3,0.4 1.7,-2")
    assert outline is not None
    assert outline.tolist() == [[0.1, 0.2], [0.3, 0.4], [1.0, 0.0]]
    for text in ("", "0.1,0.2 0.3,0.4", "x", "0.1,0.2,0.3 0,0 1,1", "nan,0 0,0 1,1", "0,0 " * 9000):
        assert parse_outline(text) is None


def test_likeness_is_of_colour_and_of_place() -> None:
    splats = Splats.cat([blob_splats(), transform_splats(blob_splats(), _float(motion(shift=(0.0, 0.0, 0.02))))])
    found = similar(splats, torch.tensor(CENTERS[RED]) * SCALE, color_distance=0.1, reach=0.1)
    assert torch.equal(found[: 3 * PER_BALL], ball_mask(RED))  # not the other colours
    assert not found[3 * PER_BALL :].any()  # nor the same colour elsewhere
    near = similar(splats, torch.tensor(CENTERS[RED]) * SCALE, color_distance=0.1, reach=0.2 * SCALE)
    assert 0 < near.sum() < found.sum()


def test_modes_of_selecting() -> None:
    before, found = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    assert combine(before, found, "New").tolist() == [True, False, True]
    assert combine(before, found, "Add").tolist() == [True, True, True]
    assert combine(before, found, "Remove").tolist() == [False, True, False]


def test_each_criterion_finds_its_floaters() -> None:
    splats, cameras = blob_splats(), blob_cameras()
    splats.logit_opacities[3] = math.log(0.05 / 0.95)
    splats.log_scales[100, 1] = math.log(2.0 * SCALE)
    splats.means[200] = torch.tensor([0.0, 0.0, -30.0]) * SCALE  # behind all cameras, far from everything
    assert floaters(splats, FloaterFilter()).sum() == 0
    assert torch.nonzero(floaters(splats, FloaterFilter(min_opacity=0.1)))[:, 0].tolist() == [3]
    assert torch.nonzero(floaters(splats, FloaterFilter(max_size=SCALE)))[:, 0].tolist() == [100]
    assert torch.nonzero(floaters(splats, FloaterFilter(isolation=20.0)))[:, 0].tolist() == [200]
    count = camera_count(seen_fraction(splats, cameras, select_rasterizer("cpu")))
    assert count[200] == 0
    assert count.max() == 3
    unseen = floaters(splats, FloaterFilter(min_cameras=1), count)
    assert unseen[200]
    assert 1 < unseen.sum() < 180  # insides of the balls are hidden too


def test_seen_fraction_is_one_in_the_open_and_small_behind_something() -> None:
    wall, hidden = blob_splats()[:2], blob_cameras()[1]
    wall.means[:] = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) * SCALE
    wall.log_scales[:] = torch.tensor([[math.log(SCALE)], [math.log(0.1 * SCALE)]])
    wall.logit_opacities[:] = 5.0
    seen = seen_fraction(wall, hidden, select_rasterizer("cpu"))
    assert seen.shape == (1, 2)
    assert seen[0, 0] > 0.9
    assert seen[0, 1] < 0.05


def test_an_object_is_lifted_from_its_masks() -> None:
    splats, cameras, rasterizer = blob_splats(), blob_cameras(), select_rasterizer("cpu")
    masks = []
    for index in range(3):
        drawn = render(splats, cameras[index], rasterizer, render_mode="RGB", near_plane=1e-4)
        masks.append((drawn.rgb[0, ..., 2] > 0.4).float())  # blue is the object
    share = object_share(splats, cameras, [*masks[:2], None], rasterizer)
    assert torch.equal(share > 0.5, ball_mask(BLUE))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_moved_scene_looks_the_same_to_cameras_that_move_along(degree: int) -> None:
    splats, rasterizer = colorful(degree=degree), select_rasterizer("cpu")
    moved_by = motion(1.7, (0.9, -0.4, 1.3), (0.5, 2.0, -1.0))
    single = Sim3(moved_by.scale.float(), moved_by.R.float(), moved_by.t.float())
    camera = blob_cameras()[1]
    camera.cam_from_world[:, :3, 3] = torch.tensor([0.2, 0.1, 6.0])
    before = render(splats, camera, rasterizer, render_mode="RGB").rgb
    after = render(transform_splats(splats, single), single.apply_cameras(camera), rasterizer, render_mode="RGB").rgb
    assert float(before.max()) > 0.3
    torch.testing.assert_close(after, before, atol=2e-3, rtol=0)


def equal(a: Splats, b: Splats) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values()))


def test_undo_and_redo_walk_the_same_way_back_and_forth() -> None:
    history = History(blob_splats())
    states = [history.splats()]
    history.do(Delete(ball_mask(RED)))
    states.append(history.splats())
    green = torch.zeros(len(history.layout), dtype=torch.bool)
    green[:PER_BALL] = True
    for operation in (
        Duplicate(green, motion(shift=(0.0, 0.001, 0.0))),
        Move(torch.cat([green, green[:80]]), motion(2)),
    ):
        history.do(operation)
        states.append(history.splats())
    history.do(Hide(torch.ones(len(history.layout), dtype=torch.bool)))
    assert history.layout.hidden.all()
    assert equal(history.splats(), states[-1])  # hidden ones are still there
    history.undo()
    for state in reversed(states[:-1]):
        assert history.undo() is not None
        assert equal(history.splats(), state)
    assert history.undo() is None
    for state in states[1:]:
        assert history.redo() is not None
        assert equal(history.splats(), state)
    history.undo()
    history.do(Show(torch.zeros(len(history.layout), dtype=torch.bool)))
    assert history.redo() is None  # another way was taken


def test_moving_twice_is_moving_by_both() -> None:
    history, everything = History(colorful()), torch.ones(60, dtype=torch.bool)
    first, second = motion(1.5, (0.1, 0.2, 0.3), (1.0, 0.0, 0.0)), motion(0.5, (-0.4, 0.0, 0.2), (0.0, 2.0, 0.0))
    history.do(Move(everything, first))
    history.do(Move(everything, second))
    expected = transform_splats(transform_splats(colorful(), _float(first)), _float(second))
    for name, value in history.splats().tensors().items():
        if name == "quats":  # of either sign
            value, wanted = value * value[:, :1].sign(), expected.quats * expected.quats[:, :1].sign()
        else:
            wanted = expected.tensors()[name]
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=1e-4)


def _float(of: Sim3) -> Sim3:
    return Sim3(of.scale.float(), of.R.float(), of.t.float())
