"""Real photos in, cameras out: the demo door against the dense reconstruction of all twelve of its photos."""

from dataclasses import replace

import pytest
import torch
from pose_scenes import NAMES, door, door_photo, door_truth, image_set, pairwise_rotation_errors, texture

from recon.errors import InputError, PoseError
from recon.metrics import pose_errors
from recon.poses import PosesConfig, estimate, localize, make_scene
from recon.types import ImageSet, PoseResult, PoseStatus

SMALL = PosesConfig(backend="colmap", max_side=400)


@pytest.fixture(scope="module")
def photos() -> ImageSet:
    return door()


@pytest.fixture(scope="module")
def result(photos: ImageSet) -> PoseResult:
    return estimate(photos)


@pytest.fixture(scope="module")
def small_result() -> PoseResult:
    return estimate(door(NAMES[::2], 400), SMALL)


def test_the_demo_is_placed_like_the_dense_reconstruction(result: PoseResult) -> None:
    errors = pose_errors(result.cameras, door_truth())
    assert result.status == (PoseStatus.OK,) * 6
    assert result.reasons == ("",) * 6
    assert errors.rotation_deg.max() < 0.8
    assert errors.translation_deg.max() < 1.0
    assert errors.focal.max() < 0.03
    assert result.cameras.confidence.min() > 0.8


def test_points_lie_where_the_photos_see_them(photos: ImageSet, result: PoseResult) -> None:
    assert len(result.points) > 1000
    assert result.reprojection_error_px.max() < 1.0
    assert (result.n_observations > 500).all()
    v = 2
    camera = result.cameras[v]
    local = result.points.xyz @ camera.cam_from_world[0, :3, :3].T + camera.cam_from_world[0, :3, 3]
    uv = (local @ camera.Ks[0].T)[:, :2] / local[:, 2:]
    height, width = photos.images[v].shape[:2]
    inside = (local[:, 2] > 0) & (uv > 0).all(1) & (uv[:, 0] < width) & (uv[:, 1] < height)
    seen = photos.images[v][uv[inside, 1].long(), uv[inside, 0].long()]
    assert (seen - result.points.rgb[inside]).abs().median() < 0.05  # the colour of a point is what a photo shows there


def test_the_world_is_upright_and_of_unit_depth(result: PoseResult) -> None:
    cameras = result.cameras
    depth = (result.points.xyz @ cameras.cam_from_world[2, 2, :3]) + cameras.cam_from_world[2, 2, 3]
    assert 0.8 < depth.median() < 1.25
    assert result.points.xyz.median(dim=0).values.norm() < 0.05
    assert (cameras.cam_from_world[:, 1, 1] > 0.95).all()  # every camera's down is the world's +y
    assert cameras.cam_from_world[:, 2, 2].mean() > 0.8  # and they look along +z


def test_pairs_are_described_with_positions(photos: ImageSet, result: PoseResult) -> None:
    assert len(result.pairs) == 15
    for pair in result.pairs:
        assert pair.kind == "general"
        assert pair.points_i is not None
        assert pair.points_j is not None
        assert len(pair.points_i) == len(pair.points_j) == pair.n_inliers <= pair.n_matches
        assert (pair.points_i >= 0).all()
        assert (pair.points_i[:, 0] <= photos.images[pair.i].shape[1]).all()
    by_pair = {(p.i, p.j): p.median_parallax_deg or 0.0 for p in result.pairs}
    assert by_pair[0, 5] > by_pair[0, 1] > 3  # photos further apart see points under a wider angle


def test_sift_alone_places_half_the_photos(small_result: PoseResult) -> None:
    errors = pose_errors(small_result.cameras, door_truth(NAMES[::2], 400))
    assert errors.rotation_deg.max() < 1.5
    assert errors.translation_deg.max() < 2.0


def test_the_same_photos_give_the_same_cameras(small_result: PoseResult) -> None:
    again = estimate(door(NAMES[::2], 400), SMALL)
    assert torch.equal(again.cameras.cam_from_world, small_result.cameras.cam_from_world)
    assert torch.equal(again.points.xyz, small_result.points.xyz)


def test_one_lens_has_one_focal_length_and_two_lenses_two(small_result: PoseResult) -> None:
    assert small_result.cameras.Ks[:, 0, 0].unique().numel() == 1
    two = replace(door(NAMES[::2], 400), camera_ids=torch.tensor([0, 1, 1]))
    focal = estimate(two, SMALL).cameras.Ks[:, 0, 0]
    assert focal[1] == focal[2] != focal[0]


def test_exif_focal_length_is_kept_where_the_matches_allow_it() -> None:
    # two photos of a shallow scene hardly constrain the focal length: what EXIF says decides
    pair = door((NAMES[1], NAMES[2]), 400)
    told = replace(pair, focal_px=torch.full((2,), 430.0))
    found = estimate(told, SMALL).cameras.Ks[0, 0, 0]
    assert abs(found / 430 - 1) < 0.16
    assert estimate(pair, SMALL).cameras.Ks[0, 0, 0] != found


def test_a_foreign_photo_is_left_out_and_named() -> None:
    photos = image_set([door_photo(n, 400) for n in NAMES[::2]] + [texture(1)], [*NAMES[::2], "foreign.jpg"])
    result = estimate(photos, SMALL)
    assert result.status[3] is PoseStatus.UNREGISTERED
    assert "no overlap" in result.reasons[3]
    assert any("foreign.jpg was left out" in warning for warning in result.warnings)
    assert result.cameras.registered.tolist() == [True, True, True, False]
    assert torch.equal(result.cameras.cam_from_world[3], torch.eye(4))
    assert make_scene(photos, result, 400).names == NAMES[::2]


def test_a_photo_held_sideways_is_turned() -> None:
    names = NAMES[1:4]
    upright = [door_photo(name, 400) for name in names]
    photos = image_set([upright[0], torch.rot90(upright[1], 1, dims=(0, 1)).contiguous(), upright[2]], names)
    result = estimate(photos)
    assert result.status == (PoseStatus.OK,) * 3
    # a counter-clockwise quarter turn of the picture turns the camera: (x, y) becomes (y, -x)
    turn = torch.tensor([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    truth = door_truth(names).cam_from_world.clone()
    truth[1] = turn @ truth[1]
    assert pairwise_rotation_errors(result.cameras.cam_from_world, truth).max() < 1.0


def test_identical_photos_have_no_parallax() -> None:
    photo = door_photo(NAMES[0], 400)
    with pytest.raises(PoseError, match="no parallax"):
        estimate(image_set([photo, photo.clone()]), SMALL)


def test_blank_photos_are_refused_by_name() -> None:
    blank = [torch.full((100, 150, 3), 0.5) for _ in range(2)]
    for backend in ("auto", "colmap"):
        with pytest.raises(PoseError, match=r"1\.jpg: no overlap"):
            estimate(image_set(blank), PosesConfig(backend=backend, max_side=300))


def test_requests_that_cannot_be_met() -> None:
    two = door(NAMES[:2], 100)
    with pytest.raises(InputError, match="Choose one of"):
        estimate(two, PosesConfig(backend="magic"))
    with pytest.raises(PoseError, match="at least 2 photos"):
        estimate(door(NAMES[:1], 100))
    with pytest.raises(InputError, match="needs cameras"):
        estimate(two, PosesConfig(backend="known"))


def test_a_crash_of_the_child_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon.poses.process.sys.executable", "/bin/false")
    for backend in ("auto", "colmap"):
        with pytest.raises(PoseError, match=r"[Mm]apper stopped"):
            estimate(door(NAMES[:2], 200), PosesConfig(backend=backend))


def test_known_cameras_stay_and_get_points() -> None:
    names = NAMES[:3]
    truth = door_truth(names)  # at another size than the photos
    known = {name: truth[v] for v, name in enumerate(names)}
    result = estimate(door(NAMES[:4], 400), PosesConfig(backend="known"), known=known)
    assert torch.equal(result.cameras.cam_from_world[:3], truth.cam_from_world)
    assert torch.allclose(result.cameras.Ks[0, 0, 0], truth.Ks[0, 0, 0] * 400 / 640, rtol=2e-3)
    assert result.cameras.registered.tolist() == [True] * 3 + [False]
    assert result.status[3] is PoseStatus.UNREGISTERED
    assert len(result.points) > 500
    assert result.reprojection_error_px[:3].max() < 1.0
    z = result.points.xyz @ truth.cam_from_world[1, 2, :3] + truth.cam_from_world[1, 2, 3]
    assert (z > 0).float().mean() > 0.99


@pytest.mark.parametrize("enough", [1, 100_000])
def test_known_cameras_take_the_slow_matcher_only_where_points_are_few(
    monkeypatch: pytest.MonkeyPatch, enough: int
) -> None:
    asked: list[list[int]] = []

    def record(aliked: object, features: object, matches: object, tell: object, wanted: list[int]) -> object:
        asked.append(wanted)
        return matches

    monkeypatch.setattr("recon.poses.known.strengthen", record)
    monkeypatch.setattr("recon.poses.known.ENOUGH_POINTS", enough)
    truth = door_truth(NAMES[:2])
    known = {name: truth[v] for v, name in enumerate(NAMES[:2])}
    result = estimate(door(NAMES[:3], 320), PosesConfig(backend="known"), known=known)
    assert asked == ([] if enough == 1 else [[0, 1]])  # the third photo has no camera: it is not asked about
    assert len(result.points) > 100


def test_a_left_out_photo_is_localized(result: PoseResult) -> None:
    names = ("door_03.jpg", "door_07.jpg", "door_09.jpg")
    rows = [NAMES.index(name) for name in names]
    photos = door(names, 400)
    sizes = [torch.tensor([photo.shape[side] for photo in photos.images]) for side in (1, 0)]
    model = replace(result, cameras=result.cameras[rows].resized(*sizes))
    queries = image_set([door_photo("door_05.jpg", 400), texture(2)], ["door_05.jpg", "foreign.jpg"])
    placed = localize(queries, photos, model)
    assert placed.status == (PoseStatus.OK, PoseStatus.UNREGISTERED)
    assert placed.cameras.registered.tolist() == [True, False]
    assert "matches with the model" in placed.reasons[1]
    own = result.cameras[NAMES.index("door_05.jpg")]
    assert (placed.cameras.centers[0] - own.centers[0]).norm() < 0.01
    order = [*names, "door_05.jpg"]
    poses = torch.cat([model.cameras.cam_from_world, placed.cameras.cam_from_world[:1]])
    assert pairwise_rotation_errors(poses, door_truth(order).cam_from_world).max() < 1.0
    assert torch.equal(placed.points.xyz, result.points.xyz)  # the model is left as it was
