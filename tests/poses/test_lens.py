"""Principal points. The scenes are made up, since the truth is needed to a fraction of a pixel."""

from dataclasses import replace

import numpy as np
import pytest
from test_pose_parts import SIZE, arc, yaw

from recon.poses import lens
from recon.poses.lens import OFF_MIDDLE, settle_principal_points
from recon.poses.matches import Model, Tracks
from recon.poses.normal_equations import Layout, jacobians, residuals

OFF_PX = np.array([4.0, -3.0])
"""Of the made-up lens: a little more than one standard deviation of what is expected."""


def beside(n: int, n_points: int, noise_px: float, seed: int = 0) -> tuple[Model, Tracks, np.ndarray]:
    """Cameras at several heights that roll, whose lens looks `OFF_PX` beside the middle.

    Returns:
        The model that fits best with the principal point in the middle, what was observed, and the true poses.
    """
    rng = np.random.default_rng(seed)
    model, tracks, _ = arc(n, seed, n_points)
    poses = model.cam_from_world.copy()
    for v in range(n):
        roll = np.eye(3)
        angle = 0.5 * (v % 3 - 1)
        roll[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        poses[v, :3, :3] = roll @ yaw(0.2 * v)
        poses[v, :3, 3] = (0.1 * v, 0.3 * (v % 2), 4.0)
    keypoints = []
    for pose in poses:
        local = (model.xyz @ pose[:3, :3].T + pose[:3, 3]) @ model.Ks[0].T
        keypoints.append(local[:, :2] / local[:, 2:] + OFF_PX + rng.normal(0, noise_px, (n_points, 2)))
    tracks = replace(tracks, keypoints=keypoints)
    with pytest.MonkeyPatch.context() as held:
        held.setattr(lens, "OFF_MIDDLE", 1e-9)
        held.setattr(lens, "STEPS", 100)
        return settle_principal_points(replace(model, cam_from_world=poses), tracks), tracks, poses


def turned_by(a: np.ndarray, b: np.ndarray) -> float:
    """Largest angle in degrees between the relative rotations of two sets of poses to their first."""
    worst = 0.0
    for v in range(1, len(a)):
        ra, rb = (poses[v, :3, :3] @ poses[0, :3, :3].T for poses in (a, b))
        worst = max(worst, float(np.degrees(np.arccos(np.clip((np.trace(ra @ rb.T) - 1) / 2, -1, 1)))))
    return worst


def test_a_lens_that_looks_beside_the_middle_is_found() -> None:
    model, tracks, true = beside(6, 2000, 0.3)
    found = settle_principal_points(model, tracks)
    off = found.Ks[:, :2, 2] - SIZE / 2
    assert (off == off[0]).all(), "the photos share a lens"
    assert np.linalg.norm(off[0] - OFF_PX) < 0.25 * np.linalg.norm(OFF_PX)
    assert found.focal_px[0] == pytest.approx(700, rel=2e-3)
    assert turned_by(found.cam_from_world, true) < 0.5 * turned_by(model.cam_from_world, true)
    again = settle_principal_points(found, tracks)
    assert abs(residuals(again, tracks)[1]).mean() < 0.35


def test_what_the_photos_do_not_say_stays_in_the_middle() -> None:
    model, tracks, _ = beside(3, 10, 3.0)
    found = settle_principal_points(model, tracks)
    off = found.Ks[0, :2, 2] - SIZE / 2
    assert np.linalg.norm(off) < OFF_MIDDLE * SIZE.max()
    assert found.focal_px[0] == pytest.approx(700, rel=0.02), "nor does the focal length run away"


def test_two_photos_are_left_as_they_are() -> None:
    model, tracks, _ = beside(2, 50, 0.3)
    assert settle_principal_points(model, tracks) is model


def test_photos_that_were_not_placed_are_left_out() -> None:
    model, tracks, _ = beside(5, 1000, 0.3)
    gone = np.full((1, 4, 4), np.nan), np.full((1, 3, 3), np.nan)
    poses, Ks = (np.concatenate([part[:4], nothing]) for part, nothing in zip((model.cam_from_world, model.Ks), gone))
    kept = model.observations[model.observations[:, 1] < 4]
    found = settle_principal_points(replace(model, cam_from_world=poses, Ks=Ks, observations=kept), tracks)
    assert found.registered.tolist() == [True] * 4 + [False]
    assert np.linalg.norm(found.Ks[0, :2, 2] - SIZE / 2 - OFF_PX) < 0.5 * np.linalg.norm(OFF_PX)


def test_upright_and_sideways_photos_do_not_share_a_principal_point() -> None:
    model, _, _ = beside(4, 50, 0.3)
    Ks = model.Ks.copy()
    Ks[2:, :2, 2] = SIZE[::-1] / 2
    layout = Layout.of(replace(model, Ks=Ks), principal_points=True)
    assert layout.n_lenses == 2
    assert len(set(layout.lens_of[:2])) == len(set(layout.lens_of[2:])) == 1
    assert layout.size == 6 * 4 + 3 * 2


def test_derivatives_by_lenses_are_those_of_the_pixels() -> None:
    model, tracks, _ = beside(3, 8, 0.3)
    layout = Layout.of(model, principal_points=True)
    J, _ = jacobians(model, residuals(model, tracks)[0], layout)
    for column, (row, k) in enumerate([(0, 0), (0, 2), (1, 2)]):
        pixels = []
        for sign in (1, -1):
            Ks = model.Ks.copy()
            if column == 0:
                Ks[:, [0, 1], [0, 1]] *= np.exp(sign * 1e-5)
            else:
                Ks[:, row, k] += sign * 1e-5
            pixels.append(residuals(replace(model, Ks=Ks), tracks)[1])
        numeric = (pixels[0] - pixels[1]) / 2e-5
        assert np.abs(J[:, :, layout.lens(0) + column] - numeric).max() < 1e-3 * max(1.0, np.abs(numeric).max())
