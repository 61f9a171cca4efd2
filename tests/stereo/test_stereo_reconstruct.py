from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from stereo_scenes import look_from, no_points, plane_scene

from recon import native
from recon.errors import InputError
from recon.events import Progress
from recon.stereo import StereoConfig, reconstruct
from recon.stereo.neighbours import choose
from recon.types import Cameras, DepthMaps, PointCloud, PosedScene

needs_library = pytest.mark.skipif(native.library() is None, reason="no native library")


def relative_errors(maps: DepthMaps, depths: list[torch.Tensor], i: int) -> torch.Tensor:
    return (maps.depth[i] - depths[i]).abs() / depths[i]


@needs_library
def test_slanted_plane_is_recovered_with_its_normal():
    scene, depths, normal = plane_scene()
    events: list[object] = []
    maps, cloud = reconstruct(scene, StereoConfig(), events.append)
    assert maps.normals is not None
    for i in range(3):
        sure = maps.confidence[i] >= 0.2
        assert float(sure.float().mean()) > 0.75
        error = relative_errors(maps, depths, i)
        assert float(error[sure].median()) < 2e-3  # about 0.05 px of disparity
        assert float((error[sure] < 0.01).float().mean()) > 0.98
        assert float((error < 0.03).float().mean()) > 0.95, "filled pixels continue the plane"
        degrees = torch.rad2deg(torch.acos((maps.normals[i][sure] @ normal).clamp(-1, 1)))
        assert float(degrees.median()) < 2
    away = ((cloud.xyz - torch.tensor([0, 0, 4.0])) @ normal).abs()
    assert float(away.median()) < 0.004
    assert float(torch.quantile(away, 0.98)) < 0.04
    assert all(isinstance(event, Progress) for event in events)
    assert len(events) >= 2


@needs_library
def test_the_same_twice_whatever_the_number_of_threads():
    scene, _, _ = plane_scene(2, (96, 80))
    results = []
    for threads in (1, 2):
        native.set_thread_count(threads)
        try:
            results.append(reconstruct(scene, StereoConfig()))
        finally:
            native.set_thread_count(None)
    for first, second in zip(results[0][0].depth, results[1][0].depth):
        assert torch.equal(first, second)
    assert torch.equal(results[0][1].xyz, results[1][1].xyz)


@pytest.mark.parametrize("size", [(97, 61), (50, 131), (33, 20)])
def test_two_photos_of_odd_size(size):
    scene, depths, _ = plane_scene(2, size)
    maps, _ = reconstruct(scene, StereoConfig())
    assert maps.depth[0].shape == scene.images[0].shape[:2]
    sure = maps.confidence[0] >= 0.2
    if min(size) > 48:
        assert float(sure.float().mean()) > 0.3
        assert float(relative_errors(maps, depths, 0)[sure].median()) < 0.01


def test_photos_of_different_sizes():
    scene, depths, _ = plane_scene(2, (96, 72))
    width, height = torch.tensor([96, 128]), torch.tensor([72, 96])
    larger = torch.nn.functional.interpolate(scene.images[1].permute(2, 0, 1)[None], (96, 128), mode="bilinear")[0]
    mixed = replace(
        scene, images=(scene.images[0], larger.permute(1, 2, 0)), cameras=scene.cameras.resized(width, height)
    )
    maps, cloud = reconstruct(mixed, StereoConfig())
    assert [tuple(depth.shape) for depth in maps.depth] == [(72, 96), (96, 128)]
    sure = maps.confidence[0] >= 0.2
    assert float(relative_errors(maps, depths, 0)[sure].median()) < 0.01
    assert len(cloud) > 1000


def test_without_the_native_library_depth_is_still_usable(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)
    scene, depths, _ = plane_scene(2, (128, 96))
    maps, cloud = reconstruct(scene, StereoConfig(max_planes=48))
    sure = maps.confidence[0] >= 0.2
    assert float(sure.float().mean()) > 0.5
    assert float(relative_errors(maps, depths, 0)[sure].median()) < 0.02
    assert len(cloud) > 1000


@needs_library
def test_draft_scale_gives_full_size_maps():
    scene, depths, _ = plane_scene()
    maps, _ = reconstruct(scene, StereoConfig(scale=0.5))
    assert maps.depth[0].shape == (120, 160)
    sure = maps.confidence[0] >= 0.2
    assert float(relative_errors(maps, depths, 0)[sure].median()) < 0.005


def test_blank_photos_give_no_points_and_finite_maps():
    scene, _, _ = plane_scene(3, (96, 72))
    blank = replace(scene, images=tuple(torch.full_like(image, 0.5) for image in scene.images))
    maps, cloud = reconstruct(blank, StereoConfig())
    assert len(cloud) == 0
    for depth, confidence in zip(maps.depth, maps.confidence):
        assert bool(torch.isfinite(depth).all())
        assert float(confidence.max()) < 0.2


def test_one_photo_is_refused():
    scene, _, _ = plane_scene(2)
    single = PosedScene(scene.names[:1], scene.images[:1], scene.cameras[0], scene.points)
    with pytest.raises(InputError, match="at least 2"):
        reconstruct(single, StereoConfig())


def test_depth_range_follows_sparse_points_and_covers_the_scene_without_them():
    scene, depths, _ = plane_scene()
    wide = choose(scene, 4)[0]
    assert wide.w_min < 1 / float(depths[0].max()) < 1 / float(depths[0].min()) < wide.w_max
    points = torch.tensor([0.0, 0.0, 4.0]) + 0.3 * torch.randn(100, 3)
    cloud = PointCloud(points, torch.zeros(100, 3), torch.ones(100))
    narrow = choose(replace(scene, points=cloud), 4)[0]
    assert wide.w_max - wide.w_min > narrow.w_max - narrow.w_min
    assert narrow.w_min < 1 / 4 < narrow.w_max


def test_neighbours_are_the_ones_that_look_at_the_same_from_a_good_angle():
    eyes = [[0, 0, 0.0], [0.02, 0, 0], [0.7, 0, 0], [3.9, 0, 3.0], [-0.5, 0.1, 0]]
    poses = torch.stack([look_from(torch.tensor(eye), torch.tensor([0, 0, 4.0])) for eye in eyes])
    K = torch.tensor([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    cameras = Cameras.create(poses, K.expand(5, 3, 3).clone(), 100, 80)
    scene = PosedScene(tuple("abcde"), (torch.zeros(80, 100, 3),) * 5, cameras, no_points())
    assert set(choose(scene, 2)[0].views) == {2, 4}


def load_demo(folder: Path, names: list[str], longest: int) -> tuple[torch.Tensor, ...]:
    images = []
    for name in names:
        image = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
        factor = longest / max(image.shape)
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        images.append(torch.from_numpy(small).float() / 255)
    return tuple(images)


@needs_library
def test_demo_photos(demo_images):
    """Real photos with poses found here by SIFT and an essential matrix: the depth must explain one from the other."""
    from recon.stereo import warp_to_view

    names = sorted(path.name for path in demo_images.glob("*.jpg"))[2:4]
    images = load_demo(demo_images, names, 240)
    height, width = images[0].shape[:2]
    K = torch.tensor([[1.257 * 240, 0, width / 2], [0, 1.257 * 240, height / 2], [0, 0, 1.0]])
    pose = relative_pose(images, K)
    cameras = Cameras.create(torch.stack([torch.eye(4), pose]), K.expand(2, 3, 3).clone(), width, height)
    maps, cloud = reconstruct(PosedScene(tuple(names), images, cameras, no_points()), StereoConfig())
    sure = maps.confidence[0] >= 0.2
    assert float(sure.float().mean()) > 0.5
    warped, valid = warp_to_view(images[1], maps.depth[0], cameras[0], cameras[1])
    difference = (warped - images[0]).abs().mean(-1)
    assert float((difference[valid & sure] < 0.1).float().mean()) > 0.9
    assert len(cloud) > 0.5 * height * width


def relative_pose(images: tuple[torch.Tensor, ...], K: torch.Tensor) -> torch.Tensor:
    sift = cv2.SIFT_create()
    found = [sift.detectAndCompute((image.numpy() * 255).astype("uint8"), None) for image in images]
    pairs = cv2.BFMatcher().knnMatch(found[0][1], found[1][1], k=2)
    good = [a for a, b in pairs if a.distance < 0.75 * b.distance]
    first = cv2.KeyPoint_convert([found[0][0][m.queryIdx] for m in good]) + 0.5
    second = cv2.KeyPoint_convert([found[1][0][m.trainIdx] for m in good]) + 0.5
    cv2.setRNGSeed(0)
    E, inliers = cv2.findEssentialMat(first, second, K.numpy().astype("float64"), threshold=0.5, prob=0.9999)
    _, R, t, _ = cv2.recoverPose(E, first, second, K.numpy().astype("float64"), mask=inliers)
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = torch.from_numpy(R).float(), torch.from_numpy(t[:, 0]).float()
    return pose
